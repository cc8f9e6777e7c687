"""No value is read from the device within a training step. Run on a CPU that is treated as a GPU."""

from contextlib import nullcontext

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.execution.cases import labels_of, parts
from xmtc.data.batch import Bags, Batch
from xmtc.data.collate import Documents
from xmtc.data.embedding import Random, rows_once
from xmtc.data.text import Words
from xmtc.encoders.base import Encoded
from xmtc.encoders.xmlcnn import XMLCNN
from xmtc.errors import InputError
from xmtc.execution import chunked
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.execution.sharded import Sharded
from xmtc.heads.cornet import CorNet
from xmtc.testing.corpora import small_store
from xmtc.training import clipping
from xmtc.training.clipping import AdaptiveClipping, Clipping
from xmtc.training.objectives import Objective
from xmtc.training.optimizers import AdamW, parameter_groups

READS = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "_unique2", "unique_dim", "equal", "bincount"}


class NoReads(TorchDispatchMode):
    """Fails on operators for which a GPU would have to be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        masks = name in ("index", "index_put_") and any(
            isinstance(leaf, torch.Tensor) and leaf.dtype == torch.bool for leaf in tree_leaves(args[1])
        )
        assert name not in READS and not masks, f"{name} reads a value"
        return function(*args, **(kwargs or {}))


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    for module in (chunked, clipping):
        monkeypatch.setattr(module, "on_host", lambda tensor: False)


def test_the_watch_itself_works():
    for read in (lambda t: t.sum().item(), lambda t: bool(t[0] > 1), lambda t: t[t > 1], lambda t: t.nonzero()):
        with pytest.raises(AssertionError, match="reads a value"), NoReads():
            read(torch.arange(3))


@pytest.mark.parametrize("execution, options", [
    (Dense, {}), (Chunked, {"chunk": 3}), (Chunked, {"chunk": 3, "update": "adam"}), (Sharded, {"chunk": 3}),
    (Chunked, {"chunk": 3, "update": "sgd", "weights": "bf16"}),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("clip", [None, Clipping(0.1), AdaptiveClipping()], ids=["free", "clipped", "adaptive"])
def test_a_step_reads_nothing(as_on_a_gpu, execution, options, clip):
    options_of_head = dict(raw_loss_weight=0.3, centred=True)
    decoder, head, encoded, labels = parts(11, 4, 2, False, seed=1, dtype=torch.float32, **options_of_head)
    model = torch.nn.ModuleDict({"encoder": torch.nn.Linear(4, 4), "decoder": decoder, "head": head})
    model.execution = execution(decoder, head, Objective(), **options)
    model.execution.clipping = clip is not None
    model.execution.start()
    optimizer = AdamW(parameter_groups(model), lr=0.1)
    model.execution.follow(optimizer)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for _ in range(3):
        with NoReads():
            optimizer.zero_grad()
            model.execution.loss(Encoded(model["encoder"](encoded.features)), labels).backward()
            if clip:
                clip.on_before_optimizer_step(None, model, optimizer)
        optimizer.step()  # PyTorch's fused step is another story on a GPU
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_the_eps_of_a_step_is_made_without_reading_its_number():
    """On a GPU the fused optimiser keeps the number there. A run that is continued reads it once."""
    weight = torch.nn.Parameter(torch.ones(3, 2))
    optimizer = AdamW([weight], lr=0.1, betas=(0.9, 0.8), eps=1e-3, eps_before_correction=True)
    eps = []
    for step in range(6):
        weight.grad = torch.ones_like(weight)
        if step == 3:
            optimizer.load_state_dict(optimizer.state_dict())
        with nullcontext() if step == 3 else NoReads():
            optimizer.step()
        eps.append(optimizer.param_groups[0]["eps"])
    assert eps == pytest.approx([1e-3 / (1 - 0.8**n) ** 0.5 for n in range(1, 7)])


def test_a_loss_that_is_not_finite_is_found_later_and_never_saved(as_on_a_gpu):
    decoder, head, encoded, labels = parts(5, 2, 1, False, dtype=torch.float32)
    execution = Chunked(decoder, head, Objective(), update="adam")
    execution.start()
    good, bad = torch.tensor(2.0), torch.tensor(torch.inf)
    for loss in (good, bad, good):
        execution.watch(loss)
    with pytest.raises(InputError, match="the loss is inf"):
        execution.state_dict()
    execution.watch(bad)
    with pytest.raises(InputError, match="the loss is inf"):
        for _ in range(chunked.CHECK):
            execution.watch(good)


def test_a_part_of_a_batch_is_cut_without_reading_its_device():
    bags = Bags(torch.arange(6), torch.ones(6), torch.tensor([0, 1, 4, 6]))
    batch = Batch(torch.arange(3), labels_of([[1], [2, 3], []]), bags=bags)
    moved = batch.to("meta").part(1, 3)  # a device that has no values to read
    assert moved.labels.ids.shape == (2,) and moved.bags.word_ids.shape == (5,)
    assert moved.part(1, 2).labels.ids.shape == (0,) and moved.part(1, 2).bags.word_ids.shape == (2,)
    part = batch.part(1, 3)
    assert part.labels.ids.tolist() == [2, 3] and part.labels.offsets.tolist() == [0, 2, 2]
    assert part.bags.word_ids.tolist() == [1, 2, 3, 4, 5] and part.bags.offsets.tolist() == [0, 3, 5]
    assert part.part(1, 2).labels.offsets.tolist() == [0, 0]


def test_a_step_of_a_convolution_reads_nothing(as_on_a_gpu, tmp_path):
    """The batch brings its distinct words along; the gradient of the word table says that each is there once."""
    store = small_store(tmp_path)
    encoder = XMLCNN(store.vocabulary, Words(length=12), Random(6), filters=4, widths=(2, 3), bins=2, bottleneck=5)
    head = CorNet(store.num_labels, 4, 1)
    execution = Chunked(encoder.make_decoder(store.num_labels), head, Objective(), chunk=4)
    execution.clipping = True
    model = torch.nn.ModuleDict({"encoder": encoder, "decoder": execution.decoder, "head": head})
    model.execution = execution
    optimizer, clip = AdamW(parameter_groups(model), lr=0.1), Clipping(0.1)
    batch = Documents(store.parts["train"], encoder.text, "padded", distinct=encoder.distinct)[range(6)]
    assert torch.equal(batch.words[batch.places], batch.tokens) and len(batch.words) == len(set(batch.words.tolist()))
    before = encoder.embedding.weight.detach().clone()
    for rows in (batch, batch.part(1, 5)):
        with NoReads():
            optimizer.zero_grad()
            execution.loss(encoder(rows), rows.labels).backward()
            clip.on_before_optimizer_step(None, model, optimizer)
        assert encoder.embedding.weight.grad.is_coalesced()
        optimizer.step()
    assert not torch.equal(before, encoder.embedding.weight)


def test_rows_asked_for_once_have_the_gradient_of_an_embedding():
    table = torch.nn.Embedding(7, 3, padding_idx=0, sparse=True)
    words, given = torch.tensor([0, 2, 3, 6]), torch.randn(4, 3)
    grads = []
    for rows in (rows_once, lambda embedding, asked: embedding(asked)):
        table.weight.grad = None
        vectors = rows(table, words)
        assert torch.equal(vectors, table.weight[words])
        vectors.backward(given)
        grads.append(table.weight.grad.to_dense())
    assert torch.equal(*grads) and grads[0][0].eq(0).all() and grads[0][2].ne(0).all()
    with torch.no_grad():
        assert not rows_once(table, words).requires_grad
    table.sparse, table.weight.grad = False, None  # as for several processes
    rows_once(table, words).sum().backward()
    assert not table.weight.grad.is_sparse
