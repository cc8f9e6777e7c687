"""One process and two give the same numbers to the last bit; the helper that starts them ends what it starts."""

import os
import time

import numpy as np
import pytest
import torch
import torch.distributed as dist

from xmtc.data.batch import Labels
from xmtc.metrics.label_sets import LabelSetMetrics
from xmtc.metrics.ranking import RankingMetrics
from xmtc.testing.distributed import run_distributed

L, K, N = 50, 6, 37


def score(rank: int, world_size: int) -> dict[str, float]:
    """Every world_size-th document, in batches of 8; ranks with fewer batches add empty ones."""
    rng = np.random.default_rng(0)
    topk = torch.from_numpy(rng.random((N, L)).argsort(1)[:, :K])
    scores = torch.from_numpy(rng.random((N, K), dtype=np.float32))
    gold = [np.sort(rng.choice(L + 4, size, replace=False)) for size in rng.integers(0, 12, N)]
    ranking = RankingMetrics(L, torch.from_numpy(rng.integers(0, 9, L)), 200)
    label_sets = LabelSetMetrics(L, 0.4)
    mine = np.arange(N)[rank::world_size]
    for step in range(5):
        part = mine[step * 8 : (step + 1) * 8]
        ids = np.concatenate([gold[i] for i in part] + [np.zeros(0, int)])
        offsets = np.cumsum([0] + [len(gold[i]) for i in part])
        labels = Labels(torch.from_numpy(ids), torch.from_numpy(offsets))
        ranking.update(topk[part], labels)
        label_sets.update(topk[part], scores[part], labels)
    return ranking.compute() | label_sets.compute()


def score_this_rank() -> dict[str, float]:
    return score(dist.get_rank(), dist.get_world_size())


def total(values: torch.Tensor) -> torch.Tensor:
    values += dist.get_rank()  # in place: ranks must not share their arguments
    dist.all_reduce(values)
    return values


def fail_on_rank_one() -> None:
    if dist.get_rank() == 1:
        raise ValueError("the reason")
    dist.barrier()


def die_on_rank_one() -> None:
    if dist.get_rank() == 1:
        os._exit(3)
    time.sleep(60)


def hang() -> None:
    time.sleep(60)


def test_two_processes_equal_one_bit_for_bit():
    alone = score(0, 1)
    first, second = run_distributed(score_this_rank, 2)
    assert first == alone and second == alone
    assert 0 < alone["P@5"] < 1 and 0 < alone["micro-F1"] < 1


def test_each_rank_answers_in_order_with_its_own_arguments():
    values = torch.zeros(2)
    for answer in run_distributed(total, 3, values):
        assert answer.tolist() == [3.0, 3.0]
    assert values.tolist() == [0.0, 0.0]


def test_the_first_failure_ends_all_ranks():
    start = time.monotonic()
    with pytest.raises(RuntimeError, match="the reason"):
        run_distributed(fail_on_rank_one, 2)
    with pytest.raises(RuntimeError, match="rank 1 died"):
        run_distributed(die_on_rank_one, 2)
    assert time.monotonic() - start < 30


def test_the_timeout_ends_ranks_that_hang():
    with pytest.raises(RuntimeError, match="did not finish in 2 seconds"):
        run_distributed(hang, 2, timeout_seconds=2)
