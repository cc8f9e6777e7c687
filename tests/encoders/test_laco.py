"""LACO and SeqTag: the joint input against the library, cross attention and tasks against slow NumPy versions."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from xmtc.config import compose_checked
from xmtc.data.batch import Batch, Labels
from xmtc.encoders.joint import Read
from xmtc.encoders.label_tasks import ConditionalTask, PairTask, draw_given, draw_pairs
from xmtc.encoders.laco import LACO
from xmtc.encoders.seqtag import SeqTag
from xmtc.errors import InputError
from xmtc.testing.pretrained import tiny_bert, tiny_vocabulary
from xmtc.training.optimizers import AdamW, parameter_groups, scaled

n, D = 5, 16
TEXTS = [[4, 5, 6, 7, 8, 9, 10], [9], [10, 11, 4]]
ROWS = [[0, 2, 3], [1], [0, 1, 2, 3, 4]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def build(folder):
    def make(kind=LACO, **settings):
        torch.manual_seed(0)
        settings = {"num_labels": n, "length": 20, "name": str(folder), "offline": True} | settings
        if kind is SeqTag:
            settings = {"hidden": 6} | settings
        model = kind(tiny_vocabulary(folder), None, **settings).double().eval()
        for name, parameter in model.named_parameters():
            if "backbone" not in name:
                torch.nn.init.normal_(parameter, 0, 0.4)
        return model

    return make


def batch_of(texts=TEXTS, rows=None, width=0):
    tokens = torch.zeros(len(texts), max([width, *map(len, texts)]), dtype=torch.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    rows = rows if rows is not None else [[0]] * len(texts)
    lengths = torch.tensor([len(text) for text in texts], dtype=torch.int64)
    return Batch(torch.arange(len(texts)), csr(rows), tokens, lengths)


def csr(rows):
    ids = torch.tensor([i for row in rows for i in row], dtype=torch.int64)
    return Labels(ids, torch.tensor(np.cumsum([0, *map(len, rows)])))


def test_the_joint_input_is_what_the_library_reads(build):
    """Text by text, built by hand; a long text is cut so that all labels fit."""
    model = build()
    texts = [*TEXTS, list(range(4, 40))]
    with torch.no_grad():
        read = model.input(batch_of(texts))
        table, bert = model.input.backbone.model.get_input_embeddings().weight, model.input.backbone.model
        assert model.input.budget == 20 - 3 - n
        for b, text in enumerate(texts):
            text = text[: 20 - 3 - n]
            vectors = torch.cat([table[[2, *text, 3]], model.input.vectors, table[[3]]])
            segments = torch.tensor([[0] * (len(text) + 2) + [1] * n + [0]])
            hidden = bert(inputs_embeds=vectors[None], token_type_ids=segments).last_hidden_state[0]
            start = len(text) + 2
            torch.testing.assert_close(read.labels[b], hidden[start : start + n])
            torch.testing.assert_close(read.words[b][read.mask[b]], torch.cat([hidden[:start], hidden[-1:]]))


def slow_attention(words, labels, weight, bias, cosine=True):
    """One document without padding: (D,) and the weights (m,). 'same' padding of an even kernel: 4 before, 5 behind."""
    unit = words / np.linalg.norm(words, axis=1, keepdims=True)
    if cosine:
        near = unit @ (labels / np.linalg.norm(labels, axis=1, keepdims=True)).T
    else:
        near = words @ labels.T
    channels, _, height, width = weight.shape
    top, left = (height - 1) // 2, (width - 1) // 2
    m = len(words)
    weights = np.zeros(m)
    for i in range(m):
        best = 0.0
        for j in range(near.shape[1]):
            for c in range(channels):
                total = bias[c]
                for a in range(height):
                    for b in range(width):
                        x, y = i + a - top, j + b - left
                        if 0 <= x < m and 0 <= y < near.shape[1]:
                            total += weight[c, 0, a, b] * near[x, y]
                best = max(best, total)
        weights[i] = np.tanh(best)
    return weights @ (unit if cosine else words), weights


@pytest.mark.parametrize("settings", [{}, {"kernel": "1d"}, {"cosine": False}])
def test_cross_attention_equals_the_slow_version(build, settings):
    model = build(**settings)
    weight, bias = (p.detach().numpy() for p in (model.convolution.weight, model.convolution.bias))
    with torch.no_grad():
        read = model.input(batch_of())
        features, weights = model.attend(read)
    for b in range(3):
        words, labels = read.words[b][read.mask[b]].numpy(), read.labels[b].numpy()
        vector, own = slow_attention(words, labels, weight, bias, settings.get("cosine", True))
        np.testing.assert_allclose(features[b].numpy(), vector, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(weights[b][read.mask[b]].numpy(), own, rtol=1e-8, atol=1e-10)
        shown = model(batch_of()).attention[b].numpy()  # of the text's tokens, behind [CLS]
        np.testing.assert_allclose(shown[: len(TEXTS[b])], own[1 : 1 + len(TEXTS[b])], rtol=1e-8, atol=1e-10)
        assert shown.shape == (7,) and (shown[len(TEXTS[b]) :] == 0).all()


def test_its_gradient_equals_differences_of_the_slow_version(build):
    model = build()
    with torch.no_grad():
        read = model.input(batch_of())
    weight, bias = (p.detach().numpy().copy() for p in (model.convolution.weight, model.convolution.bias))
    upstream = torch.randn(3, D, dtype=torch.float64)
    words, labels = read.words.clone().requires_grad_(), read.labels.clone().requires_grad_()
    (model.attend(Read(words, read.mask, labels))[0] * upstream).sum().backward()

    def value():
        total = 0.0
        for b in range(3):
            own = arrays["words"][b][read.mask[b].numpy()]
            total += slow_attention(own, arrays["labels"][b], weight, bias)[0] @ upstream[b].numpy()
        return total

    arrays = {"words": read.words.numpy().copy(), "labels": read.labels.numpy().copy(), "weight": weight, "bias": bias}
    grads = {"words": words.grad, "labels": labels.grad}
    grads |= {"weight": model.convolution.weight.grad, "bias": model.convolution.bias.grad}
    random = np.random.default_rng(0)
    for name, array in arrays.items():
        for place in [tuple(random.integers(0, k) for k in array.shape) for _ in range(2)]:
            start, values = array[place], []
            for step in (1e-6, -1e-6):
                array[place] = start + step
                values.append(value())
            array[place] = start
            expected = (values[0] - values[1]) / 2e-6
            assert grads[name][place].item() == pytest.approx(expected, rel=1e-4, abs=1e-6), (name, place)


def test_pairs_are_what_they_say():
    rows = [[0, 2, 3], [1], [0, 1, 2, 3, 4], []]
    uniform = torch.rand(4, 6000, 4)
    documents, first, second, together = draw_pairs(csr(rows), n, uniform)
    assert documents.unique().tolist() == [0, 1, 2]  # a document without labels has no pair
    met = {0: set(), 1: set(), 2: set()}
    for b, i, j, both in zip(documents.tolist(), first.tolist(), second.tolist(), together.tolist(), strict=True):
        assert i != j and both == (i in rows[b] and j in rows[b]) and (i in rows[b] or j in rows[b])
        met[b].add((i, j))
    assert met[0] == {(i, j) for i in range(n) for j in range(n) if i != j and {i, j} & {0, 2, 3}}
    assert met[1] == {(i, j) for i in range(n) for j in range(n) if i != j and 1 in (i, j)}
    share = together[documents == 0].double().mean().item()
    assert share == pytest.approx(1 / 3, abs=0.03)  # one true pair to two false ones
    assert not together[documents == 1].any() and together[documents == 2].all()
    assert len(draw_pairs(csr([[0]]), 1, torch.rand(1, 3, 4))[0]) == 0  # one label in all: no pair


def test_given_labels_are_true_and_of_the_right_number():
    labels = csr([[0, 2, 3], [1], [0, 1, 2, 3, 4], []])
    for size in (1, 2, 9):
        given = draw_given(labels, n, torch.full((4,), size), torch.rand(9))
        assert given.sum(1).tolist() == [min(size, k) for k in (3, 1, 5, 0)]
        for b, row in enumerate([[0, 2, 3], [1], [0, 1, 2, 3, 4], []]):
            assert set(given[b].nonzero().flatten().tolist()) <= set(row)
    draws = torch.stack([draw_given(labels, n, torch.ones(4, dtype=torch.int64), torch.rand(9))[0] for _ in range(900)])
    np.testing.assert_allclose(draws.double().mean(0).numpy(), [1 / 3, 0, 1 / 3, 1 / 3, 0], atol=0.06)


def cross_entropy(z, target):
    return np.log1p(np.exp(z)) - z * target


def test_the_losses_of_the_tasks():
    rows = [[0, 2, 3], [1], []]
    labels, vectors = csr(rows), torch.randn(3, n, D, dtype=torch.float64)
    pair, conditional = PairTask(D, 0.0, 4).double(), ConditionalTask(D).double()
    uniform = torch.rand(3, 4, 4)
    total = []
    for b, i, j, both in zip(*(x.tolist() for x in draw_pairs(labels, n, uniform)), strict=True):
        z = pair.linear.weight[0] @ torch.cat([vectors[b, i], vectors[b, j]]) + pair.linear.bias[0]
        total.append(cross_entropy(z.item(), both))
    assert pair(vectors, labels, uniform).item() == pytest.approx(np.mean(total))
    given = torch.tensor([[True, False, False, True, False], [False, True, False, False, False], [False] * 5])
    total = []
    with torch.no_grad():
        for b in range(2):
            known = torch.stack([conditional.given(vectors[b, i]) for i in range(n) if given[b, i]]).mean(0)
            for i in range(n):
                if not given[b, i]:  # n - s targets, the given ones never among them
                    z = conditional.linear(torch.cat([conditional.label(vectors[b, i]), known]))
                    total.append(cross_entropy(z.item(), i in rows[b]))
    assert len(total) == 3 + 4
    assert conditional(vectors, labels, given).item() == pytest.approx(np.mean(total))
    nothing = csr([[], [], []])
    assert pair(vectors, nothing, uniform).item() == 0
    assert conditional(vectors, nothing, torch.zeros_like(given)).item() == 0


def step(model, batch):
    decoder = model.make_decoder(n).double()
    both = torch.nn.ModuleDict({"encoder": model, "decoder": decoder})
    before = {name: p.detach().clone() for name, p in both.named_parameters()}
    optimizer = scaled(AdamW(parameter_groups(both), lr=1e-2))
    encoded = model.train()(batch)
    (encoded.main_weight * decoder(encoded).square().sum() + sum(encoded.auxiliary.values())).backward()
    optimizer.step()
    return {name for name, p in both.named_parameters() if torch.equal(p, before[name])}


@pytest.mark.parametrize(
    "kind, settings",
    [
        (LACO, {}),
        (LACO, {"plcp": 1.0}),
        (LACO, {"clcp": 5.0, "given": None}),
        (LACO, {"joint": False, "plcp": 1.0}),
        (LACO, {"cross_attention": False}),
        (SeqTag, {}),
    ],
)
def test_every_parameter_moves(build, kind, settings):
    model = build(kind, **settings)
    kept = step(model, batch_of(rows=ROWS))
    # of segments the text-only input has one, and its positions end with the longest text
    assert {name for name in kept if not name.endswith("key.bias")} == set()


def test_the_authors_code_trains_the_layers_only(build):
    kept = step(build(authors=True, plcp=1.0, clcp=5.0), batch_of(rows=ROWS))
    heads = {"encoder.convolution", "encoder.pair_task", "encoder.conditional_task", "decoder"}
    assert {name for name in kept if "key.bias" not in name} and all(
        any(name.startswith(head) for head in heads) for name in kept if "key.bias" not in name
    )
    for settings, same in [({"authors": True}, True), ({}, False)]:
        model = build(plcp=1.0, clcp=5.0, dropout=0.0, pairs=9, **settings).train()
        for part in model.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        losses = [model(batch_of(rows=ROWS)).auxiliary for _ in range(2)]
        assert all((losses[0][task].item() == losses[1][task].item()) == same for task in ("plcp", "clcp"))


@pytest.mark.parametrize("authors", [False, True])
def test_the_output_starts_as_in_the_authors_code(build, authors):
    """TensorFlow's truncated normal of 0.02 (drawn again beyond two deviations) and no bias. Where `authors` leaves it
    so, it decides how large the logits are."""
    decoder = build(authors=authors).make_decoder(400)
    assert decoder.weight.abs().max() <= 0.04 and not decoder.bias.any()
    assert decoder.weight.std().item() == pytest.approx(0.02 * 0.87962, rel=0.03)


def test_draws_that_stay_differ_by_seed_and_document(build):
    models = [build(authors=True, seed=seed) for seed in (0, 0, 1)]
    first, again, other = (model._uniform(batch_of(rows=ROWS), (50,)) for model in models)
    assert torch.equal(first, again) and not torch.isin(other, first).any()
    assert len(first.unique()) == 150 and 0 <= first.min() and first.max() < 1
    alone = Batch(torch.tensor([2]), csr([[1]]), torch.tensor([[4]]), torch.tensor([1]))
    assert torch.equal(models[0]._uniform(alone, (50,))[0], first[2])


def test_the_tasks_weigh_as_much_beside_a_mean_over_the_labels(build):
    """The recipe's loss is then L times smaller. Beside a sum, as in the recipes modern and laco, they are as given."""
    losses = []
    for settings in ({}, {"reduction": "label_sum"}, {"reduction": "mean"}):
        model = build(plcp=1.0, clcp=5.0, **settings).train()
        torch.manual_seed(3)
        losses.append(model(batch_of(rows=ROWS)).auxiliary)
    for task, weight in (("plcp", 1.0), ("clcp", 5.0)):
        torch.manual_seed(3)
        assert getattr(model, task) * n == pytest.approx(weight)
        assert losses[0][task].item() == losses[1][task].item()
        assert losses[2][task].item() == pytest.approx(losses[0][task].item() / n, rel=1e-12)


