"""A head alone, trained on stored scores."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import scipy.sparse
import torch
import yaml

from xmtc.data.batch import Labels
from xmtc.data.lists import Lists, read_lists
from xmtc.enhancing.job import enhance_scores
from xmtc.enhancing.scores import Scale, fit_scale, read_gold, read_scores
from xmtc.errors import InputError
from xmtc.labels import LabelTable

L = 20


def corpus(documents, seed):
    """Logits (N, L) that know labels 0 to 9 but nothing of 10 to 19, which go with them one to one; targets (N, L)."""
    random = np.random.default_rng(seed)
    targets = np.zeros((documents, L), bool)
    targets[:, : L // 2] = random.random((documents, L // 2)) < 0.2
    targets[:, L // 2 :] = targets[:, : L // 2]
    logits = random.normal(-3, 1, (documents, L))
    logits[:, : L // 2] += 5 * targets[:, : L // 2]
    return logits.astype(np.float32), targets


def gold_of(targets):
    matrix = scipy.sparse.csr_matrix(targets)
    return Labels(torch.from_numpy(matrix.indices.astype(np.int64)), torch.from_numpy(matrix.indptr.astype(np.int64)))


def write(folder, name, logits, targets, kind, k=L):
    """The same scores in each kind of file, with their true labels in NAME-labels.npz."""
    scipy.sparse.save_npz(folder / f"{name}-labels.npz", scipy.sparse.csr_matrix(targets.astype(np.float32)))
    probabilities = 1 / (1 + np.exp(-logits))
    order = np.argsort(-logits, axis=1)[:, :k]
    if kind == "dense":
        np.save(folder / f"{name}.npy", probabilities)
        return folder / f"{name}.npy"
    if kind == "csr":
        kept = np.zeros_like(probabilities)
        np.put_along_axis(kept, order, np.take_along_axis(probabilities, order, 1), 1)
        scipy.sparse.save_npz(folder / f"{name}.npz", scipy.sparse.csr_matrix(kept))
    else:
        lists = Lists(order, np.take_along_axis(probabilities, order, 1), gold_of(targets))
        lists.save(folder / f"{name}.npz")
    return folder / f"{name}.npz"


@pytest.mark.parametrize("kind", ["dense", "csr", "lists"])
def test_every_kind_of_file_gives_the_same_logits(tmp_path, kind):
    logits, targets = corpus(30, 0)
    scores = read_scores(str(write(tmp_path, "a", logits, targets, kind)), L if kind == "lists" else None)
    assert scores.num_labels == L and len(scores) == 30
    rows = np.array([7, 3, 3])
    np.testing.assert_allclose(scores.rows(rows, Scale(True)).numpy(), logits[rows], rtol=1e-3, atol=1e-4)
    gold = read_gold(str(tmp_path / "a-labels.npz"))
    assert torch.equal(gold.ids, gold_of(targets).ids) and torch.equal(gold.offsets, gold_of(targets).offsets)
    values, true = scores.pairs(gold)
    every = zip((1 / (1 + np.exp(-logits))).ravel().tolist(), targets.ravel().tolist(), strict=True)
    assert sorted(zip(values.tolist(), true.tolist(), strict=True)) == sorted(every)
    assert true.sum() == targets.sum()


def test_labels_outside_a_shortlist_share_the_log_odds_of_being_missed(tmp_path):
    logits, targets = corpus(200, 1)
    path = write(tmp_path, "a", logits, targets, "csr", k=5)
    scores, gold = read_scores(str(path)), read_gold(str(tmp_path / "a-labels.npz"))
    scale = fit_scale(scores, gold, "auto", None)
    kept = np.zeros(targets.shape, bool)
    np.put_along_axis(kept, np.argsort(-logits, axis=1)[:, :5], True, 1)
    share = targets[~kept].mean()
    assert scale.probabilities and scale.outside == pytest.approx(np.log(share / (1 - share)), abs=0.02)
    rows = scores.rows(np.arange(200), scale).numpy()
    assert (rows[~kept] == np.float32(scale.outside)).all()
    np.testing.assert_allclose(rows[kept], logits[kept], rtol=1e-3, atol=1e-4)
    assert fit_scale(scores, gold, "auto", -7.0).outside == -7.0


def test_margins_become_logits():
    logits, targets = corpus(2000, 2)
    logits, targets = logits[:, : L // 2], targets[:, : L // 2]
    random = np.random.default_rng(0)
    targets = random.random(logits.shape) < 1 / (1 + np.exp(-logits))
    from xmtc.enhancing.scores import Scores

    margins = (logits - 1.5) / 4
    scale = fit_scale(Scores(L // 2, dense=margins), gold_of(targets), "auto", None)
    assert not scale.probabilities
    np.testing.assert_allclose(scale(margins), logits, atol=0.35)
    squashed = 1 / (1 + np.exp(-margins))  # as a run of encoder=br stores them
    scale = fit_scale(Scores(L // 2, dense=squashed), gold_of(targets), "sigmoid", None)
    np.testing.assert_allclose(scale(squashed), logits, atol=0.35)


@pytest.mark.parametrize("kind, k", [("dense", L), ("csr", 8), ("lists", 8)])
def test_the_head_finds_what_the_scores_miss(tmp_path, kind, k):
    train = write(tmp_path, "train", *corpus(1500, 3), kind, k)
    test = write(tmp_path, "test", *corpus(300, 4), kind, k)
    files = {"labels": str(tmp_path / "train-labels.npz"), "test_labels": str(tmp_path / "test-labels.npz")}
    result = enhance_scores(str(train), str(tmp_path / "out"), test_scores=str(test), rank=16, epochs=15, lr=2e-2,
                            num_labels=L, **files)  # fmt: skip
    before, after = result["test"]["before"], result["test"]["after"]
    assert after["P@5"] > before["P@5"] + 0.05 and after["nDCG@5"] > before["nDCG@5"] + 0.05
    # what is written is what was scored, and it can go on to calibration and ensembles
    lists = read_lists(tmp_path / "out" / "predictions.npz")
    true = corpus(300, 4)[1]
    found = np.take_along_axis(true, lists.labels[:, :5], axis=1)
    assert found.mean() == pytest.approx(after["P@5"])
    assert (np.diff(lists.scores) <= 0).all() and len(LabelTable(tmp_path / "out" / "labels.tsv")) == L
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["test"] == result["test"]
    assert len(read_lists(tmp_path / "out" / "predictions_validation.npz")) == 150
    assert torch.load(tmp_path / "out" / "head.pt", weights_only=True)["blocks.0.gather_weight"].shape == (L, 16)


def test_without_training_nothing_changes(tmp_path):
    logits, targets = corpus(60, 5)
    path = write(tmp_path, "a", logits, targets, "lists")
    result = enhance_scores(str(path), str(tmp_path / "out"), test_scores=str(path), epochs=0, rank=4, num_labels=L)
    lists = read_lists(tmp_path / "out" / "predictions.npz")
    assert (lists.labels == np.argsort(-logits, axis=1, kind="stable")).all()
    np.testing.assert_allclose(lists.scores, -np.sort(-1 / (1 + np.exp(-logits)), axis=1), atol=1e-6)
    assert result["test"]["before"] == result["test"]["after"] and len(result["curve"]) == 1


def test_numbers_of_numpy_and_paths_are_taken_as_they_are(tmp_path):
    logits, targets = corpus(30, 6)
    path = write(tmp_path, "a", logits, targets, "lists")
    options = {"rank": np.int64(4), "epochs": np.int32(1), "lr": np.float64(1e-3), "num_labels": np.int64(L)}
    enhance_scores(path, tmp_path / "out", test_scores=path, **options)
    settings = yaml.safe_load((tmp_path / "out" / "enhance.yaml").read_text())
    assert (settings["rank"], settings["scores"], settings["output"]) == (4, str(path), str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["settings"]["num_labels"] == L


def test_scores_of_a_run_before_the_head_are_the_runs_own(other_run, tmp_path):
    """Also PSP@k, for which more than the lists counts: how many documents were trained on, the corpus' constants."""
    run = shutil.copytree(other_run, tmp_path / "run")
    config = yaml.safe_load((run / "config.yaml").read_text())
    files = [str(run / f"predictions{part}.npz") for part in ("_validation", "")]

    def before(name):
        result = enhance_scores(files[0], str(tmp_path / name), test_scores=files[1], epochs=0, rank=4)
        return result["test"]["before"]

    own = json.loads((run / "metrics.json").read_text())["test"]
    found = before("out")
    assert {name: found[name] for name in ("P@5", "PSP@1", "PSP@3", "PSP@5")} == pytest.approx(
        {name: own[name] for name in ("P@5", "PSP@1", "PSP@3", "PSP@5")}
    )
    config["dataset"]["propensity"] = {"a": 0.6, "b": 2.6}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert before("constants")["PSP@5"] != found["PSP@5"] and before("again")["P@5"] == found["P@5"]
    (run / "config.yaml").unlink()
    shutil.rmtree(run / "text")
    assert 0 <= before("without")["PSP@5"] != found["PSP@5"]


