"""Clipping of the common norm of dense and sparse gradients."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from xmtc.execution.base import Execution
from xmtc.training.clipping import AdaptiveClipping, Clipping
from xmtc.training.optimizers import AdamW, parameter_groups


def model_with_gradients(scale=1.0, sparse=True):
    torch.manual_seed(3)
    model = nn.ModuleList([nn.Embedding(6, 3, sparse=sparse), nn.Linear(3, 2), nn.Linear(2, 2)])  # the last is unused
    (scale * model[1](model[0](torch.tensor([1, 4, 4, 2]))).square().sum()).backward()
    return model


def gradients(model):
    return [p.grad.to_dense().clone() for p in model.parameters() if p.grad is not None]


def norm(model):
    return torch.cat([g.flatten() for g in gradients(model)]).norm().item()


def clip(callback, model):
    module = SimpleNamespace(execution=Execution(None, None, None))
    callback.on_before_optimizer_step(None, module, AdamW(parameter_groups(model)))


@pytest.mark.parametrize("share", [0.1, 0.999, 1.001, 10])
def test_all_gradients_shrink_together_as_torch_clips_dense_ones(share):
    sparse, dense = model_with_gradients(), model_with_gradients(sparse=False)
    limit = share * norm(dense)
    clip(Clipping(limit), sparse)
    assert sparse[0].weight.grad.is_sparse
    nn.utils.clip_grad_norm_(dense.parameters(), limit)
    torch.testing.assert_close(gradients(sparse), gradients(dense))
    assert norm(sparse) == pytest.approx(norm(model_with_gradients()) * min(share, 1), rel=1e-4)


def test_no_gradients_no_error():
    clip(Clipping(1.0), nn.Linear(2, 2))


def authors_rule(norms, factor, window):
    """AttentionXML's code, line by line: the limit of each step."""
    queue, limits = [math.inf], []
    for total in norms:
        m = max(queue)
        limits.append(factor * m)
        queue.append(min(total, 2 * m, 1.0))
        queue = queue[-window:]
    return limits


@pytest.mark.parametrize(
    "norms",
    [[1e6] * 9, [0.01] * 12, [0.001] * 6 + [50.0] * 8, [2.0, 0.1, 0.3, 0.0, 0.2, 9.0, 0.1, 0.1, 0.1, 0.1, 30.0]],
)
def test_the_first_steps_are_free_and_later_limits_follow_what_was_recorded(norms):
    clipping, limits = AdaptiveClipping(), []
    for step, total in enumerate(norms):
        limits.append(clipping.limit(total))
        if step >= 4:
            assert max(clipping.recorded) <= 1.0 and len(clipping.recorded) == 5
    assert limits == authors_rule(norms, 5.0, 5)
    assert all(limit == math.inf for limit in limits[:5]) and all(limit <= 5.0 for limit in limits[5:])


def test_gradients_are_untouched_for_five_steps_and_clipped_then():
    clipping = AdaptiveClipping()
    full = norm(model_with_gradients(1e4))
    assert full > 1000
    for _ in range(5):
        model = model_with_gradients(1e4)
        clip(clipping, model)
        assert norm(model) == pytest.approx(full)
    clip(clipping, model)
    assert norm(model) == pytest.approx(5.0, rel=1e-4)


def test_recorded_norms_are_resumed():
    clipping, resumed = AdaptiveClipping(), AdaptiveClipping()
    for total in (0.5, 0.1, 0.2, 0.3, 0.4, 0.1):
        clipping.limit(total)
    resumed.load_state_dict(clipping.state_dict())
    assert [resumed.limit(t) for t in (7.0, 1.0)] == [clipping.limit(t) for t in (7.0, 1.0)] != [math.inf] * 2
