"""`xmtc.evaluate`: a run's own test documents give its own scores; labels that differ; what cannot be used."""

import csv
import errno
import json
import lzma
import shutil

import numpy as np
import pytest
from sklearn.metrics import f1_score

import xmtc
from xmtc.analysing.run import analyse_run
from xmtc.data.lists import read_lists
from xmtc.ensemble import ensemble as make_ensemble
from xmtc.errors import InputError
from xmtc.evaluate import main
from xmtc.export import ExportSettings, export
from xmtc.predicting import evaluated
from xmtc.predicting.evaluation import evaluate_file
from xmtc.reporting.configurations import configurations
from xmtc.reporting.runs import find_runs, read_run


@pytest.fixture
def files(tmp_path, test_texts):
    """The run's test documents as texts.txt and labels.txt."""
    texts, labels = tmp_path / "texts.txt", tmp_path / "labels.txt"
    texts.write_text("".join(f"{text}\n" for text, _ in test_texts))
    labels.write_text("".join(f"{' '.join(own)}\n" for _, own in test_texts))
    return {"input": str(texts), "labels": str(labels)}


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.mark.parametrize("which", ["run", "other_run"])
def test_its_own_test_documents_give_its_own_scores(request, which, files, tmp_path):
    run = request.getfixturevalue(which)
    target = tmp_path / "scored"
    found = evaluate_file(str(run), **files, output=str(target))
    own = metrics(run)
    assert found["test"] == own["test"] and found["threshold"] == own["threshold"]
    assert found["documents"] == 41 and metrics(target)["test"] == own["test"]
    ours, theirs = (read_lists(folder / "predictions.npz") for folder in (target, run))
    assert np.array_equal(ours.labels, theirs.labels) and np.array_equal(ours.gold.ids, theirs.gold.ids)
    np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-6)
    (read,) = find_runs([target])
    assert read.facts["command"].startswith(metrics(run)["provenance"]["command"] + " && python -m xmtc.evaluate")
    assert read.complete and read.dataset == "texts" and read.dataset_sha256 and read.encoder and read.seed in (5, 6)


def test_a_fitted_system_too(make_run, files):
    run = make_run("encoder=br", "head=none")
    assert evaluate_file(str(run), **files)["test"] == metrics(run)["test"]


def test_tables_and_compressed_lines_say_the_same(run, files, tmp_path, test_texts):
    wanted = evaluate_file(str(run), **files)
    jsonl, table = tmp_path / "a.jsonl", tmp_path / "a.csv"
    jsonl.write_text("".join(json.dumps({"body": t, "labels": own}) + "\n" for t, own in test_texts))
    with open(table, "w", newline="") as file:
        csv.writer(file).writerows([["body", "tags"], *([t, "| ".join(own)] for t, own in test_texts)])
    blanks = tmp_path / "b.jsonl"
    blanks.write_text("".join(json.dumps({"body": t, "labels": " ".join(own)}) + "\n" for t, own in test_texts))
    packed = tmp_path / "labels.txt.xz"
    packed.write_bytes(lzma.compress((tmp_path / "labels.txt").read_bytes()))
    for given in (
        {"input": str(jsonl), "text_column": "body"},
        {"input": str(blanks), "text_column": "body"},
        {"input": str(table), "text_column": "body", "label_column": "tags", "label_separator": "|"},
        {"input": files["input"], "labels": str(packed), "batch_size": 3},
    ):
        assert evaluate_file(str(run), **given) == wanted


@pytest.fixture
def three(run, tmp_path):
    """Three documents with a label of the model in capitals, an unknown one, and no label of the model at all."""
    ids = xmtc.load(run).labels.ids
    texts, labels = tmp_path / "t.txt", tmp_path / "l.txt"
    texts.write_text("g0c1w1 n3\ng0c1w2\nn3 n4\n")
    labels.write_text(f"{ids[3].upper()} {ids[0]} strange\n{ids[5]}\nstrange other\n")
    return ids, {"input": str(texts), "labels": str(labels)}


