"""Rows kept for experiments/: added once, never changed, never from uncommitted code."""

import csv
import json
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from xmtc.errors import InputError
from xmtc.report import main
from xmtc.reporting import keep as module
from xmtc.reporting.keep import keep
from xmtc.reporting.printed import measured_rows
from xmtc.reporting.runs import find_runs


def make_run(folder, head="none", score=0.5, dirty=False, seconds=1.5, told="", **more):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("dataset: {name: d}\nseed: 0\n")
    (folder / "overrides.yaml").write_text("[]\n")
    (folder / "labels.tsv").write_text("0\ta\tA\t3\n1\tb\tB\t2\n")
    np.savez(folder / "predictions.npz", labels=np.array([[1, 0], [0, 1]]), scores=np.ones((2, 2), np.float32))
    command = f"python -m xmtc.run head={head} {told}/some/member hydra.run.dir=/somewhere/else paths.runs=/x"
    birth = {"dataset": "d", "encoder": "e", "head": head, "recipe": "r", "seed": 0, "dirty": dirty, "commit": "c"}
    birth |= {"dataset_sha256": "s", "command": command, "device": "cpu", **more}
    facts = {"train_seconds": seconds, "steps": 7, "peak_memory_bytes": 1}
    metrics = {"test": {"P@1": score}, **facts, "provenance": birth}
    (folder / "metrics.json").write_text(json.dumps(metrics))


