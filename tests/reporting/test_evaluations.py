"""Evaluations of several models on one file: models of other training data are others, whatever else they share, and
are compared by the ids of labels, which each of them numbers in its own way."""

import csv
import json

import numpy as np
import pytest

from xmtc.report import main
from xmtc.reporting.commands import settings_of
from xmtc.reporting.configurations import configurations
from xmtc.reporting.documents import document_scores
from xmtc.reporting.runs import find_runs

ALL = [f"l{number}" for number in range(30)]  # as conftest.predictions numbers them


@pytest.fixture
def evaluation(make_run):
    """`evaluation(name, data, known, ...)`: of a model that was trained on `data`, whose labels are `known`, in that
    order; the file's others are unseen ones."""

    def make(name, data, known, sha="1" * 64, **keywords):
        folder = make_run(name, **keywords)
        result = json.loads((folder / "metrics.json").read_text())
        result["provenance"] |= {"trained_on": data, "trained_by": {"dataset_sha256": sha}}
        (folder / "metrics.json").write_text(json.dumps(result))
        unseen = [label for label in reversed(ALL) if label not in known]
        new = np.array([[*known, *unseen].index(label) for label in ALL])
        held = dict(np.load(folder / "predictions.npz"))
        gold, rows = new[held["gold_indices"]], np.repeat(np.arange(200), np.diff(held["gold_offsets"]))
        labels = new[held["labels"]]
        held |= {"labels": np.where(labels < len(known), labels, -1), "gold_indices": gold[np.lexsort((gold, rows))]}
        np.savez(folder / "predictions.npz", **held, unseen_labels=np.array(unseen, dtype=np.str_))
        table = [f"{number}\t{label}\t{label}\t5\n" for number, label in enumerate(known)]
        (folder / "labels.tsv").write_text("".join(table))
        return folder

    return make


def test_models_of_other_training_data_are_no_seeds_of_one(evaluation, tmp_path, capsys):
    for seed in (0, 1):
        evaluation(f"a{seed}", "a", ALL, seed=seed, score=0.5)
        evaluation(f"b{seed}", "b", ALL, seed=seed, score=0.7)
        evaluation(f"c{seed}", "b", ALL, seed=seed, score=0.9, sha="2" * 64)  # another version of b
    (groups,) = configurations(find_runs([tmp_path])).values()
    assert {(each.name, each.mean("P@1"), len(each.complete)) for each in groups} == {
        ("bow none trained_on=a:111111111111", 0.5, 2),
        ("bow none trained_on=b:111111111111", 0.7, 2),
        ("bow none trained_on=b:222222222222", 0.9, 2),
    }
    assert capsys.readouterr().err == ""


def test_a_kept_evaluation_says_what_its_model_was_trained_on():
    run = "python -m xmtc.run dataset=a encoder=bow lr=1"
    assert settings_of(run) == {"lr": "1"}
    assert settings_of(f"{run} && python -m xmtc.evaluate input=x") == {"trained_on": "a", "lr": "1", "input": "x"}


def test_models_of_other_label_lists_are_compared_on_the_same_documents(evaluation, tmp_path, capsys):
    some = ALL[::-2]
    one = evaluation("a", "a", ALL, skill=0.3)
    other = evaluation("b", "b", some, skill=0.9)
    assert main([str(tmp_path), "--resamples", "20"]) == 0
    assert "not compared" not in capsys.readouterr().err
    rows = {row["metric"]: row for row in csv.DictReader((tmp_path / "comparisons.csv").open())}
    # by the ids, document by document
    means = []
    for folder, known in ((one, ALL), (other, some)):
        held = np.load(folder / "predictions.npz")
        ids = [*known, *held["unseen_labels"]]
        bounds = held["gold_offsets"]
        gold = [{ids[i] for i in held["gold_indices"][a:b]} for a, b in zip(bounds, bounds[1:])]
        means.append(np.mean([i >= 0 and ids[i] in true for i, true in zip(held["labels"][:, 0], gold)]))
    assert float(rows["P@1"]["difference"]) == pytest.approx(means[0] - means[1]) and means[0] != means[1]


def test_other_true_labels_are_not_paired(evaluation, tmp_path, capsys):
    evaluation("a", "a", ALL)
    folder = evaluation("b", "b", ALL)
    before = document_scores(folder / "predictions.npz")[1]
    table = (folder / "labels.tsv").read_text()
    (folder / "labels.tsv").write_text(table.replace("\tl3\t", "\tl99\t"))  # the same numbers, another label
    assert document_scores(folder / "predictions.npz")[1] != before
    assert main([str(tmp_path), "--resamples", "20"]) == 0
    assert "not compared on toy, whose true labels of the test documents differ: " in capsys.readouterr().err
