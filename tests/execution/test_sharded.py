"""Sharded over 1, 2 and 3 processes against dense on the batch of all of them."""

import pytest
import torch

from tests.execution.cases import labels_of, loss_and_gradients, parts
from xmtc.decoders.given import GivenDecoder
from xmtc.encoders.base import Encoded
from xmtc.errors import InputError
from xmtc.execution.base import row_names
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.execution.sharded import Sharded, shard
from xmtc.heads.none import NoHead
from xmtc.metrics.ranking import RankingMetrics
from xmtc.testing.distributed import run_distributed
from xmtc.training.module import XMTCModule
from xmtc.training.objectives import Objective
from xmtc.training.optimizers import AdamW
from xmtc.training.session import fit_execution

DOCUMENTS = 5
SHAPES = [(7, 2, False), (2, 1, False), (8, 1, True), (5, 0, False)]  # labels, blocks, attention
UPDATES = [([5], 7), ([2, 5], 7), ([2, 2, 5], 7), ([2, 5], 1)]  # split, labels
HEAD = {"raw_loss_weight": 0.2, "centred": True}


@pytest.fixture(scope="module")
def of_ranks():
    """`of_ranks(function, world, cases)`: for each case what every rank answers. Remembered: to start the ranks takes
    longer than all cases do."""
    known = {}

    def of_ranks(function, world, cases):
        if (function, world) not in known:
            known[function, world] = list(zip(*run_distributed(each, world, function, cases), strict=True))
        return known[function, world]

    return of_ranks


def each(function, cases):
    return [function(*case) for case in cases]


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
    assert [id(p) for p in execution.start()] == [id(p) for p in own], "a second start changes nothing"
    bounds = [0, *split]
    mine, my_labels = cut(encoded, labels, slice(bounds[rank], bounds[rank + 1]))
    loss, features, *grads = loss_and_gradients(execution, mine, my_labels)
    loss_of_none = execution.topk(Encoded(mine.features[:0], None if mine.mask is None else mine.mask[:0]), 4)
    assert len(loss_of_none[0]) == 0
    found, first = execution.topk(mine, 4), execution.topk(mine, 1)
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
        "loss": loss, "features": features / world, "grads": whole, "found": found, "first": first,
        "same": rank > 0 or all(torch.equal(back[name], named[name]) for name in named),
        "norm": execution.squared_norm(dict(zip(parameters, named.values(), strict=True))),
    }  # fmt: skip


@pytest.mark.parametrize("world, split", [(1, [5]), (2, [2, 5]), (3, [2, 2, 5])])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_number_of_processes_gives_dense_values_and_gradients(of_ranks, shape, world, split):
    num_labels, blocks, attention = shape
    decoder, head, encoded, labels = parts(num_labels, DOCUMENTS, blocks, attention, seed=4, **HEAD)
    dense = Dense(decoder, head, Objective("mean"))
    loss, features, *grads = loss_and_gradients(dense, encoded, labels)
    scores, found = dense.topk(encoded, 4)
    ranks = of_ranks(together, world, [(*known, split) for known in SHAPES])[SHAPES.index(shape)]
    assert all(torch.equal(r["loss"], ranks[0]["loss"]) for r in ranks)
    torch.testing.assert_close(ranks[0]["loss"], loss)
    torch.testing.assert_close(torch.cat([r["features"] for r in ranks]), features)
    torch.testing.assert_close(list(ranks[0]["grads"].values()), grads)
    torch.testing.assert_close(torch.cat([r["found"][0] for r in ranks]), scores)
    assert torch.equal(torch.cat([r["found"][1] for r in ranks]), found)
    for best, expected in zip(zip(*(r["first"] for r in ranks), strict=True), dense.topk(encoded, 1), strict=True):
        torch.testing.assert_close(torch.cat(best), expected)  # a shard holds more labels than are asked for
    assert all(r["same"] for r in ranks)
    expected = sum(float(g.pow(2).sum()) for g in grads)
    assert [float(r["norm"]) for r in ranks] == pytest.approx([expected] * world, rel=1e-5)


class Given(torch.nn.Module):
    """In the place of an encoder and of a batch of this process's documents."""

    def __init__(self, encoded, labels):
        super().__init__()
        self.encoded, self.labels, self.documents = encoded, labels, None

    def __len__(self):
        return len(self.labels)

    def forward(self, batch):
        return self.encoded