def by_hand(run, gold, allowed, k):
    """P@k and micro-F1 of the three documents, from all probabilities."""
    model = xmtc.load(run)
    hit, answered, true = 0, [], []
    for text, own in zip(["g0c1w1 n3", "g0c1w2", "n3 n4"], gold, strict=True):
        (answer,) = model.predict([text], k=model.num_labels)
        ranked = [(i, s) for i, s in zip(answer.indices, answer.scores, strict=True) if i in allowed]
        hit += sum(i in own for i, _ in ranked[:k])
        answered.append([dict(ranked)[i] >= metrics(run)["threshold"] for i in sorted(allowed)])
        true.append([i in own for i in sorted(allowed)])
    return hit / (3 * k), f1_score(true, answered, average="micro", zero_division=0)


@pytest.mark.parametrize("match", ["exact", "caseless"])
def test_labels_that_are_shared(run, three, match):
    ids, given = three
    gold = [{0, 3} if match == "caseless" else {0}, {5}, set()]
    shared = set().union(*gold)
    found = evaluate_file(str(run), **given, match=match, candidates="shared", ks=[2])
    precision, f1 = by_hand(run, gold, shared, 2)
    assert found["candidates"] == len(shared) and found["missed"] == (3 if match == "caseless" else 4)
    assert found["test"]["P@2"] == pytest.approx(precision, abs=1e-12)
    assert found["test"]["micro-F1"] == pytest.approx(f1, abs=1e-12)
    whole = evaluate_file(str(run), **given, match=match, ks=[2])
    assert whole["test"]["P@2"] == pytest.approx(by_hand(run, gold, set(range(len(ids))), 2)[0], abs=1e-12)
    # a label that the model does not have is missed: every document has one more, or two more
    assert whole["test"]["R@2"] <= found["test"]["R@2"]


@pytest.mark.parametrize("match, missed", [("exact", 3), ("caseless", 2)])
def test_a_label_that_the_model_has_not_is_missed_once_a_document(run, tmp_path, match, missed):
    known = xmtc.load(run).labels.ids[0]
    (tmp_path / "texts.txt").write_text("g0c1w1\ng0c1w2\n")
    (tmp_path / "labels.txt").write_text(f"{known} Strange strange\nSTRANGE\n")
    given = {
        "input": str(tmp_path / "texts.txt"),
        "labels": str(tmp_path / "labels.txt"),
        "output": str(tmp_path / "out"),
    }
    assert evaluate_file(str(run), **given, match=match)["missed"] == missed
    unseen = read_lists(tmp_path / "out" / "predictions.npz").unseen
    assert unseen == (["Strange"] if match == "caseless" else ["Strange", "strange", "STRANGE"])


def test_the_raw_ranking_and_another_threshold(run, files):
    assert evaluate_file(str(run), **files, raw=True)["test"] != evaluate_file(str(run), **files)["test"]
    none = evaluate_file(str(run), **files, threshold=1.0)["test"]
    assert none["micro-R"] == 0 and none["P@1"] == metrics(run)["test"]["P@1"]


