"""Early stopping of a run that goes on from its checkpoint."""

import pytest
import torch

from xmtc.training.checkpoints import Checkpoints
from xmtc.training.patience import EarlyStopping


class Never(EarlyStopping):
    """No evaluation but the first is a gain."""

    def __init__(self, patience):
        super().__init__("val/nDCG@5", patience)
        self.min_delta = 1.0


@pytest.mark.parametrize("patience, more, steps", [(1, 1, 4), (0, 0, 4), (1, 3, 8), (2, 1, 6)])
def test_a_run_without_patience_left_trains_no_further_step(make_module, fit, tmp_path, patience, more, steps):
    """Nothing is learnt: every evaluation but the first is without a gain. One comes every two steps."""
    options = {"max_epochs": 20}
    stopped = fit(make_module(lr=0), EarlyStopping("val/nDCG@5", patience), Checkpoints(tmp_path), **options)
    assert stopped.global_step == 2 + 2 * max(patience, 1)
    again = EarlyStopping("val/nDCG@5", more)
    trainer = fit(make_module(lr=0), again, Checkpoints(tmp_path), ckpt_path=tmp_path / "last.ckpt", **options)
    assert trainer.global_step == steps and again.patience == more


@pytest.mark.parametrize("options", [{"max_steps": 4}, {"max_steps": 5}, {}])
def test_a_run_stopped_within_an_epoch_goes_on_with_the_rest_of_it(make_module, fit, steps, tmp_path, options):
    """Of five steps an epoch and an evaluation every two: patience ends at the fourth."""
    straight, resumed = make_module(lr=0.001), make_module(lr=0.001)
    fit(straight, steps)
    ending = [] if options else [Never(patience=1)]
    assert fit(make_module(lr=0.001), *ending, Checkpoints(tmp_path), **options).global_step in (4, 5)
    assert fit(resumed, Checkpoints(tmp_path), ckpt_path=tmp_path / "last.ckpt").global_step == 10
    torch.testing.assert_close(resumed.state_dict(), straight.state_dict(), rtol=0, atol=0)


def test_checkpoints_of_older_runs_know_it():
    assert EarlyStopping("val/nDCG@5", 3).state_key == "EarlyStopping{'monitor': 'val/nDCG@5', 'mode': 'max'}"
