"""Run directories as tables: what is measured is shown, what is not is not made up."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from xmtc.errors import InputError
from xmtc.report import main, report

METRICS = ("P@1", "P@3", "P@5", "nDCG@1", "nDCG@3", "nDCG@5", "PSP@1")


def make_run(
    folder,
    encoder="xmlcnn",
    head="none",
    dataset="toy",
    sha="a" * 64,
    score=0.5,
    seed=0,
    complete=True,
    curves=True,
    floor=None,
):
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        f"dataset: {{name: {dataset}}}\nseed: {seed}\nencoder: {{_target_: xmtc.encoders.{encoder}.Some}}\n"
    )
    (folder / "overrides.yaml").write_text(f"- head={head}\n- seed={seed}\n")
    (folder / ".hydra").mkdir()  # looks like a run directory and is none
    (folder / ".hydra" / "config.yaml").write_text("{}")
    (folder / ".hydra" / "overrides.yaml").write_text("[]")
    if curves:
        rows = ["step,epoch,seconds,loss,nDCG@5", "1,0,0.5,3.0,", "5,0,1.5,2.0,0.2", "9,1,3,1,0.4"]
        (folder / "curves.csv").write_text("\n".join(rows) + "\n")
    if complete:
        metrics = {
            "test": {m: score for m in METRICS},
            "validation": {},
            "train_seconds": 1234.6,
            "steps": 9,
            "peak_memory_bytes": 7,
            "parameters": 3,
            "provenance": {
                "dataset": dataset,
                "dataset_sha256": sha,
                "encoder": encoder,
                "head": head,
                "recipe": "modern",
                "seed": seed,
                "device": "cpu",
                "commit": "c0ffee",
                "command": "python -m xmtc.run head=none, x",
            },
        }
        if floor:
            metrics["floor"] = floor
        (folder / "metrics.json").write_text(json.dumps(metrics))


def lines(text, *parts):
    return [line for line in text.splitlines() if all(part in line for part in parts)]


def test_the_most_frequent_labels_are_those_of_all_documents(tmp_path):
    """And not of a run on a share of them, because it comes first."""
    for name, fraction, score in (("a", 0.05, 0.1), ("b", 1.0, 0.25)):
        make_run(tmp_path / name, floor={"P@1": score})
        with open(tmp_path / name / "config.yaml", "a") as file:
            file.write(f"data: {{fraction: {fraction}, limit: null}}\n")
    assert lines(report([tmp_path]), "most frequent labels", "25.00")


def test_a_sweep(tmp_path, capsys):
    (tmp_path / "multirun.yaml").write_text("{}")
    make_run(tmp_path / "0", head="none", score=0.51239, floor={"P@1": 0.1})
    make_run(tmp_path / "1", head="lcenet", score=0.6)
    make_run(tmp_path / "2", head="cornet", complete=False)
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("| dataset") == 1
    assert lines(out, "xmlcnn", "none", "51.24", "1,235", str(tmp_path / "0"))
    assert lines(out, "xmlcnn", "lcenet", "60.00")
    assert lines(out, "xmlcnn", "cornet", "incomplete", str(tmp_path / "2"))
    assert lines(out, "most frequent labels", "10.00")
    assert out in (tmp_path / "report.md").read_text()
    assert [p.name for p in tmp_path.glob("*.png")] == ["curves_toy_aaaaaaaa.png"]
    assert "curves_toy_aaaaaaaa.png" in (tmp_path / "report.md").read_text()
    assert main([str(tmp_path)]) == 0  # its own files are no obstacle
    assert capsys.readouterr().out == out


def test_one_folder_is_no_list_of_folders(tmp_path):
    make_run(tmp_path / "a")
    for alone in (tmp_path / "a", str(tmp_path / "a")):
        with pytest.raises(InputError, match=r"^folders: expected a list of folders, got .*: write \[folder\]$"):
            report(alone)


def test_results_csv(tmp_path):
    make_run(tmp_path / "a" / "0", score=0.123456789, seed=4)
    make_run(tmp_path / "a" / "1", complete=False)
    assert main([str(tmp_path / "a"), "--output", str(tmp_path / "out" / "new")]) == 0
    with (tmp_path / "out" / "new" / "results.csv").open() as file:
        header, *rows = csv.reader(file)
    assert header == [
        "dataset",
        "encoder",
        "head",
        "recipe",
        "seed",
        *METRICS,
        "steps",
        "train_seconds",
        "peak_memory_bytes",
        "parameters",
        "device",
        "precision",
        "commit",
        "dataset_sha256",
        "command",
    ]
    assert rows == [
        [
            "toy",
            "xmlcnn",
            "none",
            "modern",
            "4",
            *["0.123456789"] * 7,
            "9",
            "1234.6",
            "7",
            "3",
            "cpu",
            "",  # of before it was recorded
            "c0ffee",
            "a" * 64,
            "python -m xmtc.run head=none, x",
        ]
    ]
    assert not (tmp_path / "a" / "results.csv").exists()


def test_different_data_never_shares_a_table(tmp_path, capsys):
    make_run(tmp_path / "0", sha="a" * 64)
    make_run(tmp_path / "1", sha="b" * 64)
    make_run(tmp_path / "2", dataset="yso", sha="c" * 64)
    make_run(tmp_path / "3", complete=False)  # which of the two toys? not known
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("| dataset") == 4
    assert lines(out, "## toy (data aaaaaaaaaaaa)") and lines(out, "## toy (data unknown)")
    assert len(list(tmp_path.glob("curves_*.png"))) == 4


def test_one_run_and_the_same_run_twice(tmp_path, capsys, monkeypatch):
    make_run(tmp_path / "runs" / "0")
    monkeypatch.chdir(tmp_path)
    assert main(["runs/0"]) == 0
    assert (tmp_path / "runs" / "0" / "report.md").is_file()
    assert main(["runs/0", "runs"]) == 0
    assert (tmp_path / "report.md").is_file()
    assert len(lines((tmp_path / "report.md").read_text(), "xmlcnn")) == 1


def test_a_job_that_died_before_it_wrote_anything(tmp_path, capsys):
    (tmp_path / "0" / ".hydra").mkdir(parents=True)
    (tmp_path / "0" / ".hydra" / "config.yaml").write_text("dataset: {name: yso}\n")
    (tmp_path / "0" / ".hydra" / "overrides.yaml").write_text("- encoder=bertxml\n- head=none\n")
    assert main([str(tmp_path)]) == 0
    assert lines(capsys.readouterr().out, "yso", "bertxml", "none", "incomplete")


def test_undefined_metrics_are_left_blank(tmp_path, capsys):
    make_run(tmp_path / "0")
    path = tmp_path / "0" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["test"].update({"P@3": None, "nDCG@5": float("nan")})
    path.write_text(json.dumps(metrics))
    assert main([str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "nan" not in out and "None" not in out


@pytest.mark.parametrize(
    "make, line",
    [
        (lambda d: None, "there is no such folder"),
        (lambda d: d.mkdir(), "no run directory in it"),
        (lambda d: (make_run(d), (d / "metrics.json").write_text("{")), "metrics.json: not readable JSON"),
        (lambda d: (make_run(d), (d / "config.yaml").write_text("a: [")), "config.yaml: not readable YAML"),
        (lambda d: (make_run(d), (d / "metrics.json").write_text("[]")), "JSON (expected an object, found list)"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, capsys, make, line):
    make(tmp_path / "x")
    assert main([str(tmp_path / "x")]) == 2
    error = capsys.readouterr().err
    assert line in error and error.count("\n") == 1


def test_without_matplotlib_one_line_says_what_to_install(tmp_path, capsys, monkeypatch):
    for name in ("matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    make_run(tmp_path / "0")
    assert main([str(tmp_path)]) == 0
    assert "xmtc[plots]" in capsys.readouterr().err
    assert (tmp_path / "report.md").is_file()


def test_runs_without_torch(tmp_path):
    """A table must not cost the import of a deep learning library."""
    code = "import sys, xmtc.report; assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])
