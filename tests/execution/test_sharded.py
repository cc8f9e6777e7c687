"""Sharded over 1, 2 and 3 processes against dense on the batch of all of them."""

import pytest
import torch

from tests.execution.cases import labels_of, loss_and_gradients, parts
from xmtc.encoders.base import Encoded
from xmtc.execution.base import row_names
from xmtc.execution.dense import Dense
from xmtc.execution.sharded import Sharded, shard
from xmtc.testing.distributed import run_distributed
from xmtc.training.objectives import Objective

DOCUMENTS = 5
HEAD = {"raw_loss_weight": 0.2, "centred": True}


def cut(encoded, labels, rows):
    """The documents of one process."""
    offsets = labels.offsets
    lists = [labels.ids[offsets[i] : offsets[i + 1]].tolist() for i in range(DOCUMENTS)]
    mask = None if encoded.mask is None else encoded.mask[rows]
    return Encoded(encoded.features[rows], mask), labels_of(lists[rows])


def together(num_labels, blocks, attention, split):
    """One rank's loss, feature gradients, whole parameter gradients (shared ones averaged as DDP does) and top-k."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    decoder, head, encoded, labels = parts(num_labels, DOCUMENTS, blocks, attention, seed=4, **HEAD)
    names = row_names(decoder, head)
    execution = Sharded(decoder, head, Objective("mean"), chunk=2)
    own = list(execution.start())
    assert len(own) == (len(names) if world > 1 else 0)
    bounds = [0, *split]
    mine, my_labels = cut(encoded, labels, slice(bounds[rank], bounds[rank + 1]))
    loss, features, *grads = loss_and_gradients(execution, mine, my_labels)
    loss_of_none = execution.topk(Encoded(mine.features[:0], None if mine.mask is None else mine.mask[:0]), 4)
    assert len(loss_of_none[0]) == 0
    found = execution.topk(mine, 4)
    ordered = [f"decoder.{n}" for n, _ in decoder.named_parameters()] + [
        f"head.{n}" for n, _ in head.named_parameters()
    ]
    named = dict(zip(ordered, grads, strict=True))
    for name, grad in named.items():
        if name not in names and world > 1:
            torch.distributed.all_reduce(grad)
            grad /= world
    parameters = [*decoder.parameters(), *head.parameters()]
    whole = execution.whole_state(named)
    back = execution.own_state(whole) if rank == 0 else None
    return {
        "loss": loss, "features": features / world, "grads": whole, "found": found,
        "same": rank > 0 or all(torch.equal(back[name], named[name]) for name in named),
        "norm": execution.squared_norm(dict(zip(parameters, named.values(), strict=True))),
    }  # fmt: skip


@pytest.mark.parametrize("world, split", [(1, [5]), (2, [2, 5]), (3, [2, 2, 5])])
@pytest.mark.parametrize("num_labels, blocks, attention", [(7, 2, False), (2, 1, False), (8, 1, True), (5, 0, False)])
def test_any_number_of_processes_gives_dense_values_and_gradients(num_labels, blocks, attention, world, split):
    decoder, head, encoded, labels = parts(num_labels, DOCUMENTS, blocks, attention, seed=4, **HEAD)
    dense = Dense(decoder, head, Objective("mean"))
    loss, features, *grads = loss_and_gradients(dense, encoded, labels)
    scores, found = dense.topk(encoded, 4)
    ranks = run_distributed(together, world, num_labels, blocks, attention, split)
    assert all(torch.equal(r["loss"], ranks[0]["loss"]) for r in ranks)
    torch.testing.assert_close(ranks[0]["loss"], loss)
    torch.testing.assert_close(torch.cat([r["features"] for r in ranks]), features)
    torch.testing.assert_close(list(ranks[0]["grads"].values()), grads)
    torch.testing.assert_close(torch.cat([r["found"][0] for r in ranks]), scores)
    assert torch.equal(torch.cat([r["found"][1] for r in ranks]), found)
    assert all(r["same"] for r in ranks)
    expected = sum(float(g.pow(2).sum()) for g in grads)
    assert [float(r["norm"]) for r in ranks] == pytest.approx([expected] * world, rel=1e-5)


def test_shards_cover_every_label_once():
    for labels in (0, 1, 2, 7, 100):
        for world in (1, 2, 3, 8):
            pieces = [shard(labels, rank, world) for rank in range(world)]
            assert [i for s in pieces for i in range(labels)[s]] == list(range(labels))
            sizes = [s.stop - s.start for s in pieces]
            assert max(sizes) - min(sizes) <= 1