def test_the_command(run, files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = [f"checkpoint={run}", *(f"{key}={value}" for key, value in files.items())]
    with pytest.raises(SystemExit, match="2"):
        main([*given, "match=loose"])
    assert "match" in capsys.readouterr().err
    main(given)
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("nDCG@5"))
    assert float(line.split()[1]) == pytest.approx(100 * metrics(run)["test"]["nDCG@5"], abs=6e-3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels.txt", "texts.txt"]


def test_what_cannot_be_used_is_one_line(run, files, tmp_path):
    short, odd, empty = tmp_path / "short.txt", tmp_path / "odd.jsonl", tmp_path / "empty.jsonl"
    short.write_text("a\n")
    odd.write_text('{"text": "n3", "labels": 7.5}\n')
    empty.write_text("")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    for given, message in (
        ({"input": str(tmp_path / "no.txt")}, "input: .*is not there"),
        ({"input": "-"}, "standard input"),
        ({"input": files["input"]}, "labels: .*line; name the file"),
        ({"input": str(odd), "labels": files["labels"]}, "set label_column"),
        ({"input": files["input"], "labels": str(short)}, "short.txt ended after line 1"),
        ({"input": str(short), "labels": files["labels"]}, "short.txt ended after line 1"),
        ({"input": str(odd)}, "line 1: column 'labels': expected labels in a text or a list, found '7.5'"),
        ({"input": str(odd), "label_column": "tags"}, "no column 'tags', found text, labels; set label_column"),
        ({"input": str(empty)}, "holds no documents"),
        ({"input": files["input"], "labels": files["input"]}, "has no label of the model"),
        (files | {"output": str(tmp_path / "full")}, "is there and not empty"),
        (files | {"output": str(tmp_path / "short.txt")}, "is there and not empty"),
        (files | {"output": str(tmp_path / "short.txt" / "new")}, "cannot write there: Not a directory"),
        ({"input": str(tmp_path)}, "input: .*is no file that could be read twice"),
        (files | {"labels": "/dev/null"}, "labels: /dev/null is no file that could be read twice"),
        (files | {"ks": []}, "at least one cut-off"),
        (files | {"threshold": 2.0}, "threshold: expected a probability"),
        (files | {"delimiter": ","}, "set format to csv"),
    ):
        with pytest.raises(InputError, match=message):
            evaluate_file(str(run), **given)


def test_cells_are_read_as_in_training(run, tmp_path):
    """Blanks around a label of a list are none of it; a number is one label."""
    known = xmtc.load(run).labels.ids[:2]
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"text": "g0c1w1", "labels": [f" {known[0]} ", known[1], "", None]}) + "\n")
    assert evaluate_file(str(run), str(file))["missed"] == 0
    with open(file, "a") as opened:
        opened.write(
            '{"text": "n3", "labels": 7}\n{"text": "n3", "labels": [7, "8"]}\n{"text": "n3", "labels": null}\n'
        )
    evaluate_file(str(run), str(file), output=str(tmp_path / "out"))
    assert read_lists(tmp_path / "out" / "predictions.npz").unseen == ["7", "8"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
@pytest.mark.parametrize("there", [True, False])
def test_what_is_cut_short_leaves_nothing(run, files, tmp_path, monkeypatch, error, there):
    """The last file of the folder is the one that cannot be written."""
    target = tmp_path / "deep" / "out"
    if there:
        target.mkdir(parents=True)

    def fail(*_):
        raise error

    monkeypatch.setattr(evaluated, "write_json", fail)
    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else InputError, match="No space left|^$"):
        evaluate_file(str(run), **files, output=str(target))
    assert list(target.iterdir()) == [] if there else not target.exists()
    monkeypatch.undo()
    evaluate_file(str(run), **files, output=str(target))
    assert {path.name for path in target.iterdir()} == {
        "config.yaml", "labels.tsv", "metrics.json", "overrides.yaml", "predictions.npz",
    }  # fmt: skip


def test_what_cannot_be_written_is_said_before_the_work(run, files, tmp_path, monkeypatch):
    monkeypatch.setattr(xmtc, "load", None)
    with pytest.raises(InputError, match="output=.*cannot write there"):
        evaluate_file(str(run), **files, output="/proc/new")