def label_sets(kind):
    """What an evaluation with label sets finds; shards hold fewer labels than are kept, one fewer than another."""
    decoder, head, encoded, labels = parts(13, DOCUMENTS, 1, False, seed=4)
    execution = kind(decoder, head, Objective())
    if kind is Sharded:
        encoded, labels = cut(encoded, labels, slice(0, 2) if torch.distributed.get_rank() == 0 else slice(2, 5))
    batch = Given(encoded, labels)
    ranking = RankingMetrics(13, torch.arange(13), 9)
    module = XMTCModule(batch, decoder, head, execution, ranking, None, None, sets=True)
    execution.start()
    module._evaluate(batch, None, module.set_metrics)
    return module.set_metrics.compute()


def test_label_sets_are_those_of_all_labels():
    expected = label_sets(Dense)
    assert expected["micro-R"] > 0 and all(found == expected for found in run_distributed(label_sets, 2, Sharded))


def with_dropout():
    """Contexts of the first block in two steps, where each process has random numbers of its own."""
    rank = torch.distributed.get_rank()
    decoder, head, encoded, labels = parts(7, DOCUMENTS, 2, False, seed=4, dropout=0.5)
    execution = Sharded(decoder, head, Objective("mean"), chunk=2)
    execution.start()
    block, seen = head.blocks[0], []
    context = block.context
    block.context = lambda gathered: seen.append(context(gathered).detach()) or seen[-1]
    torch.manual_seed(rank)
    for _ in range(2):
        execution.loss(*cut(encoded, labels, slice(0, 2) if rank == 0 else slice(2, 5)))
    return {"first": seen[0], "next": seen[1], "drawn": torch.rand(1)}


def test_every_shard_drops_the_same_contexts():
    first, other = run_distributed(with_dropout, 2)
    assert torch.equal(first["first"], other["first"]) and (first["first"] == 0).any() and (first["first"] != 0).any()
    assert not torch.equal(first["next"] == 0, first["first"] == 0), "every step draws anew"
    assert first["drawn"] != other["drawn"], "what an encoder draws stays each process's own"


def within_the_sweep(kind, split, clipping, num_labels=7):
    """Two steps of Adam within the last sweep: rows, states and norms afterwards; whether a saved state comes back."""
    alone = not torch.distributed.is_initialized()
    rank, world = (0, 1) if alone else (torch.distributed.get_rank(), torch.distributed.get_world_size())
    decoder, head, encoded, labels = parts(num_labels, DOCUMENTS, 2, False, seed=4, dtype=torch.float32, **HEAD)
    names = row_names(decoder, head)
    execution = kind(decoder, head, Objective("mean"), chunk=2, update="adam")
    execution.clipping = clipping
    execution.start()
    bias = head.blocks[0].gather_bias
    execution.follow(AdamW([bias], lr=0.02, weight_decay=0.1))
    bounds = [0, *split]
    mine, my_labels = cut(encoded, labels, slice(bounds[rank], bounds[rank + 1]))
    norms = []
    for _ in range(2):
        bias.grad = None
        execution.loss(Encoded(mine.features.clone().requires_grad_(), mine.mask), my_labels).backward()
        if clipping:
            if not alone:
                torch.distributed.all_reduce(bias.grad)
                bias.grad /= world
            norms.append(float(execution.squared_norm({bias: bias.grad})))
            execution.finish_step(0.5)
    module = torch.nn.ModuleDict({"decoder": decoder, "head": head})
    answer = {"rows": execution.whole_state({n: v.clone() for n, v in module.state_dict().items() if n in names}),
              "state": execution.state_dict(), "norms": norms}  # fmt: skip
    if world > 1:
        held = [answer["state"]]
        torch.distributed.broadcast_object_list(held, 0)
        before = [tensor.clone() for tensors in execution.updater.tensors().values() for tensor in tensors]
        for tensors in execution.updater.tensors().values():
            for tensor in tensors:
                tensor.zero_()
        execution.updater.steps = 0
        execution.load_state_dict(held[0])
        after = [tensor for tensors in execution.updater.tensors().values() for tensor in tensors]
        answer["back"] = all(map(torch.equal, before, after)) and execution.updater.steps == 2
        with pytest.raises(InputError, match="spread over processes"):
            execution.logits(mine)
    return answer


