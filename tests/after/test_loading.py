"""A run directory is all that a model needs."""

import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import xmtc
from xmtc.errors import InputError


@pytest.fixture
def copy(run, tmp_path):
    """A copy of the run that a test may spoil, without its list of checksums: what is read is judged by itself."""
    return shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("checksums"))


@pytest.mark.parametrize("encoder", ["bow", "xmlcnn", "attentionxml", "bertxml"])
def test_predictions_are_those_of_the_run_whatever_the_batch(make_run, encoders, encoder, test_texts, tmp_path):
    folder = shutil.copytree(make_run(*encoders[encoder], "head=cornet", "head.rank=4"), tmp_path / "moved")
    kept = np.load(folder / "predictions.npz")
    model = xmtc.load(folder)
    texts = [text for text, _ in test_texts]
    for size in (1, 7, None):
        scores, labels = model.predict_batch(texts, 100, batch_size=size)
        assert scores.dtype == np.float32 and labels.dtype == np.int64
        assert (labels == kept["labels"]).all()
        np.testing.assert_allclose(1 / (1 + np.exp(-scores)), kept["scores"], rtol=0, atol=1e-6)
    answers = model.predict(texts, k=5)
    assert [answer.indices for answer in answers] == kept["labels"][:, :5].tolist()
    assert answers[0].labels == [model.labels.ids[i] for i in answers[0].indices]
    assert answers[0].names == [model.labels[i].name for i in answers[0].indices]


@pytest.mark.parametrize("execution", ["auto", "dense", "chunked", "sharded", "shortlist"])
def test_predictions_are_those_of_the_run_whatever_the_execution(run, execution, test_texts):
    kept = np.load(run / "predictions.npz")
    model = xmtc.load(run, execution=execution)
    texts = [text for text, _ in test_texts]
    scores, labels = model.predict_batch(texts, 100, batch_size=9)
    probabilities = 1 / (1 + np.exp(-scores))
    np.testing.assert_allclose(probabilities, kept["scores"], rtol=0, atol=1e-6)
    for row, place in np.argwhere(labels != kept["labels"]):  # sums in another order: neighbours within rounding swap
        there = kept["labels"][row] == labels[row, place]
        # or one of them is behind the end of the list, whose last label is as probable
        other = kept["scores"][row][there] if there.any() else kept["scores"][row, -1:]
        np.testing.assert_allclose(probabilities[row, place], other, rtol=0, atol=1e-6)
    assert (labels == kept["labels"]).mean() > 0.9
    assert [a.indices for a in model.predict(texts, k=3, raw=True)] == [a.indices for a in model.both(texts, k=3)[0]]


@pytest.mark.parametrize("fixed", [False, True])
def test_neighbours_do_not_change_an_answer(make_run, encoders, fixed):
    """Texts of any length, some longer than the longest training text, which XML-CNN's bins depend on."""
    folder = make_run(*encoders["xmlcnn"], "head=none", f"text.fixed={str(fixed).lower()}", "dataset.length=30")
    model = xmtc.load(folder)
    texts = ["g0c1w1 " * n + "g1c2w0 n3" for n in (1, 40, 0, 7, 25, 18, 25, 2)] + ["", "zzz"]
    alone = np.concatenate([model.predict_batch([text], 128)[0] for text in texts])
    for size in (2, 3, 10):
        np.testing.assert_allclose(model.predict_batch(texts, 128, batch_size=size)[0], alone, rtol=1e-5, atol=1e-6)


def test_odd_texts(run):
    model = xmtc.load(run)
    texts = ["", "words never met before", "\x00 g0c1w1 \x00", "g0c1w1 " * 200_000, "half \ud800 a pair", " \n\t"]
    answers = model.predict(texts, k=3)
    assert len(answers) == 6 and all(len(answer.labels) == 3 for answer in answers)
    assert answers[0] == answers[5]  # no word at all
    assert model.predict([], k=3) == []


def test_k_and_threshold(run, test_texts):
    model = xmtc.load(run)
    texts = [text for text, _ in test_texts][:9]
    every = model.predict(texts, k=1000)
    assert {len(answer.labels) for answer in every} == {model.num_labels} == {len(model.labels)}
    least = every[0].scores[2]
    for k in (None, 2):
        for answer, whole in zip(model.predict(texts, k=k, threshold=least), every, strict=True):
            wanted = [label for label, score in zip(whole.labels, whole.scores, strict=True) if score >= least]
            assert answer.labels == wanted[: k or 100]
    numbers = {"k": np.int64(2), "batch_size": np.uint8(4), "threshold": np.float32(least)}
    assert model.predict(texts, **numbers) == model.predict(
        texts, k=2, batch_size=4, threshold=float(np.float32(least))
    )
    assert model.both(texts, np.int32(2)) == model.both(texts, 2)
    for bad in (
        {"k": 0}, {"k": True}, {"k": None}, {"k": np.int64(0)}, {"k": 2.0}, {"k": "2"}, {"batch_size": 0},
        {"batch_size": 2.5}, {"batch_size": True}, {"threshold": 2.0}, {"threshold": "micro-F1"}, {"threshold": [0.5]},
        {"threshold": np.float64("nan")},
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"^{next(iter(bad))}: "):
            model.predict(texts, **bad)
    with pytest.raises(InputError, match=r"write \[text\]"):
        model.predict("one text")
    with pytest.raises(InputError, match=r"texts\[1\].*NoneType"):
        model.predict(["one", None])
    for given in (None, 3, b"one"):
        with pytest.raises(InputError, match="^texts: expected a list of texts, got"):
            model.predict(given)


