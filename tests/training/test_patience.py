"""Early stopping of a run that goes on from its checkpoint."""

import pytest

from xmtc.training.checkpoints import Checkpoints
from xmtc.training.patience import EarlyStopping


@pytest.mark.parametrize("patience, more, steps", [(1, 1, 4), (0, 0, 4), (1, 3, 8), (2, 1, 6)])
def test_a_run_without_patience_left_trains_no_further_step(make_module, fit, tmp_path, patience, more, steps):
    """Nothing is learnt: every evaluation but the first is without a gain. One comes every two steps."""
    options = {"max_epochs": 20}
    stopped = fit(make_module(lr=0), EarlyStopping("val/nDCG@5", patience), Checkpoints(tmp_path), **options)
    assert stopped.global_step == 2 + 2 * max(patience, 1)
    again = EarlyStopping("val/nDCG@5", more)
    trainer = fit(make_module(lr=0), again, Checkpoints(tmp_path), ckpt_path=tmp_path / "last.ckpt", **options)
    assert trainer.global_step == steps and again.patience == more


def test_checkpoints_of_older_runs_know_it():
    assert EarlyStopping("val/nDCG@5", 3).state_key == "EarlyStopping{'monitor': 'val/nDCG@5', 'mode': 'max'}"
