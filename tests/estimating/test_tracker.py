"""What lives is counted once, for as long as it lives."""

import torch

from xmtc.estimating.tracker import Tracker


def test_peaks_by_phase_views_and_what_was_there_before():
    old = torch.ones(1000)
    tracker = Tracker()
    with tracker:
        tracker.phase("first")
        a = torch.zeros(1000)
        view = a.view(10, 100)[:, :50]  # no memory of its own
        a.add_(old[:1000])
        assert tracker.live == 4000
        b = a + old
        assert tracker.live == 8000
        del a
        assert tracker.live == 8000  # the view keeps it
        del view
        assert tracker.live == 4000
        tracker.phase("second")
        old.mul_(2)
        c = torch.zeros(100, dtype=torch.float64)
    assert tracker.peaks == {"first": 8000, "second": 4800}
    del b, c
    assert tracker.live == 0


def test_sparse_tensors_count_their_parts():
    tracker = Tracker()
    with tracker:
        tracker.phase("a")
        kept = torch.sparse_coo_tensor(torch.zeros(1, 5, dtype=torch.int64), torch.ones(5, 8), (100, 8))
    assert tracker.live == 5 * 8 + 5 * 8 * 4
    del kept
    assert tracker.live == 0


def test_what_autograd_keeps_counts_until_the_backward_pass():
    weight = torch.ones(500, requires_grad=True)
    tracker = Tracker()
    with tracker:
        tracker.phase("forward")
        loss = torch.sigmoid(weight * 2).sum()
        held = tracker.live
        loss.backward()
        del loss
    assert held >= 2000  # sigmoid's result
    assert tracker.live == 2000  # the gradient
    assert weight.grad.shape == (500,)