@pytest.mark.parametrize("clipping", [False, True])
@pytest.mark.parametrize("split, num_labels", UPDATES)
def test_updates_within_the_sweep_are_those_of_one_process(of_ranks, split, num_labels, clipping):
    expected = within_the_sweep(Chunked, [5], clipping, num_labels)
    world = len(split)
    cases = [(Sharded, s, clips, labels) for s, labels in UPDATES if len(s) == world for clips in (False, True)]
    answers = of_ranks(within_the_sweep, world, cases)
    first, *others = answers[cases.index((Sharded, split, clipping, num_labels))]
    torch.testing.assert_close(first["rows"], expected["rows"], rtol=1e-4, atol=1e-6)
    assert first["state"].keys() == expected["state"].keys() and first["state"]["steps"] == 2
    for name in ("first", "second"):
        torch.testing.assert_close(first["state"][name], expected["state"][name], rtol=1e-4, atol=1e-7)
    assert first["norms"] == pytest.approx(expected["norms"], rel=1e-4) and len(first["norms"]) == 2 * clipping
    assert all(other["back"] and other["norms"] == first["norms"] for other in [*others, *[first] * bool(others)])


@pytest.mark.parametrize("started", [False, True])
def test_without_a_group_of_processes_all_labels_are_its_own(started):
    decoder, head, encoded, labels = parts(7, DOCUMENTS, 2, False, seed=4, **HEAD)
    dense, execution = Dense(decoder, head, Objective("mean")), Sharded(decoder, head, Objective("mean"), chunk=2)
    if started:
        assert execution.start() == []
    expected = loss_and_gradients(dense, encoded, labels)
    torch.testing.assert_close(loss_and_gradients(execution, encoded, labels), expected)
    torch.testing.assert_close(execution.topk(encoded, 4), dense.topk(encoded, 4))
    torch.testing.assert_close(execution.logits(encoded), tuple(x.detach() for x in dense.logits(encoded)))
    assert execution.describe() == "sharded (78% of the raw logits kept)"
    state = {"decoder.weight": decoder.weight, "of the encoder": encoded.features}
    for there in (execution.whole_state(state), execution.own_state(state)):
        torch.testing.assert_close(there, state)


@pytest.mark.parametrize(("backend", "groups"), [("gloo", []), ("nccl", ["gloo"])])
def test_shapes_are_told_from_host_to_host_where_the_rest_goes_from_gpu_to_gpu(monkeypatch, backend, groups):
    made, answers = [], {"is_initialized": True, "get_rank": 0, "get_world_size": 1, "get_backend": backend}
    for name, answer in answers.items():
        monkeypatch.setattr(torch.distributed, name, lambda answer=answer: answer)
    monkeypatch.setattr(torch.distributed, "new_group", lambda backend: made.append(backend))
    decoder, head, _, _ = parts(7, DOCUMENTS, 1, False)
    Sharded(decoder, head, Objective()).start()
    assert made == groups


def test_of_several_processes_sharded_alone_may_update_within_the_sweep():
    decoder, head, _, _ = parts(7, DOCUMENTS, 1, False)
    config = {"recipe": {"clipping": None, "averaging": None}, "trainer": {"accumulate_grad_batches": 1}}
    fit_execution(Sharded(decoder, head, Objective(), update="adam"), config, 2)
    with pytest.raises(InputError, match="with 2 processes use execution=sharded"):
        fit_execution(Chunked(decoder, head, Objective(), update="adam"), config, 2)


def test_logits_that_an_encoder_made_are_not_shared_out_over_processes():
    """Each process would take the first labels' for its own."""
    config = {"recipe": {"clipping": None, "averaging": None}, "trainer": {"accumulate_grad_batches": 1}}
    fit_execution(Sharded(GivenDecoder(7), NoHead(7), Objective()), config, 1)
    fit_execution(Chunked(GivenDecoder(7), NoHead(7), Objective()), config, 2)
    with pytest.raises(InputError, match="no label rows can be shared out"):
        fit_execution(Sharded(GivenDecoder(7), NoHead(7), Objective()), config, 2)


def test_shards_cover_every_label_once():
    for labels in (0, 1, 2, 7, 100):
        for world in (1, 2, 3, 8):
            pieces = [shard(labels, rank, world) for rank in range(world)]
            assert [i for s in pieces for i in range(labels)[s]] == list(range(labels))
            sizes = [s.stop - s.start for s in pieces]
            assert max(sizes) - min(sizes) <= 1