def test_a_harmful_head_is_not_kept(tmp_path):
    logits, targets = corpus(100, 6)
    path = write(tmp_path, "a", logits, targets, "lists")
    result = enhance_scores(str(path), str(tmp_path / "out"), lr=1e3, epochs=2, rank=4, num_labels=L)
    assert result["validation"]["after"]["nDCG@5"] >= result["validation"]["before"]["nDCG@5"] == result["curve"][0]


def test_a_folder_that_cannot_be_is_told_before_the_work(tmp_path, monkeypatch):
    scores = write(tmp_path, "a", *corpus(40, 0), "lists")
    monkeypatch.setattr("xmtc.enhancing.train.HeadTraining.fit", None)
    with pytest.raises(InputError, match="cannot write to .*a.npz"):
        enhance_scores(str(scores), str(scores / "out"), num_labels=L, rank=2, epochs=0)


def test_nothing_of_an_earlier_enhancement_is_left(tmp_path):
    """Its test scores, and a calibration of them, would be taken for those of the new head."""
    scores, out = write(tmp_path, "a", *corpus(40, 0), "lists"), tmp_path / "out"
    enhance_scores(str(scores), str(out), num_labels=L, test_scores=str(scores), rank=2, epochs=0)
    (out / "calibration.json").write_text("{}")
    assert (out / "predictions.npz").exists()
    enhance_scores(str(scores), str(out), num_labels=L, rank=2, epochs=0)
    left = ["enhance.yaml", "head.pt", "labels.tsv", "metrics.json", "predictions_validation.npz"]
    assert sorted(path.name for path in out.iterdir()) == left


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    logits, targets = corpus(20, 7)
    path = str(write(tmp_path, "a", logits, targets, "lists"))
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.json").write_text("of a run")
    (tmp_path / "file").touch()
    for name, message in (("run", "is there and is no enhancement; choose another folder"), ("file", "is a file")):
        with pytest.raises(InputError, match=f"output: .*{name} {message}"):
            enhance_scores(path, str(tmp_path / name), epochs=0, rank=4, num_labels=L)
    assert (run / "metrics.json").read_text() == "of a run" and len(list(run.iterdir())) == 1
    for _ in range(2):  # the same command again
        enhance_scores(path, str(tmp_path / "out"), epochs=0, rank=4, num_labels=L)


