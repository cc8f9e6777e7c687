"""Kept rows beside runs: the same numbers as if the directories that they are of were still there."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml

from xmtc.config.compose import composing, resolved
from xmtc.report import main
from xmtc.reporting.documents import METRICS, document_scores

FREQUENCY = range(30, 0, -1)


@pytest.fixture
def trained(make_run, tmp_path):
    """`trained("a", "lcenet", seed=1, skill=0.8)`: a run directory with a whole configuration, whose scores are
    those of its lists."""

    def make(name, head, *words, seed=0, skill=0.5):
        words = ["dataset=toy", "encoder=bow", f"head={head}", f"seed={seed}", *words]
        with composing("run") as composer:
            config = composer.one(words)
            config = {key: resolved(config, key) for key in map(str, config) if key != "logger"}
        folder = make_run(name, head=head, seed=seed, skill=skill, frequency=FREQUENCY)
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "overrides.yaml").write_text(json.dumps(words))
        metrics = json.loads((folder / "metrics.json").read_text())
        metrics["provenance"]["command"] = " ".join(["python -m xmtc.run", *words])
        scores, _ = document_scores(folder / "predictions.npz")
        metrics["test"] = {metric: float(scores[metric].mean()) for metric in METRICS}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        return folder

    return make


@pytest.fixture
def grown(trained, tmp_path):
    """Two seeds of a model with and without a head; `kept` has the rows of the first, whose directories are gone."""
    for seed in (0, 1):
        trained(f"{seed}/plain", "none", seed=seed, skill=0.5)
        trained(f"{seed}/head", "lcenet", seed=seed, skill=0.7)
    for option in ([], ["--gains"]):
        output = tmp_path / f"whole{''.join(option)}"
        assert main([f"{tmp_path}/0", f"{tmp_path}/1", f"--output={output}", "--resamples=400", *option]) == 0
    assert main([f"{tmp_path}/0", f"--output={tmp_path}/first", f"--into={tmp_path}/kept", "--resamples=9"]) == 0
    shutil.rmtree(tmp_path / "0")
    return tmp_path


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def compared(path):
    return {name for row in table(path / "comparisons.csv") for name in (row["first"], row["second"])}


def beside(folder, *words):
    return main([f"{folder}/1", f"--output={folder}/out", f"--kept={folder}/kept", "--resamples=400", *words])


def test_they_are_compared_as_the_runs_were(grown, capsys):
    assert beside(grown) == 0
    assert table(grown / "out" / "comparisons.csv") == table(grown / "whole" / "comparisons.csv")
    assert "| bow lcenet" in (out := capsys.readouterr().out) and "±" in out  # two seeds are one row
    assert beside(grown, "--gains") == 0
    whole, ours = (table(grown / name / "gains.csv") for name in ("whole--gains", "out"))
    assert {row["metric"] for row in ours} >= {"nDCG@5", "nDCG@5/head", "nDCG@5/tail"}
    assert [row["seeds"] for row in ours] == ["2"] * len(ours)
    for row in ours:  # a kept row has no curve, which is not the same as never to have got there
        assert (row["steps_plain"], row["steps_with_head"]) == ("", "")
    assert "never" not in (grown / "out" / "report.md").read_text()
    for row in whole + ours:
        del row["steps_plain"], row["steps_with_head"]
    assert ours == whole


def test_a_run_that_is_there_and_kept_counts_once_and_as_the_run(grown, capsys):
    assert main([f"{grown}/1", f"--output={grown}/second", f"--into={grown}/kept", "--resamples=9"]) == 0
    assert beside(grown) == 0
    assert table(grown / "out" / "comparisons.csv") == table(grown / "whole" / "comparisons.csv")
    assert f"seed 1 counts once: {grown}/1/plain, not {grown}/kept" in capsys.readouterr().err


def test_some_of_them_can_be_chosen(grown, trained, capsys):
    trained("0/slow", "none", "recipe.optimizer.lr=1e-4", skill=0.1)
    assert main([f"{grown}/0", f"--output={grown}/slow", f"--into={grown}/kept", "--resamples=9"]) == 0
    assert beside(grown, "--where=recipe.optimizer.lr=1e-4,1e-3") == 0
    assert compared(grown / "out") == {"bow none lr=0.0001", "bow none lr=0.002", "bow lcenet"}
    rows = table(grown / "out" / "results.csv")
    assert [(row["head"], row["seed"]) for row in rows] == [("none", "0"), ("none", "1"), ("lcenet", "1")]
    capsys.readouterr()
    for words, told in (
        (["--where=head=cornet"], "--where head=cornet: no kept row left; they have lcenet, none"),
        (["--where=text.length=9"], "--where text.length=9: no kept row left; none of them says it"),
        (["--where=a"], "--where a: expected KEY=VALUE[,VALUE...], as encoder=bow,xmlcnn or embedding=word2vec"),
    ):  # fmt: skip
        assert beside(grown, *words) == 2
        assert capsys.readouterr().err == f"xmtc.report: {told}\n"


def relabelled(held):
    held["label_ids"] = held["label_ids"][::-1]


def reordered(held):
    held["labels"] = held["labels"][:, ::-1]


def shorter(held):
    held["labels"] = held["labels"][1:]


@pytest.mark.parametrize("change, told", [
    (relabelled, "no given run knows its documents and labels"),
    (shorter, "no given run knows its documents and labels"),
    (reordered, "its lists do not give its P@1"),
    (None, "its lists were not kept"),
])  # fmt: skip
def test_what_cannot_be_compared_is_said_and_stands_in_tables(grown, capsys, change, told):
    (path,) = (grown / "kept" / "predictions").glob("bow-lcenet-*")
    if change is None:
        path.unlink()
    else:
        held = dict(np.load(path))
        change(held)
        np.savez(path, **held)
    assert beside(grown) == 0
    line = f"bow-lcenet seed 0 of {grown}/kept is not compared: {told}"
    assert line in capsys.readouterr().err.splitlines()
    assert len(table(grown / "out" / "results.csv")) == 4
    whole, ours = ({row["metric"]: row for row in table(grown / name / "comparisons.csv")} for name in ("whole", "out"))
    assert set(ours) == set(whole) and ours["nDCG@5"]["difference"] != whole["nDCG@5"]["difference"]  # of one seed


def test_a_row_of_another_version_stands_as_its_command_says(grown, capsys):
    path = grown / "kept" / "results.csv"
    path.write_text(path.read_text().replace("head=lcenet", "head=lcenet head.gone=1"))
    for file in (grown / "kept" / "predictions").glob("bow-lcenet-*"):
        file.rename(str(file).replace("-seed0", "-head.gone=1-seed0"))
    assert beside(grown) == 0
    assert compared(grown / "out") == {"bow none", "bow lcenet", "bow lcenet gone=1"}


def test_rows_of_one_name_have_their_own_lists(grown, trained):
    """The first of them was kept when its name was nobody else's."""
    trained("0/one", "none", "experiment=study", "dataset=toy", skill=0.2)
    trained("0/two", "none", "experiment=reuters", "dataset=toy", skill=0.9)
    for name in ("one", "two"):
        assert main([f"{grown}/0/{name}", f"--output={grown}/{name}", f"--into={grown}/kept", "--resamples=9"]) == 0
    assert beside(grown, "--where=head=none") == 0
    assert len(list((grown / "kept" / "predictions").glob("bow-none-*"))) == 3
    assert len(compared(grown / "out")) == 4  # none would be if its lists were another's


def test_folders_that_will_not_do(grown, make_run, capsys):
    make_run("other/0", sha="b" * 64)
    for words, told in (
        ([f"{grown}/1", f"--kept={grown}/1"], f"{grown}/1: no results.csv in it"),
        ([f"{grown}/other", f"--kept={grown}/kept"], f"{grown}/kept: none of its rows is of the data of a given run"),
    ):  # fmt: skip
        assert main(words) == 2
        assert capsys.readouterr().err.splitlines() == [f"xmtc.report: --kept {told}"]
    for words in ([f"--kept={grown}/kept", f"--leaderboard={grown}"], [f"{grown}/1", "--where=head=none"]):
        with pytest.raises(SystemExit):
            main(words)
    (grown / "kept" / "predictions" / next((grown / "kept" / "predictions").iterdir()).name).write_text("nothing")
    assert beside(grown) == 2
    assert "not a readable" in capsys.readouterr().err