def test_only_scores_of_one_task_share_a_table(run, make_run, tmp_path, test_texts):
    """Another column of labels, and labels that only one of two models shares with the file, are other tasks."""
    file, count = tmp_path / "a.jsonl", 0
    rows = [{"text": text, "labels": own, "other": own[:1]} for text, own in test_texts]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))

    def sha(model=run, **given):
        nonlocal count
        count += 1
        evaluate_file(str(model), str(file), output=str(tmp_path / str(count)), **given)
        return metrics(tmp_path / str(count))["provenance"]["dataset_sha256"]

    other = tmp_path / "other"
    shutil.copytree(run, other)
    table = (other / "labels.tsv").read_text().replace("g0.cause", "renamed.cause", 1)
    (other / "labels.tsv").write_text(table)
    (other / "checksums").unlink()
    assert sha() == sha(raw=True) == sha(other)
    assert sha(label_column="other") != sha()
    assert sha(candidates="shared") == sha(candidates="shared") != sha(other, candidates="shared")


def test_tables_of_evaluated_folders(run, other_run, files, tmp_path):
    """Two models and a raw ranking: three rows, compared document by document; and what analyse says of them."""
    for name, model, raw in (("a", run, False), ("b", other_run, False), ("c", run, True)):
        evaluate_file(str(model), **files, candidates="shared", raw=raw, output=str(tmp_path / "new" / name))
    runs = find_runs([tmp_path / "new"])
    (made,) = configurations(runs).values()
    heads = {(each.encoder, each.head) for each in made}
    assert heads == {("bow", "lcenet"), ("bow", "lcenet (raw)"), ("xmlcnn", "none")}
    assert {run.facts["precision"] for run in runs} == {"32-true"}
    for read in runs:
        found = analyse_run(read)
        assert found["ranking"][""]["P@1"] == pytest.approx(read.test["P@1"])
        assert found["sets"]["micro-F1"] == pytest.approx(read.test["micro-F1"])


def test_another_threshold_is_another_row(run, files, tmp_path, capsys):
    """Its label sets are others; neither is a copy of the other."""
    for name, threshold in (("own", None), ("low", 0.125), ("high", 0.875)):
        evaluate_file(str(run), **files, threshold=threshold, output=str(tmp_path / "new" / name))
    (made,) = configurations(find_runs([tmp_path / "new"])).values()
    assert sorted(one.settings["evaluation.threshold"] for one in made) == ["0.125", "0.875", "None"]
    assert "counts once" not in capsys.readouterr().err


def test_an_ensemble_and_an_exported_model(run, other_run, files, tmp_path):
    ensemble, exported = tmp_path / "ensemble", tmp_path / "exported"
    make_ensemble([run, other_run], ensemble, "mean")
    export(run, ExportSettings("safetensors", str(exported)))
    own = evaluate_file(str(ensemble), **files, output=str(tmp_path / "a"))
    assert own["test"]["P@1"] == pytest.approx(metrics(ensemble)["test"]["P@1"])
    evaluate_file(str(ensemble), **files, candidates="shared", output=str(tmp_path / "b"))
    assert evaluate_file(str(exported), **files, output=str(tmp_path / "c"))["test"] == metrics(run)["test"]
    first, second, third = (read_run(tmp_path / name) for name in "abc")
    assert first.encoder == second.encoder == read_run(ensemble).encoder and third.encoder == "bow"
    assert not any(key.startswith("encoder.") for key in first.settings)  # not those of one of its members


def test_a_label_that_could_be_several(make_run, tmp_path):
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for part in ("train", "dev", "test"):
        (corpus / f"{part}_texts.txt").write_text("one word\nanother word\n" * 4)
        (corpus / f"{part}_labels.txt").write_text("a A\nb\n" * 4)
    small = ["dataset=folder", f"dataset.path={corpus}", "encoder=br", "head=none"]
    folder = tmp_path / "run"
    xmtc.run([*small, "logger=csv", f"paths.cache_dir={tmp_path / 'cache'}", f"hydra.run.dir={folder}"])
    given = {"input": str(corpus / "test_texts.txt"), "labels": str(corpus / "test_labels.txt")}
    with pytest.raises(InputError, match="match=caseless: 'a' is several labels"):
        evaluate_file(str(folder), **given, match="caseless")
    assert evaluate_file(str(folder), **given)["missed"] == 0