def test_raw_and_enhanced_rankings(run, test_texts):
    model = xmtc.load(run)
    texts = [text for text, _ in test_texts]
    raw, enhanced = model.both(texts, k=5)
    assert enhanced == model.predict(texts, k=5)
    assert raw == model.predict(texts, k=5, raw=True)
    logits = model.decoder(model.encoder(model.encode(texts)))
    assert torch.equal(logits.topk(5).indices, torch.tensor([answer.indices for answer in raw]))
    assert [answer.labels for answer in raw] != [answer.labels for answer in enhanced]


def test_threads_give_the_answers_of_one(run, test_texts):
    model = xmtc.load(run)
    texts = [text for text, _ in test_texts] * 3
    alone = model.predict(texts)
    assert not model.parts.training and not any(p.requires_grad for p in model.parts.parameters())
    with ThreadPoolExecutor(4) as pool:
        for answers in pool.map(lambda _: model.predict(texts, batch_size=5), range(8)):
            assert [answer.labels for answer in answers] == [answer.labels for answer in alone]


def test_a_checkpoint_file_may_be_named(run, test_texts):
    texts = [text for text, _ in test_texts][:3]
    best, last = (xmtc.load(run / "checkpoints" / f"{name}.ckpt").predict(texts) for name in ("best", "last"))
    assert best == xmtc.load(run).predict(texts) and len(last) == 3


def test_labels_as_the_run_lists_them(run):
    labels = xmtc.load(run).labels
    rows = [line.split("\t") for line in (run / "labels.tsv").read_text().splitlines()]
    assert [(label.id, label.name, label.frequency) for label in labels] == [(a, b, int(c)) for _, a, b, c in rows]
    assert labels.ids == [row[1] for row in rows] and labels.frequency.tolist() == [int(row[3]) for row in rows]
    assert labels.index[rows[7][1]] == 7 and labels[-1].id == rows[-1][1] and len(labels[2:5]) == 3


def refused(folder, message):
    with pytest.raises(InputError, match=message) as error:
        xmtc.load(folder)
    assert "\n" not in str(error.value)


def test_what_is_no_run(tmp_path, copy):
    refused(tmp_path / "nowhere", "no such run directory")
    refused(tmp_path, "no config.yaml")
    refused(3, "run: expected a path, got 3")
    refused(None, "run: expected a path, got None")
    with pytest.raises(InputError, match="^device="):
        xmtc.load(copy, device=["cpu"])
    refused(copy / "labels.tsv", "expected a run directory or a .ckpt")
    (copy / "checkpoints" / "best.ckpt").unlink()
    refused(copy, "no checkpoints/best.ckpt")


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_truncated_checkpoint(copy, kept):
    path = copy / "checkpoints" / "best.ckpt"
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    refused(copy, "best.ckpt: damaged")


def test_a_flipped_bit_in_a_weight(copy):
    path = copy / "checkpoints" / "best.ckpt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(copy, "best.ckpt: damaged.*its checksum is not in")


@pytest.mark.parametrize("error", [IndexError("list index out of range"), AttributeError(""), AssertionError()])
def test_whatever_a_damaged_pickle_does(copy, monkeypatch, error):
    monkeypatch.setattr(torch, "load", lambda *_, **__: (_ for _ in ()).throw(error))
    refused(copy, "damaged or no checkpoint")


def test_checkpoint_of_another_version_or_model(copy):
    path = copy / "checkpoints" / "best.ckpt"
    content = torch.load(path, weights_only=True)
    (path.parent / "hashes").unlink()
    torch.save({"weights": 1}, path)
    refused(copy, "holds no state_dict")
    renamed = {name.replace("gather", "collect"): value for name, value in content["state_dict"].items()}
    torch.save(content | {"state_dict": renamed}, path)
    refused(copy, "does not fit the configuration.*gather_weight")
    cut = {name: value[:-1] if name == "decoder.bias" else value for name, value in content["state_dict"].items()}
    torch.save(content | {"state_dict": cut}, path)
    refused(copy, "does not fit the configuration.*decoder.bias")


def test_configurations_that_are_damaged_or_of_another_version(run, copy):
    (copy / "config.yaml").write_text("just: [half")
    refused(copy, "config.yaml: not readable")
    (copy / "config.yaml").write_text((run / "config.yaml").read_text().replace("word_dropout:", "word_noise:"))
    refused(copy, "encoder.word_noise: unknown key")
    (copy / "config.yaml").write_text("seed: 3")
    refused(copy, "not the configuration of a run")


@pytest.mark.parametrize("name", ["config.yaml", "labels.tsv", "text/vocabulary.txt", "text/meta.json"])
def test_a_changed_letter_in_a_file_is_recognised(run, tmp_path, name):
    """It would be another width, label or word: another answer."""
    copy = shutil.copytree(run, tmp_path / "copy")
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    refused(copy, f"{name}: changed or damaged")


def test_unread_labels(copy):
    (copy / "labels.tsv").write_text("0\tonly two\n")
    refused(copy, "labels.tsv, line 1")
    (copy / "labels.tsv").write_text("0\ta\tA\t3\n1\tb\n2\tc\tC\t5\t\t\n3\td\tD\t1\n")  # as many tabs as ever
    refused(copy, "labels.tsv, line 2")
    (copy / "labels.tsv").write_text("")
    refused(copy, "labels.tsv: expected lines")
