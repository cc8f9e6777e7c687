"""Averages of the weights: which snapshots are in them, who sees them, and that training does not."""

import pytest
import torch
from torch import nn

from xmtc.errors import InputError
from xmtc.training.averaging import RunningMean


def mean(steps, at):
    return {name: sum(steps.weights[s][name] for s in at) / len(at) for name in steps.weights[0]}


def authors_loop(epochs, steps, start_epoch, every):
    """AttentionXML's and CorNet's loop (`swa_init`, `swa_step`): the snapshots that the average has at the end."""
    snapshots, step = None, 0
    for epoch in range(epochs):
        if epoch == start_epoch:
            snapshots = [step]
        for _ in range(steps):
            step += 1
            if step % every == 0 and snapshots is not None:
                snapshots.append(step)
    return snapshots or []


@pytest.mark.parametrize(
    ("start_epoch", "every", "snapshots"), [(0, 3, [0, 3, 6, 9]), (1, 2, [5, 6, 8, 10]), (1, 100, [5]), (7, 1, [])]
)
def test_running_mean_of_snapshots_from_its_epoch_on(make_module, fit, steps, start_epoch, every, snapshots):
    averaging = RunningMean(start_epoch, every)
    fit(make_module(), steps, averaging, validate=False)
    assert snapshots == authors_loop(2, 5, start_epoch, every)
    assert max(steps.weights) == 10 and averaging.count == len(snapshots)
    torch.testing.assert_close(averaging.average, mean(steps, snapshots) if snapshots else {})


def test_gradients_that_accumulate_over_batches_make_no_extra_snapshots(make_module, fit, steps):
    averaging = RunningMean(0, 2)
    fit(make_module(), steps, averaging, validate=False, accumulate_grad_batches=2)
    assert max(steps.weights) == 6  # 5 batches: 2 + 2 + 1, twice
    torch.testing.assert_close(averaging.average, mean(steps, [0, 2, 4, 6]))


def test_evaluations_see_the_average_and_training_does_not(make_module, fit, steps):
    plain = type(steps)()
    fit(make_module(), plain)
    fit(make_module(), steps, RunningMean(1, 2))
    assert plain.weights.keys() == steps.weights.keys() and max(steps.weights) == 10
    for step in steps.weights:
        torch.testing.assert_close(steps.weights[step], plain.weights[step], rtol=0, atol=0)
    for step, seen in steps.evaluated.items():
        snapshots = [s for s in (5, 6, 8, 10) if s <= step]  # that of the step itself is the newest
        torch.testing.assert_close(seen, mean(steps, snapshots) if snapshots else steps.weights[step])
    assert {2, 4, 6, 8, 10} == set(steps.evaluated)


def test_after_training_the_raw_weights_are_in_the_model(make_module, fit, steps):
    module, averaging = make_module(), RunningMean(0, 2)
    fit(module, steps, averaging)
    torch.testing.assert_close(dict(module.named_parameters()), steps.weights[10], rtol=0, atol=0)
    assert dict(module.named_parameters()).keys() <= averaging.evaluated(module).keys() == module.state_dict().keys()
    evaluated = averaging.evaluated(module)
    torch.testing.assert_close({n: evaluated[n] for n in averaging.average}, mean(steps, range(0, 11, 2)))
    averaging.enabled = False
    assert torch.equal(averaging.evaluated(module)["decoder.weight"], module.decoder.weight)


def test_frozen_weights_are_not_copied(make_module, fit):
    module, averaging = make_module(freeze=True), RunningMean(0, 2)
    fit(module, averaging, validate=False)
    assert averaging.average.keys() == {n for n, p in module.named_parameters() if p.requires_grad}
    assert "encoder.embedding.weight" not in averaging.average
    assert torch.equal(averaging.evaluated(module)["encoder.embedding.weight"], module.encoder.embedding.weight)


def test_batch_statistics_are_refused(make_module, fit):
    module = make_module()
    module.extra = nn.Sequential(nn.BatchNorm1d(3))
    with pytest.raises(InputError, match="recipe.averaging"):
        fit(module, RunningMean(0))


def test_a_stop_within_an_evaluation_leaves_the_raw_weights_in_the_model(make_module, fit, steps, monkeypatch):
    module, averaging = make_module(), RunningMean(0, 1)

    def stop(*_):
        raise RuntimeError("stopped")

    monkeypatch.setattr(module, "validation_step", stop)
    with pytest.raises(RuntimeError, match="stopped"):
        fit(module, steps, averaging)
    torch.testing.assert_close(dict(module.named_parameters()), steps.weights[2], rtol=0, atol=0)
    torch.testing.assert_close(averaging.average, mean(steps, [0, 1, 2]))
