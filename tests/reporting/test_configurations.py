"""Seeds become means and spread; what differs is a row of its own; what is not there is not made up."""

import csv
import io
import json
from dataclasses import replace
from statistics import stdev

import numpy as np
import pytest
import torch
import yaml

from xmtc.data.batch import Labels
from xmtc.errors import InputError
from xmtc.metrics.ranking import RankingMetrics
from xmtc.report import main
from xmtc.reporting.commands import settings_of
from xmtc.reporting.configurations import configurations, reached
from xmtc.reporting.documents import METRICS, document_scores
from xmtc.reporting.joining import join
from xmtc.reporting.plots import plot_curves
from xmtc.reporting.printed import measured_rows, read_printed
from xmtc.reporting.runs import find_runs, read_run


def made(tmp_path):
    (groups,) = configurations(find_runs([tmp_path])).values()
    return {each.name: each for each in groups}


def test_means_and_spread_over_seeds(make_run, tmp_path):
    for seed, score in enumerate((0.5, 0.53, 0.59)):
        make_run(f"{seed}", seed=seed, score=score)
    make_run("3", seed=3, complete=False)
    (one,) = made(tmp_path).values()
    assert one.mean("P@1") == pytest.approx(0.54) and one.std("P@1") == pytest.approx(stdev([0.5, 0.53, 0.59]))
    assert len(one.runs) == 4 and len(one.complete) == 3 and one.mean("absent") is None
    assert one.fact("train_seconds") == 60


def test_a_seed_counts_once_however_often_it_is_there(make_run, tmp_path, capsys):
    """A copied run directory, a run that was begun anew beside the one that broke: no second seed."""
    make_run("a", complete=False)
    for name, score in (("c", 0.7), ("b", 0.5), ("d", 0.5)):
        make_run(name, score=score)
    make_run("e", seed=1, score=0.6)
    (one,) = made(tmp_path).values()
    assert [run.folder.name for run in one.runs] == ["b", "e"] and len(one.complete) == 2
    assert [run.folder.name for run in one.copies] == ["c", "d", "a"]
    assert one.values("P@1") == [0.5, 0.6] and one.mean("P@1") == pytest.approx(0.55)
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"bow none seed 0 counts once: {tmp_path}/b, not {tmp_path}/c, {tmp_path}/d, {tmp_path}/a"
    unknown = [replace(run, seed=None) for run in one.copies]  # of no seed nobody knows
    ((one,),) = configurations(unknown).values()
    assert len(one.runs) == 3 and not one.copies


def test_a_copied_run_gives_no_spread(make_run, tmp_path, capsys):
    for name in ("first", "second"):
        make_run(f"s/{name}")
    assert main([str(tmp_path / "s"), "--resamples", "10"]) == 0
    assert "±" not in capsys.readouterr().out.split("± is")[0]
    (row,) = (row for row in csv.DictReader((tmp_path / "s" / "summary.csv").open()) if row["metric"] == "P@1")
    assert (row["seeds"], row["std"]) == ("1", "")
    page = (tmp_path / "s" / "report.html").read_text()
    assert all(f"{tmp_path}/s/{name}" in page for name in ("first", "second"))  # among the runs both are listed


