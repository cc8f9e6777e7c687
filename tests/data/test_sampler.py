"""Which documents each step of each process sees."""

from itertools import zip_longest

import numpy as np
import pytest

from xmtc.data.sampler import EvaluationSampler, TrainingSampler

SIZES = [(100, 8), (97, 8), (96, 8), (5, 8), (8, 8), (17, 2), (3, 1)]


def batches(sampler):
    return [batch.tolist() for batch in sampler]


def bucketed(size):
    return np.random.default_rng(3).integers(1, 50, size)


@pytest.mark.parametrize("size, batch", SIZES)
@pytest.mark.parametrize("lengths", [False, True])
def test_every_document_once_an_epoch(size, batch, lengths):
    sampler = TrainingSampler(size, batch, seed=1, lengths=bucketed(size) if lengths else None, window=3)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        found = batches(sampler)
        assert sorted(document for one in found for document in one) == list(range(size))
        assert len(found) == len(sampler) == -(-size // batch)
        assert sorted(map(len, found)) == sorted([batch] * (size // batch) + [size % batch] * (size % batch > 0))


@pytest.mark.parametrize("size, batch", SIZES)
@pytest.mark.parametrize("processes", [2, 3, 4])
@pytest.mark.parametrize("lengths", [False, True])
def test_processes_share_the_batches_of_one(size, batch, processes, lengths):
    lengths = bucketed(size) if lengths else None
    one = TrainingSampler(size, batch * processes, 1, lengths=lengths, window=3)
    many = [TrainingSampler(size, batch, 1, rank, processes, lengths, 3) for rank in range(processes)]
    steps = [batches(sampler) for sampler in many]
    assert {len(found) for found in steps} == {len(many[0])}
    together = [sum((found[step] for found in steps), []) for step in range(len(many[0]))]
    assert together == [one_batch for one_batch in batches(one) if len(one_batch) >= processes]
    assert all(found for of_rank in steps for found in of_rank)  # an empty batch has no loss
    assert all(max(map(len, step)) - min(map(len, step)) <= 1 for step in zip(*steps, strict=True))
    dropped = size - sum(map(len, together))
    assert dropped < processes


def test_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch, warm=0):
        sampler = TrainingSampler(50, 4, seed, lengths=bucketed(50), window=2)
        for _ in range(warm):
            list(sampler)
        sampler.set_epoch(epoch)
        np.random.seed(warm)
        return batches(sampler)

    assert order(0, 0) == order(0, 0, warm=3)
    orders = [order(0, 0), order(0, 1), order(1, 0), order(1, 1)]
    assert all(orders.count(one) == 1 for one in orders)


def test_bucketing_brings_similar_lengths_together():
    lengths = bucketed(400)

    def padding(sampler):
        return sum(len(batch) * lengths[batch].max() - lengths[batch].sum() for batch in sampler)

    plain, sorted_ = (TrainingSampler(400, 8, 0, lengths=given) for given in (None, lengths))
    assert padding(sorted_) < 0.2 * padding(plain)
    means = [lengths[batch].mean() for batch in sorted_]
    assert means != sorted(means)


@pytest.mark.parametrize("size, batch", [*SIZES, (1, 4), (0, 4)])
@pytest.mark.parametrize("processes", [1, 2, 3])
def test_evaluation_sees_each_document_once_in_equally_many_steps(size, batch, processes):
    samplers = [EvaluationSampler(size, batch, rank, processes) for rank in range(processes)]
    found = [batches(sampler) for sampler in samplers]
    assert {len(steps) for steps in found} == {len(samplers[0])}
    assert [document for steps in found for one in steps for document in one] == list(range(size))
    assert all(len(one) <= batch for steps in found for one in steps)
    assert all(any(step) for step in zip_longest(*found))  # no step without any document
