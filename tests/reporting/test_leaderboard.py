"""experiments/README.md is what the rows in experiments/ say."""

from pathlib import Path

import pytest

from xmtc.report import main
from xmtc.reporting.leaderboard import END, START, leaderboard

NAMES = (
    "dataset,encoder,head,recipe,seed,P@1,nDCG@5,train_seconds,peak_memory_bytes,device,commit,dataset_sha256,command"
)
COMMAND = "python -m xmtc.run encoder=xmlcnn head=cornet recipe=paper dataset=toy"
ROWS = f"""{NAMES}
toy,bow,none,modern,0,0.5,0.40,10,1073741824,cpu,abcdef0123456,aaa,python -m xmtc.run seed=0
toy,bow,none,modern,1,0.7,0.42,20,1073741824,cpu,abcdef0123456,aaa,python -m xmtc.run seed=1
toy,xmlcnn,cornet,paper,0,0.9,0.50,30,2147483648,gpu,fedcba,aaa,{COMMAND}
toy,bow,none,modern,0,0.1,0.10,10,1073741824,cpu,abcdef0123456,bbb,python -m xmtc.run seed=0
"""


def rows(text, *parts):
    return [line for line in text.splitlines() if line.startswith("|") and all(part in line for part in parts)]


def test_measured_rows_best_first_and_printed_ones_beside(tmp_path, capsys):
    for folder in ("toy", "paper/table1"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "toy" / "results.csv").write_text(ROWS)
    (tmp_path / "toy" / "printed.csv").write_text("system,kind,P@1,source\nTheirs,published,61.0,them\n")
    (tmp_path / "paper" / "table1" / "printed.csv").write_text(
        "dataset,encoder,head,settings,system,P@1,source\ntoy,xmlcnn,cornet,,CorNet,91.00,A\ntoy,xmlcnn,none,,Plain,90.00,A\n"
    )
    (tmp_path / "README.md").write_text(f"# Mine\n\nKept.\n\n{START}\nold\n{END}\nKept too.\n")
    assert main(["--leaderboard", str(tmp_path)]) == 0
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("# Mine\n\nKept.\n") and text.endswith("Kept too.\n") and "old" not in text
    best, second, other = rows(text, " 1 ", "xmlcnn", "fedcba") + rows(text, "bow", "abcdef012")
    assert text.index(best) < text.index(second) < text.index(other)
    assert "60.00 ± 14.14" in second and "1.00" in second and "15" in second and " 2 |" in second
    assert "10.00" in other and "### toy (data bbb)" in text  # other data, another table
    assert (
        rows(text, "Theirs", "61.0")
        and rows(text, "CorNet", "91.00 / 90.00 (-1.00)")
        and rows(text, "Plain", "not run")
    )
    main(["--leaderboard", str(tmp_path)])
    assert (tmp_path / "README.md").read_text() == text


def test_an_experiment_is_no_further_seed_of_another(tmp_path):
    """What it sets is in its file alone. It is named where no other word tells the rows apart."""
    folder = tmp_path / "toy"
    folder.mkdir()
    words = ("experiment=a", "", "experiment=a head.rank=2")
    lines = [f"toy,bow,none,modern,{n},0.5,0.4{n},10,1,cpu,abc,aaa,python -m xmtc.run {w}" for n, w in enumerate(words)]
    (folder / "results.csv").write_text("\n".join([NAMES, *lines]) + "\n")
    assert main(["--leaderboard", str(tmp_path)]) == 0
    text = (tmp_path / "README.md").read_text()
    assert "±" not in "".join(rows(text, "bow"))
    told = {line.split("|")[3].strip() for line in rows(text, "bow")}
    assert told == {"experiment=a", "", "head.rank=2"}


def test_keeping_a_row_brings_the_page_up_to_date(make_run, tmp_path):
    folder = make_run("runs/0", head="lcenet", score=0.75)
    (folder / "labels.tsv").write_text("".join(f"{n}\tl{n}\tL{n}\t3\n" for n in range(30)))
    kept = tmp_path / "experiments" / "toy"
    kept.mkdir(parents=True)
    (kept / "results.csv").write_text(ROWS)
    main(["--leaderboard", str(tmp_path / "experiments")])
    assert main([str(tmp_path / "runs"), "--into", str(kept), "--resamples", "10"]) == 0
    assert rows((tmp_path / "experiments" / "README.md").read_text(), "lcenet", "75.00")


def test_rows_of_a_share_of_the_documents_have_a_table_of_their_own(tmp_path):
    header, row, *_ = ROWS.splitlines()
    part = row.replace("bow", "small") + " data.fraction=0.1"
    for folder, lines in {"toy": [row, part], "study/toy": [part.replace("small", "point")], "few": [part]}.items():
        (tmp_path / folder).mkdir(parents=True)
        text = "\n".join([header, *lines]) + "\n"
        (tmp_path / folder / "results.csv").write_text(text if folder != "few" else text.replace("toy", "few"))
    text = leaderboard(tmp_path)
    whole, share = text[text.index("### toy") :].split("Trained on a share of toy's documents")
    assert rows(whole, "bow") and not rows(whole, "small") and rows(share, "small", "data.fraction=0.1")
    assert not rows(text, "point")
    assert "small" in text[text.index("### few") : text.index("### toy")]  # no row of all of its documents


def test_the_precision_beside_the_device_where_it_is_not_float32(tmp_path):
    header, row, *_ = ROWS.splitlines()
    header = header.replace("device,", "device,precision,")
    (tmp_path / "toy").mkdir()
    named = {"one": "bf16-mixed", "two": "32-true", "three": "", "four": "16"}
    table = [row.replace("bow", name).replace("cpu,", f"cpu,{said},") for name, said in named.items()]
    (tmp_path / "toy" / "results.csv").write_text("\n".join([header, *table]) + "\n")
    text = leaderboard(tmp_path)
    devices = {name: rows(text, f" {name} ")[0].split("|")[-3].strip() for name in named}
    assert devices == {"one": "cpu, bf16-mixed", "two": "cpu", "three": "cpu", "four": "cpu, 16"}
    assert not [part for part in text.split("|") if "1600" in part]  # a setting, not a score


def test_nothing_measured_is_one_line(tmp_path, capsys):
    assert main(["--leaderboard", str(tmp_path)]) == 2
    assert "no results.csv" in capsys.readouterr().err


def test_rows_without_runs_are_refused_before_anything_is_written(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--leaderboard", str(tmp_path), "--into", str(tmp_path / "kept")])
    assert "--into: name the run directories" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_committed_page_is_up_to_date():
    root = Path(__file__).parents[2] / "experiments"
    assert leaderboard(root) in (root / "README.md").read_text(encoding="utf-8")