def test_curves_are_named_by_what_tells_them_apart(make_run, tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn, plot = [], Axes.plot

    def watched(axis, *points, **looks):
        drawn.append((looks["label"], looks["color"], looks["marker"]))
        return plot(axis, *points, **looks)

    monkeypatch.setattr(Axes, "plot", watched)
    for number, rank in enumerate((10, 30, 10)):
        make_run(f"s/{number}", head="lcenet", seed=number // 2, rank=rank)
    assert main([str(tmp_path / "s"), "--resamples", "10"]) == 0
    left, right = drawn[:3], drawn[3:]
    assert [label for label, *_ in left] == [f"bow lcenet rank={r} seed {s}" for r, s in ((10, 0), (10, 1), (30, 0))]
    assert left == right and len(set(left)) == 3  # against seconds and against steps


def test_what_differs_in_a_setting_is_another_configuration(make_run, tmp_path):
    for number, rank in enumerate((10, 10, 30)):
        make_run(f"{number}", head="lcenet", seed=number, rank=rank, blocks=1)
    make_run("3", head="none")
    assert {name: len(each.runs) for name, each in made(tmp_path).items()} == {
        "bow none": 1, "bow lcenet rank=10": 2, "bow lcenet rank=30": 1,
    }  # fmt: skip


def test_a_part_that_follows_the_seed_parts_nothing(make_run, tmp_path):
    for seed, own in ((0, 0), (1, 1), (2, 7)):
        make_run(f"{seed}", head="lcenet", seed=seed, part={"seed": own})
    assert {name: len(each.runs) for name, each in made(tmp_path).items()} == {
        "bow lcenet": 2, "bow lcenet seed=7": 1,
    }  # fmt: skip


def test_settings_of_another_version_do_not_part_seeds(make_run, tmp_path):
    make_run("0", head="lcenet", rank=10)
    make_run("1", head="lcenet", seed=1, rank=10, new_switch=False)
    assert len(made(tmp_path)) == 1
    typed = make_run("2", head="lcenet", seed=2, rank=10, new_switch=True)
    (typed / "overrides.yaml").write_text("- +head.new_switch=true\n")
    assert {name: len(each.runs) for name, each in made(tmp_path).items()} == {
        "bow lcenet": 2, "bow lcenet new_switch=True": 1,
    }  # fmt: skip


def test_what_was_typed_tells_rows_apart(make_run, tmp_path):
    for number, epochs in enumerate((1, 60)):
        folder = make_run(f"{number}", epochs=epochs, follows=epochs * 2)
        (folder / "overrides.yaml").write_text(f"- head.epochs={epochs}\n")
    assert list(made(tmp_path)) == ["bow none epochs=1", "bow none epochs=60"]


def test_something_in_the_place_of_nothing_is_another_configuration(make_run, tmp_path, capsys):
    """`recipe.averaging=null` and a mapping there have no key in common, and nobody typed the keys of the mapping."""
    make_run("0", head="lcenet", averaging=None)
    make_run("1", head="lcenet", averaging={"decay": 0.9})
    make_run("2", head="lcenet", seed=1, averaging={"decay": 0.9})
    assert {name: len(each.runs) for name, each in made(tmp_path).items()} == {
        "bow lcenet averaging=None": 1, "bow lcenet": 2,
    }  # fmt: skip
    assert "counts once" not in capsys.readouterr().err


def test_word_vectors_of_other_files_are_another_configuration(make_run, tmp_path):
    for number, path in enumerate(("/data/glove.txt", "elsewhere/glove.txt", "/data/domain.vec")):
        folder = make_run(f"{number}", seed=number)
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["dataset"] |= {"path": f"/corpora/{number}", "source": {"path": f"/corpora/{number}"}}
        (folder / "config.yaml").write_text(yaml.safe_dump(config | {"embedding": {"path": path}}))
    assert {name: len(each.runs) for name, each in made(tmp_path).items()} == {
        "bow none path=glove.txt": 2, "bow none path=domain.vec": 1,
    }  # fmt: skip


def test_a_component_is_called_by_its_class(make_run, tmp_path):
    for name in ("Word2Vec", "Random"):
        make_run(name, head="lcenet", start={"_target_": f"my.package.{name}"})
    assert set(made(tmp_path)) == {"bow lcenet start=Word2Vec", "bow lcenet start=Random"}


def test_settings_whose_last_words_are_alike_are_told_in_full(make_run, tmp_path, capsys):
    for name, rank, inner in (("a", 1, 1), ("b", 9, 1), ("c", 1, 9)):
        make_run(f"s/{name}", head="lcenet", rank=rank, part={"rank": inner})
    assert set(made(tmp_path)) == {"bow lcenet", "bow lcenet head.rank=9", "bow lcenet head.part.rank=9"}
    assert main([str(tmp_path / "s"), "--resamples", "10"]) == 0
    assert len(list(csv.DictReader((tmp_path / "s" / "comparisons.csv").open()))) == 9  # of three, not of two
    header, rule = (tmp_path / "s" / "report.md").read_text().partition("means over seeds")[2].splitlines()[2:4]
    words = {name.strip() for name, line in zip(header.split("|"), rule.split("|"), strict=True) if line.endswith("- ")}
    assert words == {"encoder", "head", "settings", "recipe"}  # the others are numbers


def test_a_seed_that_one_set_for_a_part_tells_no_others_apart(make_run, tmp_path):
    for seed, own, rank in ((0, 7, 1), (1, 1, 2), (2, 2, 1)):
        make_run(f"{seed}", head="lcenet", seed=seed, part={"seed": own}, rank=rank)
    assert len(made(tmp_path)) == 3


def test_names_differ_where_one_lacks_what_most_of_the_others_have(make_run, tmp_path):
    for number, (typed, rank) in enumerate((({}, 10), ({"decay": 0.9}, 10), ({"decay": 0.9}, 30))):
        folder = make_run(f"{number}", head="lcenet", rank=rank, skill=0.3 * (number + 1), **typed)
        words = [f"+head.{key}={value}" for key, value in (typed | {"rank": rank}).items()]
        (folder / "overrides.yaml").write_text(yaml.safe_dump(words))
    assert list(made(tmp_path)) == ["bow lcenet", "bow lcenet decay=0.9", "bow lcenet rank=30 decay=0.9"]
    assert main([str(tmp_path), "--resamples", "10"]) == 0
    rows = list(csv.DictReader((tmp_path / "comparisons.csv").open()))
    assert len({(row["first"], row["second"]) for row in rows}) == 3


def test_steps_to_a_share_of_the_last_value(make_run):
    run = read_run(make_run("0", curve=(0.1, 0.379, 0.38, 0.41, 0.4)))
    assert reached(run, "step") == 30 and reached(run, "seconds") == 15
    assert reached(run, "step", quality=0.37) == 20 and reached(run, "step", quality=0.5) is None
    assert reached(read_run(make_run("1", curve=())), "step") is None


def test_scores_of_documents_average_to_the_metrics(make_run):
    folder = make_run("0", skill=0.7)
    scores, _ = document_scores(folder / "predictions.npz")
    kept = np.load(folder / "predictions.npz")
    metrics = RankingMetrics(30, torch.ones(30, dtype=torch.int64), 200)
    gold = Labels(torch.from_numpy(kept["gold_indices"]), torch.from_numpy(kept["gold_offsets"]))
    metrics.update(torch.from_numpy(kept["labels"]), gold)
    wanted = metrics.compute()
    assert {name: values.mean() for name, values in scores.items()} == pytest.approx({m: wanted[m] for m in METRICS})
    assert (np.diff(kept["gold_offsets"]) == 0).any()  # documents without labels are among them


def test_fewer_labels_than_ranks_and_unseen_ones(tmp_path):
    np.savez(tmp_path / "p.npz", labels=[[1, 0], [0, -1]], gold_indices=[1, 7], gold_offsets=[0, 2, 2])
    scores, _ = document_scores(tmp_path / "p.npz")
    assert scores["P@3"].tolist() == [pytest.approx(1 / 3), 0] and scores["P@1"].tolist() == [1, 0]


def test_a_report_of_everything(make_run, tmp_path, capsys):
    for seed in range(2):
        make_run(f"s/none{seed}", seed=seed, score=0.5 + seed / 100, skill=0.2)
        make_run(f"s/lcenet{seed}", head="lcenet", seed=seed, score=0.6, skill=0.9, curve=(0.39, 0.4))
    make_run("s/broken", head="cornet", complete=False, ended="failed")
    make_run("s/cut", head="cornet", seed=1, complete=False)
    tuned = make_run("s/tuned", head="cornet", seed=2)  # test=false
    facts = json.loads((tuned / "metrics.json").read_text())
    (tuned / "metrics.json").write_text(json.dumps({key: value for key, value in facts.items() if key != "test"}))
    assert main([str(tmp_path / "s"), "--resamples", "500"]) == 0
    text = (tmp_path / "s" / "report.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| bow") and "none" in line and "±" in line)
    assert "50.50 ± 0.71" in row
    assert any("cornet" in line and "failed" in line for line in text.splitlines())
    assert any("cornet" in line and "incomplete" in line for line in text.splitlines())
    assert any("cornet" in line and "not tested" in line and "tuned" in line for line in text.splitlines())
    assert "0 (+1 failed, 1 incomplete, 1 not tested)" in text
    comparisons = list(csv.DictReader(io.StringIO((tmp_path / "s" / "comparisons.csv").read_text())))
    assert {(row["first"], row["second"]) for row in comparisons} == {("bow none", "bow lcenet")}
    assert all(float(row["p_holm"]) < 0.05 and float(row["high"]) < 0 for row in comparisons) and len(comparisons) == 3
    assert r"\textbf{60.00}" in (tmp_path / "s" / "results.tex").read_text()
    summary = csv.DictReader(io.StringIO((tmp_path / "s" / "summary.csv").read_text()))
    held = {(row["head"], row["metric"]): row for row in summary}
    assert float(held["none", "P@1"]["mean"]) == pytest.approx(0.505) and held["none", "P@1"]["seeds"] == "2"
    assert not [key for key in held if key[0] == "cornet"]


def test_a_picture_is_replaced_whole_or_not_at_all(make_run, tmp_path, monkeypatch):
    figure = pytest.importorskip("matplotlib.figure").Figure
    made = configurations([read_run(make_run("s/0"))])
    (path,) = plot_curves(made, tmp_path)
    before = path.read_bytes()

    def cut_short(self, target, **options):
        target.write_bytes(before[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(figure, "savefig", cut_short)
    with pytest.raises(KeyboardInterrupt):
        plot_curves(made, tmp_path)
    assert path.read_bytes() == before and [each.name for each in tmp_path.glob("*.png")] == [path.name]


def test_time_to_a_given_quality(make_run, tmp_path, capsys):
    for seed, curve in enumerate(((0.1, 0.3, 0.4), (0.3, 0.35))):
        make_run(f"s/none{seed}", seed=seed, curve=curve)
    make_run("s/lcenet0", head="lcenet", curve=(0.2, 0.25))
    assert main([str(tmp_path / "s"), "--quality", "30", "--resamples", "10"]) == 0
    text = (tmp_path / "s" / "report.md").read_text()
    table = [[cell.strip() for cell in line.split("|")] for line in text.splitlines() if line.startswith("| ")]
    start = next(i for i, row in enumerate(table) if "steps to 30" in row)
    column, second = table[start].index("steps to 30"), table[start].index("seconds to 30")
    shown = {row[2]: (row[column], row[second]) for row in table[start + 2 : start + 4]}
    assert shown == {"none": ("15", "8"), "lcenet": ("", "")}  # never there: nothing is made up


def test_different_data_is_never_compared_or_averaged(make_run, tmp_path):
    make_run("s/0", sha="a" * 64)
    make_run("s/1", seed=1, sha="b" * 64)
    assert main([str(tmp_path / "s"), "--resamples", "10"]) == 0
    assert "±" not in (tmp_path / "s" / "report.md").read_text()
    assert (tmp_path / "s" / "comparisons.csv").read_text().count("\n") == 1


def test_a_run_on_fewer_documents_is_left_out_of_the_comparisons_alone(make_run, tmp_path, capsys):
    short = make_run("s/0", encoder="br")  # the first, as by data.limit
    held = dict(np.load(short / "predictions.npz"))
    held |= {name: held[name][:20] for name in ("labels", "scores")} | {"gold_offsets": held["gold_offsets"][:21]}
    np.savez(short / "predictions.npz", **held | {"gold_indices": held["gold_indices"][: held["gold_offsets"][-1]]})
    for head in ("none", "lcenet", "cornet"):
        make_run(f"s/{head}", head=head)
    assert main([str(tmp_path / "s"), "--resamples", "10"]) == 0
    rows = list(csv.DictReader((tmp_path / "s" / "comparisons.csv").open()))
    assert len(rows) == 9 and not any("br" in row["first"] + row["second"] for row in rows)
    assert "not compared on toy, whose true labels of the test documents differ: br none\n" in capsys.readouterr().err


def test_tables_of_two_versions_of_the_data_say_which_they_are_of(make_run, tmp_path):
    for sha in ("a" * 64, "b" * 64):
        for head in ("none", "lcenet"):
            make_run(f"s/{sha[0]}{head}", head=head, sha=sha)
    assert main([str(tmp_path / "s"), "--resamples", "10"]) == 0
    rows = list(csv.DictReader((tmp_path / "s" / "comparisons.csv").open()))
    assert len({(row["dataset_sha256"], row["metric"]) for row in rows}) == len(rows) == 6
    told = [line for line in (tmp_path / "s" / "results.tex").read_text().splitlines() if line.startswith("%")]
    assert told == ["% toy (data aaaaaaaaaaaa)", "% toy (data bbbbbbbbbbbb)"]


PRINTED = """dataset,encoder,head,settings,system,kind,P@1,HL,source
toy,bow,lcenet,head.blocks=2,Head 2,printed,61.00,0.0316,A paper
toy,bow,lcenet,head.blocks=3,Head 3,printed,62.00,,A paper
toy,,,,Another,printed,70.00,,A paper
"""


def test_printed_numbers_stand_beside_ours(make_run, tmp_path, capsys):
    (tmp_path / "printed.csv").write_text(PRINTED)
    make_run("s/0", head="lcenet", recipe="paper", score=0.6, blocks=2, more={"hamming-loss": 0.025, "macro-F1": 0.1})
    make_run("s/1", head="lcenet", recipe="modern", score=0.9, blocks=3)  # not what the paper did
    assert main([str(tmp_path / "s"), "--printed", str(tmp_path), "--resamples", "10"]) == 0
    lines = {line.split("|")[2].strip(): line for line in capsys.readouterr().out.splitlines() if "| toy" in line}
    assert "61.00 / 60.00 (-1.00)" in lines["Head 2"] and "1 seed" in lines["Head 2"]
    assert "0.0316 / 0.0250 (-0.0066)" in lines["Head 2"]
    assert "not run" in lines["Head 3"] and "90" not in lines["Head 3"]
    assert "not run" not in lines["Another"]  # a system that this framework does not have


def test_a_printed_file_that_is_missing_is_named(make_run, tmp_path, capsys):
    make_run("s/0")
    assert main([str(tmp_path / "s"), "--printed", str(tmp_path / "no.csv")]) == 2
    assert "--printed" in capsys.readouterr().err


@pytest.mark.parametrize("content, said", [(b"\xff\xfe\x00table", "not readable"), (b"a,b\n1,2\n", "no column source")])
def test_a_printed_file_that_is_no_table_of_numbers_is_one_line(make_run, tmp_path, capsys, content, said):
    make_run("s/0")
    (tmp_path / "wrong.csv").write_bytes(content)
    assert main([str(tmp_path / "s"), "--printed", str(tmp_path / "wrong.csv")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "wrong.csv" in line and said in line


def test_a_kept_table_without_its_columns_is_one_line(tmp_path, capsys):
    (tmp_path / "results.csv").write_text("P@1\n0.5\n")
    assert main(["--leaderboard", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_rows_of_results_csv_are_runs(tmp_path):
    (tmp_path / "results.csv").write_text(
        "dataset,encoder,head,recipe,seed,P@1,steps,train_seconds,dataset_sha256,command\n"
        "toy,bow,cornet,paper,1,0.5,10,2.5,abc,"
        "python -m xmtc.run encoder=bow dataset=toy recipe=paper head=cornet head.blocks=2 seed=1 paths.runs=x\n"
    )
    (tmp_path / "printed.csv").write_text(PRINTED.replace("lcenet", "cornet"))
    (run,) = measured_rows(tmp_path)
    assert run.test == {"P@1": 0.5} and run.seed == 1 and run.settings == {"head.blocks": "2"} and run.complete
    ((one,),) = configurations([run]).values()
    assert [len(row.matched) for row in join(read_printed(tmp_path / "printed.csv"), [one])] == [1, 0, 0]
    assert measured_rows(tmp_path / "nowhere") == []


def test_settings_of_a_command():
    command = "python -m xmtc.run -m head=none,lcenet 'a.b=x y' experiment=toy logger=csv seed=0,1"
    assert settings_of(command) == {"a.b": "x y", "experiment": "toy"}
    assert settings_of("""python -m xmtc.run a=[1,2] 'b="x,y"' c=1,2""") == {"a": "[1,2]", "b": '"x,y"'}


def test_damaged_predictions_are_named(tmp_path):
    (tmp_path / "p.npz").write_bytes(b"no")
    with pytest.raises(InputError, match="p.npz"):
        document_scores(tmp_path / "p.npz")


def test_folders_are_told_by_their_names(make_run):
    """Where somebody's files lie tells nothing of a number."""
    cold = read_run(make_run("a", start=None))
    here, there = (read_run(make_run(where, start=f"/home/{where}/base", seed=seed)) for seed, where in enumerate("bc"))
    (found,) = configurations([cold, here, there]).values()
    assert [each.settings for each in found] == [{"head.start": "None"}, {"head.start": "base"}]
    assert [len(each.runs) for each in found] == [1, 2]


RUN = "python -m xmtc.run dataset=d "


@pytest.mark.parametrize(
    "first, second, told",
    [
        ("head=none a=1 seed=0 paths.runs=x", "init_from=run-0 seed=3 a=1 head=none logger=wandb", "alike"),
        ("head=none a=1", "init_from=run a=1 head=lcenet head.rank=2", "alike(head=none ~head.rank)"),
        ("a=1 && " + RUN + "a=2 init_from=one", "init_from=two a=2", "alike(init_from=alike(a=1))"),
    ],
)  # fmt: skip
def test_a_warm_start_is_told_by_the_run_before_it_and_not_by_a_folder(first, second, told):
    chain = f"{RUN}{first} && {RUN}{second}"
    assert settings_of(chain)["init_from"] == told
    behind = settings_of(f"{chain} && python -m xmtc.evaluate input=x match=caseless")
    assert (behind["init_from"], behind["match"], behind.get("a")) == (told, "caseless", settings_of(chain).get("a"))
    assert settings_of(RUN + second)["init_from"] in second  # not known: the folder


def test_warm_starts_of_several_seeds_are_one_configuration(make_run, tmp_path):
    for seed in (0, 1):
        folder = make_run(f"{seed}", head="lcenet", seed=seed)
        config = yaml.safe_load((folder / "config.yaml").read_text()) | {"init_from": f"/somewhere/plain-{seed}"}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        (folder / "overrides.yaml").write_text(f"[init_from=/somewhere/plain-{seed}]\n")
        metrics = json.loads((folder / "metrics.json").read_text())
        command = f"{RUN}head=none seed={seed} && {RUN}head=lcenet init_from=/somewhere/plain-{seed} seed={seed}"
        metrics["provenance"]["command"] = command
        (folder / "metrics.json").write_text(json.dumps(metrics))
    make_run("cold", head="lcenet", seed=0)
    assert {name: len(each.runs) for name, each in made(tmp_path).items()} == {
        "bow lcenet init_from=alike(head=none)": 2, "bow lcenet": 1,
    }  # fmt: skip


def test_names_hold_what_tells_apart_and_not_what_most_have(make_run, tmp_path):
    """Rows that were typed as `row=...`, whose settings nobody typed; the last is of a version with one key more."""
    usual = {"rank": 512, "blocks": 1, "bottleneck": True, "residual": True, "start": "identity"}
    rows = [{}, {"blocks": 2}, {"bottleneck": False, "start": "none"}, {"residual": False}, {"rank": 10, "extra": 7}]
    for index, other in enumerate(rows):
        make_run(f"{index}", head="lcenet", **(usual | other))
    assert set(made(tmp_path)) == {
        "bow lcenet", "bow lcenet blocks=2", "bow lcenet bottleneck=False", "bow lcenet residual=False",
        "bow lcenet rank=10",
    }  # fmt: skip