def rows(folder):
    with open(folder / "results.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_are_added_once_and_stand(tmp_path):
    kept = tmp_path / "kept"
    make_run(tmp_path / "runs" / "one", told="init_from=/my/runs/old/ ")
    assert keep(find_runs([tmp_path / "runs"]), kept) == 1
    make_run(tmp_path / "runs" / "two", head="lcenet", score=0.75)
    assert keep(find_runs([tmp_path / "runs"]), kept) == 1
    assert keep(find_runs([tmp_path / "runs"]), kept) == 0
    assert [(row["head"], row["P@1"]) for row in rows(kept)] == [("none", "0.5"), ("lcenet", "0.75")]
    assert rows(kept)[0]["command"] == "python -m xmtc.run head=none init_from=old/ member"  # no folders of one machine


def test_two_reports_at_once_lose_no_row(tmp_path, monkeypatch):
    kept, predictions = tmp_path / "kept", module._keep_predictions

    def slow(*arguments):
        time.sleep(0.1)
        predictions(*arguments)

    monkeypatch.setattr(module, "_keep_predictions", slow)
    for head in ("none", "lcenet", "cornet"):
        make_run(tmp_path / head, head=head)
    with ThreadPoolExecutor() as pool:
        added = list(pool.map(lambda head: keep(find_runs([tmp_path / head]), kept), ("none", "lcenet", "cornet")))
    assert added == [1, 1, 1] and sorted(row["head"] for row in rows(kept)) == ["cornet", "lcenet", "none"]
    assert sorted(path.name for path in kept.iterdir()) == ["predictions", "results.csv"]


def test_the_same_seed_from_another_commit_does_not_count_twice(tmp_path, capsys):
    kept = tmp_path / "kept"
    make_run(tmp_path / "old" / "one")
    make_run(tmp_path / "new" / "one", score=0.75, seconds=9, commit="d" * 40)
    make_run(tmp_path / "new" / "other", told="head.rank=2 ", score=0.25)
    assert keep(find_runs([tmp_path / "old"]), kept) == 1 and not capsys.readouterr().err
    assert keep(find_runs([tmp_path / "new"]), kept) == 1
    assert [row["P@1"] for row in rows(kept)] == ["0.5", "0.25"]
    (line,) = capsys.readouterr().err.splitlines()
    assert "new/one: left out" in line and "results.csv has a row of e-none seed 0 of commit c;" in line


def test_rows_of_before_the_precision_was_recorded_stay_as_they_are(tmp_path):
    kept = tmp_path / "kept"
    make_run(tmp_path / "old" / "one")
    keep(find_runs([tmp_path / "old"]), kept)
    with open(kept / "results.csv", newline="") as file:
        table = list(csv.reader(file))
    place = table[0].index("precision")
    without = [[cell for at, cell in enumerate(row) if at != place] for row in table]
    with open(kept / "results.csv", "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(without)
    assert keep(find_runs([tmp_path / "old"]), kept) == 0
    make_run(tmp_path / "new" / "two", head="lcenet", precision="bf16-mixed")
    assert keep(find_runs([tmp_path / "new"]), kept) == 1
    assert [(row["head"], row["precision"]) for row in rows(kept)] == [("none", ""), ("lcenet", "bf16-mixed")]
    assert [run.facts["precision"] for run in measured_rows(kept)] == ["", "bf16-mixed"]
    assert [set(run.test) for run in measured_rows(kept)] == [{"P@1"}] * 2


def test_top_labels_can_be_scored_again(tmp_path):
    make_run(tmp_path / "runs" / "one")
    keep(find_runs([tmp_path / "runs"]), tmp_path / "kept")
    (path,) = (tmp_path / "kept" / "predictions").iterdir()
    content = np.load(path)
    assert content["label_ids"][content["labels"]].tolist() == [["b", "a"], ["a", "b"]]


def test_settings_keep_their_predictions_apart(tmp_path):
    for number, told in enumerate(
        ("", "recipe.prior_bias=True data.fraction=0.5 ", "'dataset.quote=\"a=b,c\"' logger=csv ")
    ):
        make_run(tmp_path / "runs" / str(number), told=told, seconds=number)
    assert keep(find_runs([tmp_path / "runs"]), tmp_path / "kept") == 3
    assert {path.name for path in (tmp_path / "kept" / "predictions").iterdir()} == {
        "e-none-r-seed0.npz",
        "e-none-r-data.fraction=0.5-recipe.prior_bias=True-seed0.npz",
        "e-none-r-_dataset.quote=_a=b_c_-seed0.npz",
    }


def test_where_a_corpus_lies_makes_no_other_row_and_is_not_kept(tmp_path, capsys):
    """The data's hash tells which it is; folders may have blanks in their names."""
    kept = tmp_path / "kept"
    for number, place in enumerate(("/home/me/my texts/corpus one", "/data/two")):
        make_run(tmp_path / "runs" / str(number), told=f"""'dataset.path="{place}"' a=1 """, seconds=number)
    assert keep(find_runs([tmp_path / "runs"]), kept) == 1
    assert rows(kept)[0]["command"] == """python -m xmtc.run head=none 'dataset.path="corpus one"' a=1 member"""
    assert measured_rows(kept)[0].settings == {"a": "1"}
    assert "runs/1: left out" in capsys.readouterr().err


def test_rows_of_other_documents_are_told_by_how_their_model_was_trained(tmp_path):
    told = "a=1 && python -m xmtc.evaluate checkpoint=runs/one input=/data/somewhere/texts.txt output=runs/new "
    make_run(tmp_path / "runs" / "one", told=told)
    make_run(tmp_path / "runs" / "long", told=f"b={'x' * 300} ", seconds=2)
    assert keep(find_runs([tmp_path / "runs"]), tmp_path / "kept") == 2
    commands = {row["command"] for row in rows(tmp_path / "kept")}
    assert "python -m xmtc.run head=none a=1 && python -m xmtc.evaluate input=texts.txt member" in commands
    short, long = sorted((path.name for path in (tmp_path / "kept" / "predictions").iterdir()), key=len)
    assert short == "e-none-r-a=1-seed0.npz" and len(long) < 255


def test_rows_that_only_their_experiment_or_dataset_tells_apart_stand_beside_each_other(tmp_path):
    """What an experiment's file sets is in no word of the command; a folder may hold several data sets."""
    for number, more in enumerate(({"told": "experiment=a "}, {"told": "experiment=b "}, {"dataset": "other"})):
        make_run(tmp_path / "runs" / str(number), seconds=number, **more)
    assert keep(find_runs([tmp_path / "runs"]), tmp_path / "kept") == 3
    names = {path.name for path in (tmp_path / "kept" / "predictions").iterdir()}
    assert len(names) == 3 and all(name.startswith("e-none-r-seed0") for name in names)
    make_run(tmp_path / "runs" / "later", seconds=9, told="experiment=c ")
    assert keep(find_runs([tmp_path / "runs"]), tmp_path / "kept") == 1
    assert names < {path.name for path in (tmp_path / "kept" / "predictions").iterdir()}


def test_a_list_that_is_short_of_labels_is_kept_as_such(tmp_path):
    make_run(tmp_path / "runs" / "one")
    np.savez(tmp_path / "runs" / "one" / "predictions.npz", labels=np.array([[1, -1], [0, 1]]))
    keep(find_runs([tmp_path / "runs"]), tmp_path / "kept")
    (path,) = (tmp_path / "kept" / "predictions").iterdir()
    assert np.load(path)["labels"].tolist() == [[1, -1], [0, 1]]


def test_a_row_is_not_kept_without_the_lists_that_go_with_it(tmp_path):
    make_run(tmp_path / "runs" / "one")
    (tmp_path / "runs" / "one" / "predictions.npz").unlink()
    with pytest.raises(InputError, match=r"one/predictions.npz: there is no such file"):
        keep(find_runs([tmp_path / "runs"]), tmp_path / "kept")
    assert not (tmp_path / "kept" / "results.csv").exists()  # else it would stand without them from then on


@pytest.mark.parametrize("told", [
    {"dirty": True}, {"started_from": {"dirty": False, "started_from": {"dirty": True}}},
    {"members": [None, {"dirty": False}, {"dirty": True}]},
])  # fmt: skip
def test_uncommitted_code_is_refused(tmp_path, told):
    make_run(tmp_path / "runs" / "one", **told)
    with pytest.raises(InputError, match="uncommitted"):
        keep(find_runs([tmp_path / "runs"]), tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys):
    make_run(tmp_path / "one")
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path / "one"), "--into", str(tmp_path / "file")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"xmtc.report: --into {tmp_path / 'file'}: cannot write there: File exists"
    assert main(["--leaderboard", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