def test_what_cannot_be_enhanced(tmp_path):
    logits, targets = corpus(10, 7)
    dense, lists = (str(write(tmp_path, kind, logits, targets, kind)) for kind in ("dense", "lists"))
    gold, out = str(tmp_path / "dense-labels.npz"), str(tmp_path / "out")
    np.save(tmp_path / "flat.npy", np.zeros(3, np.float32))
    np.save(tmp_path / "nan.npy", np.full((10, L), np.nan, np.float32))
    np.savez(tmp_path / "other.npz", a=1)
    (tmp_path / "broken.npz").write_bytes(b"PK broken")
    late = logits.copy()
    late[7, 2] = np.inf
    np.save(tmp_path / "late.npy", late)
    parts = {"format": b"csr", "shape": (10, L), "indptr": np.arange(11)}
    np.savez(tmp_path / "column.npz", data=np.ones(10), indices=np.full(10, L), **parts)
    np.savez(tmp_path / "short.npz", data=np.ones(4), indices=np.zeros(4, int), **parts)
    scipy.sparse.save_npz(tmp_path / "csc.npz", scipy.sparse.csc_matrix(np.eye(3)))
    wrong = str(write(tmp_path, "wrong", logits[:, :5], targets[:, :5], "dense"))
    for message, options in {
        "no true labels": {"scores": dense},
        "set label_table or num_labels": {"scores": lists},
        "label 19 is not among the 5": {"scores": lists, "num_labels": 5},
        "there is no such file": {"scores": "/nowhere.npy"},
        r"expected \(N, L\) numbers": {"scores": str(tmp_path / "flat.npy")},
        "^scores: expected finite": {"scores": str(tmp_path / "nan.npy"), "labels": gold},
        "test_scores: expected finite": {"scores": dense, "labels": gold, "test_scores": str(tmp_path / "late.npy")},
        "column.npz: not a readable": {"scores": str(tmp_path / "column.npz"), "labels": gold},
        "short.npz: not a readable": {"scores": dense, "labels": str(tmp_path / "short.npz")},
        "labels and scores, found a": {"scores": str(tmp_path / "other.npz")},
        "not a readable": {"scores": str(tmp_path / "broken.npz")},
        "expected a CSR matrix": {"scores": str(tmp_path / "csc.npz")},
        "test_scores: 5 labels, expected the 20": {"scores": dense, "labels": gold, "test_scores": wrong},
        "^rank: expected a whole number": {"scores": dense, "labels": gold, "rank": 2.5},
        "^scores: expected text, got the number 3": {"scores": 3},
        "validation_size": {"scores": dense, "labels": gold, "validation_size": 1.5},
    }.items():
        with pytest.raises(InputError, match=message) as error:
            enhance_scores(output=out, **options)
        assert "\n" not in str(error.value)
    write(tmp_path, "few", logits[:4], targets[:4], "dense")
    with pytest.raises(InputError, match="labels: 4 documents, scores has 10"):
        enhance_scores(dense, out, labels=str(tmp_path / "few-labels.npz"))


def test_the_command(tmp_path, python):
    path = write(tmp_path, "a", *corpus(60, 8), "lists")
    words = [f"scores={path}", "output=out", f"test_scores={path}", f"num_labels={L}", "epochs=1", "rank=4"]
    command = [python, "-m", "xmtc.enhance", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 4 and "test after: P@1" in done.stdout and "epoch 1" in done.stderr


def test_every_key_can_be_set_from_the_command_line(tmp_path, python):
    """`head` too, which is also a group of xmtc.run's configuration: Hydra would take it for a choice of files."""
    train = write(tmp_path, "train", *corpus(60, 3), "lists", 8)
    keys = {"num_labels": L, "head": "cornet", "rank": 4, "blocks": 2, "epochs": 1, "scale": "probability", "seed": 3}
    given = [f"{key}={value}" for key, value in keys.items()]
    command = [python, "-m", "xmtc.enhance", f"scores={train}", f"labels={tmp_path / 'train-labels.npz'}", *given]
    done = subprocess.run([*command, f"output={tmp_path / 'out'}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    weights = torch.load(tmp_path / "out" / "head.pt", weights_only=True)
    assert weights["blocks.1.gather_weight"].shape == (L, 4)