@pytest.mark.parametrize(
    "recipe, reduction", [("modern", "label_sum"), ("laco", "label_sum"), ("paper", "mean"), ("labelcorank", "mean")]
)
def test_the_tasks_follow_the_recipes_loss(recipe, reduction):
    config = compose_checked(["encoder=laco", f"recipe={recipe}", "embedding=random", "seed=7"])
    assert (config.encoder.reduction, config.encoder.seed) == (reduction, 7)


@pytest.mark.parametrize("kind", [LACO, SeqTag])
def test_padding_neighbours_and_labels_change_nothing(build, kind):
    model = build(kind)
    with torch.no_grad():
        whole = model(batch_of()).features
        changed = batch_of(rows=ROWS, width=12)
        changed.tokens[1, 1:] = 9
        torch.testing.assert_close(model(changed).features, whole)
        for text, row in zip(TEXTS, whole, strict=True):
            torch.testing.assert_close(model(batch_of([text])).features[0], row)
        torch.testing.assert_close(model(batch_of([TEXTS[0], [7, 7, 7], TEXTS[2]])).features[[0, 2]], whole[[0, 2]])
        assert model(batch_of([], width=2)).features.shape == (0, whole.shape[1])


def test_documents_of_one_of_all_and_of_no_label_are_trained(build):
    for settings in ({"plcp": 1.0}, {"clcp": 1.0}, {"clcp": 1.0, "given": None}):
        model = build(**settings).train()
        for rows in ([[], [], []], [[1], [], [0, 1, 2, 3, 4]]):
            losses = model(batch_of(rows=rows)).auxiliary
            assert all(torch.isfinite(loss) for loss in losses.values()) and losses


@pytest.mark.parametrize("filled_up", [False, True])
def test_label_tokens_start_as_their_names(build, folder, tmp_path, filled_up):
    """Also where the tokenizer's own definition fills up and cuts every text, as MiniLM's does."""
    model = build(label_names=True)
    if filled_up:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.enable_padding(length=12)
        tokenizer.enable_truncation(1)
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        model.vocabulary.folder = tmp_path
    before = model.input.vectors.detach().clone()
    model.prepare(csr([[0]]), ["w3 w4", "w1", "", "w0", "w0"])
    table = model.input.backbone.model.get_input_embeddings().weight
    torch.testing.assert_close(model.input.vectors[0], table[[7, 8]].mean(0))
    torch.testing.assert_close(model.input.vectors[1], table[5])
    assert torch.equal(model.input.vectors[2], before[2])


def test_too_many_labels_are_refused(build):
    assert build(num_labels=16).input.budget == 1
    for settings, line in [
        ({"num_labels": 17}, "17 labels do not fit"),
        ({"length": 99, "num_labels": 21}, "do not fit"),
    ]:
        with pytest.raises(InputError, match=line):
            build(**settings)
    assert build(joint=False, num_labels=60).input.budget == 18
