"""What a head adds, by cell: pairs, intervals, table, picture."""

import csv
import json
from statistics import fmean

import numpy as np
import pytest
import torch
import yaml

from xmtc.data.batch import Labels
from xmtc.metrics.ranking import RankingMetrics
from xmtc.report import main
from xmtc.reporting.configurations import configurations
from xmtc.reporting.documents import document_scores, label_bins
from xmtc.reporting.gain_tables import (
    axes,
    counted,
    frequency_rows,
    gain_rows,
    gains_csv_rows,
    glance_rows,
    verdict,
)
from xmtc.reporting.gains import crossed_interval, gains
from xmtc.reporting.runs import find_runs
from xmtc.reporting.significance import bootstrap_interval
from xmtc.reporting.studies import studies


def found(tmp_path, **options):
    (made,) = configurations(find_runs([tmp_path])).values()
    return gains(made, resamples=500, **options)


def test_pairs_are_of_one_seed_and_cell(grid, tmp_path):
    folders = {}
    for fraction, good in ((0.25, 0.9), (1.0, 0.2)):
        for seed in (0, 1, 2):
            folders["none", fraction, seed] = grid("none", fraction, seed, 0.5)
            if seed < 2:  # the third has not finished
                folders["lcenet", fraction, seed] = grid("lcenet", fraction, seed, good)
    grid("lcenet", 0.25, 7, 0.9)  # a seed that the plain model was not trained with
    grid("lcenet", 1.0, 2, complete=False)
    by_cell = {(dict(g.cell)["data.fraction"], g.head, g.metric): g for g in found(tmp_path)}
    assert set(by_cell) == {(f, "lcenet", m) for f in ("0.25", "1.0") for m in ("P@1", "P@5", "nDCG@5")}
    for fraction, sign in ((0.25, 1), (1.0, -1)):
        gain = by_cell[str(fraction), "lcenet", "nDCG@5"]
        assert (gain.seeds, gain.documents) == (2, 200)
        pairs = []
        for seed in (0, 1):
            plain, head = (
                document_scores(folders[name, fraction, seed] / "predictions.npz")[0]["nDCG@5"].mean()
                for name in ("none", "lcenet")
            )
            pairs.append((plain, head))
        assert gain.gain == pytest.approx(fmean(b - a for a, b in pairs))
        assert (gain.plain, gain.score) == pytest.approx(tuple(map(fmean, zip(*pairs))))
        assert verdict(gain) == {1: "helps", -1: "hurts"}[sign] and gain.low < gain.gain < gain.high


def test_settings_of_the_head_alone_make_another_head_and_no_other_cell(grid, tmp_path):
    grid("none", 1.0, 0)
    grid("lcenet", 1.0, 0, 0.8)
    grid("lcenet", 1.0, 0, 0.9, lr_factor=0.1)
    heads = {g.head: g for g in found(tmp_path) if g.metric == "P@1"}
    assert set(heads) == {"lcenet head_lr_factor=1.0", "lcenet head_lr_factor=0.1"}
    assert heads["lcenet head_lr_factor=0.1"].plain == heads["lcenet head_lr_factor=1.0"].plain


def test_nothing_to_pair_is_no_gain_and_told(grid, tmp_path, capsys):
    grid("lcenet", 1.0, 0)
    grid("none", 0.25, 0)
    grid("none", 1.0, 1)
    assert found(tmp_path) == []
    (grid("none", 1.0, 0) / "predictions.npz").unlink()
    assert found(tmp_path) == []
    words = "no gain of bow lcenet data.fraction=1.0 recipe.prior_bias=True: no run without a head of these settings"
    assert capsys.readouterr().err.count(words) == 2
    grid("cornet", 0.25, 0, complete=False)  # has nothing to pair
    assert found(tmp_path) == [] and "cornet" not in capsys.readouterr().err
    fused = grid("weighted", 1.0, 0, encoder="br-none+bow-none")  # an ensemble: `weighted` is no head of it
    metrics = json.loads((fused / "metrics.json").read_text())
    metrics["provenance"]["members"] = [None, None]
    (fused / "metrics.json").write_text(json.dumps(metrics))
    assert found(tmp_path) == [] and "weighted" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "typed, pairs",
    [
        ({}, 3),
        ({"recipe.optimizer.lr": 0.1}, 0),
        ({"data": {"fraction": 0.5}}, 0),
        ({"head.rank": 7}, 3),
        ({"seed": 0}, 3),
    ],
)
def test_what_only_the_runs_with_a_head_were_told_is_no_gain_of_the_head(grid, tmp_path, typed, pairs):
    """All of them alike, so that it tells none of them from another; data.fraction counts wherever it was set."""
    grid("none", 1.0, 0)
    folder = grid("lcenet", 1.0, 0, 0.9)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["recipe"]["optimizer"] = {"lr": typed.get("recipe.optimizer.lr", 0.3)}  # the recipe's own, for this head
    config["head"] = {"rank": typed.get("head.rank", 5)}
    config["data"] |= typed.get("data", {})
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    words = [f"{key}={value}" for key, value in typed.items() if "." in key or key == "seed"]
    (folder / "overrides.yaml").write_text(
        yaml.safe_dump([*words, "head=lcenet", "paths.runs=elsewhere", "hydra.sweeper.seed=0"])
    )
    plain = tmp_path / "none-1.0-0-1.0"
    config = yaml.safe_load((plain / "config.yaml").read_text())
    config["recipe"]["optimizer"] = {"lr": 0.2}
    (plain / "config.yaml").write_text(yaml.safe_dump(config))
    shown = found(tmp_path)
    assert len(shown) == pairs
    if pairs:
        assert shown[0].besides == {"recipe.optimizer.lr": ("0.2", "0.3")}
        assert counted(shown)[-1].startswith("lcenet was trained with lr 0.3 for 0.2, as its recipe has it")
        assert dict(zip(*gains_csv_rows({("toy", None): shown})[:2]))["besides"] == "lr 0.3 for 0.2"


def test_steps_count_to_the_quality_of_the_plain_model(grid, tmp_path):
    grid("none", 1.0, 0, curve=(0.1, 0.5, 0.8, 0.8))  # 95 % of 0.8 is 0.76: third evaluation, step 30
    grid("lcenet", 1.0, 0, curve=(0.2, 0.77, 0.7))
    grid("cornet", 1.0, 0, curve=(0.2, 0.3, 0.7))
    steps = {g.head: g.steps for g in found(tmp_path)}
    assert steps == {"lcenet": (30.0, 20.0), "cornet": (30.0, None)}


FREQUENCY = [0, *range(29, 0, -1)]  # label 0 never occurs, the others ever more rarely


def test_scores_by_frequency_are_the_runs_metrics(make_run):
    folder = make_run("a", frequency=FREQUENCY[:25])  # 25 to 29 are labels that the model does not know
    scores, _ = document_scores(folder / "predictions.npz", label_bins(folder / "labels.tsv"))
    metric = RankingMetrics(25, torch.tensor(FREQUENCY[:25]), 100)
    with np.load(folder / "predictions.npz") as held:
        gold = Labels(torch.from_numpy(held["gold_indices"]), torch.from_numpy(held["gold_offsets"]))
        metric.update(torch.from_numpy(held["labels"]), gold)
    expected = metric.compute()
    for name in ("nDCG@5", "nDCG@5/head", "nDCG@5/torso", "nDCG@5/tail"):
        assert np.nanmean(scores[name]) == pytest.approx(expected[name]) and 0 < expected[name] < 1
    assert np.isnan(scores["nDCG@5/head"]).any() and not np.isnan(scores["nDCG@5"]).any()


def test_gains_by_frequency_are_over_the_documents_that_have_such_a_label(grid, tmp_path):
    one, other = (grid(head, 1.0, 0, skill, frequency=FREQUENCY) for head, skill in (("none", 0.2), ("lcenet", 0.9)))
    tables = {each.metric: each for each in found(tmp_path)}
    bins = label_bins(one / "labels.tsv")
    plain, head = (document_scores(each / "predictions.npz", bins)[0]["nDCG@5/head"] for each in (one, other))
    gain = tables["nDCG@5/head"]
    assert gain.documents == (~np.isnan(plain)).sum() < 200
    assert gain.gain == pytest.approx(np.nanmean(head - plain)) and gain.low < gain.gain < gain.high
    assert set(tables) == {"P@1", "P@5", "nDCG@5", "nDCG@5/head", "nDCG@5/torso", "nDCG@5/tail"}
    header, row = frequency_rows(list(tables.values()))
    assert header == ["encoder", "head", "nDCG@5/head", "nDCG@5/torso", "nDCG@5/tail"]
    assert row[2].startswith(f"{100 * gain.gain:+.2f} ({100 * gain.low:+.2f} … ") and row[2].endswith("helps")


def test_a_run_that_does_not_say_its_labels_has_no_gain_by_frequency(grid, tmp_path):
    grid("none", 1.0, 0, frequency=FREQUENCY)
    grid("lcenet", 1.0, 0)
    assert {each.metric for each in found(tmp_path)} == {"P@1", "P@5", "nDCG@5"}
    assert frequency_rows(found(tmp_path)) == []


def test_at_a_glance_there_is_a_column_for_each_share(grid, tmp_path):
    for fraction in (0.0625, 0.25, 1.0):
        grid("none", fraction, 0)
        if fraction > 0.1:
            grid("lcenet", fraction, 0, 0.9)
        grid("cornet", fraction, 0, 0.1)
    header, *rows = glance_rows(found(tmp_path))
    assert header == ["encoder", "head", "fraction 0.0625", "fraction 0.25", "fraction 1.0"]
    said = {row[1]: row[2:] for row in rows}
    assert said["lcenet"][0] == "" and all(cell.endswith("helps") for cell in said["lcenet"][1:])
    assert len(rows) == 2 and all(cell.startswith("-") and cell.endswith("hurts") for cell in said["cornet"])


def test_with_one_seed_the_interval_is_that_of_the_documents():
    random = np.random.default_rng(0)
    differences = random.normal(0.1, 1, (3, 1, 300))
    ours = crossed_interval(differences, 4000, np.random.default_rng(1))
    theirs = bootstrap_interval(differences[:, 0].T, 4000, np.random.default_rng(2))
    np.testing.assert_allclose(ours, theirs, atol=0.012)


def test_the_interval_is_that_of_a_loop_over_resamples():
    """Seeds that differ a lot, documents that differ a little, and the other way round."""
    random = np.random.default_rng(3)
    for of_seeds, of_documents in ((1.0, 0.05), (0.05, 3.0)):
        one = of_seeds * random.normal(size=(4, 1)) + of_documents * random.normal(size=(1, 60))
        one = one + 0.1 * random.normal(size=(4, 60))
        means = []
        for _ in range(3000):
            rows, columns = random.integers(0, 4, 4), random.integers(0, 60, 60)
            means.append(one[np.ix_(rows, columns)].mean())
        expected = np.quantile(means, [0.025, 0.975])
        low, high = crossed_interval(one[None], 3000, np.random.default_rng(4))
        np.testing.assert_allclose([low[0], high[0]], expected, atol=0.06 * (expected[1] - expected[0]))


def test_table_and_axis(grid, tmp_path):
    for fraction in (0.0625, 1.0):
        grid("none", fraction, 0)
        grid("lcenet", fraction, 0, 0.8)
    table = found(tmp_path)
    header, *rows = gain_rows(table)
    assert header[:3] == ["encoder", "fraction", "head"] and [row[1] for row in rows] == ["0.0625", "1.0"]
    assert all(row[header.index("gain")].startswith("+") for row in rows)
    assert axes(table)[0] == "data.fraction"


def test_the_command_writes_table_file_and_picture(grid, tmp_path, capsys):
    for fraction in (0.25, 1.0):
        for seed in (0, 1):
            grid("none", fraction, seed)
            grid("lcenet", fraction, seed, 0.9)
            grid("centred", fraction, seed, 0.2)
    out = tmp_path / "out"
    assert main([str(tmp_path), "--gains", "--output", str(out), "--resamples", "200"]) == 0
    text = capsys.readouterr().out
    assert "## toy: what a head adds" in text and "4 cells: the interval is above 0 in 2 and below 0 in 2" in text
    assert "First minus second" not in text  # all pairs would hide it
    with open(out / "gains.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 2 * 3 and {row["head"] for row in rows} == {"lcenet", "centred"}
    assert all(float(row["low"]) <= float(row["gain"]) <= float(row["high"]) for row in rows)
    picture = out / f"gains_toy_{'a' * 8}.png"
    assert picture.read_bytes()[:4] == b"\x89PNG" and picture.name in (out / "report.md").read_text()


def test_a_sweep_without_plain_runs_says_so(grid, tmp_path, capsys):
    grid("lcenet", 1.0, 0)
    assert main([str(tmp_path), "--gains"]) == 2
    assert "--gains: no finished run without a head" in capsys.readouterr().err


def test_a_study_is_kept_and_shown_on_the_page_of_experiments(grid, tmp_path, capsys):
    for head, skill in (("none", 0.5), ("lcenet", 0.9)):
        for fraction in (0.25, 1.0):
            folder = grid(head, fraction, 0, skill, frequency=FREQUENCY)
            metrics = (folder / "metrics.json").read_text()
            command = f"python -m xmtc.run head={head} data.fraction={fraction} seed=0"
            (folder / "metrics.json").write_text(metrics.replace("python -m xmtc.run seed=0", command))
            config = yaml.safe_load((folder / "config.yaml").read_text())
            config["recipe"]["optimizer"] = {"lr": 0.2 if head == "lcenet" else 0.1}  # its recipe's
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
    kept = tmp_path / "experiments" / "study" / "toy"
    kept.mkdir(parents=True)
    old = kept / "gains_toy_of_other_data.png"
    old.write_bytes(b"")
    words = ["--gains", "--into", str(kept), "--leaderboard", str(tmp_path / "experiments"), "--resamples", "50"]
    assert main([str(tmp_path), *words]) == 0
    assert {path.name for path in kept.iterdir() if path.is_file()} == {
        "results.csv", "gains.md", "gains.csv", f"gains_toy_{'a' * 8}.png"
    }  # fmt: skip
    page = (tmp_path / "experiments" / "README.md").read_text()
    assert "![what heads add](gains.png)" in page and (tmp_path / "experiments" / "gains.png").stat().st_size > 5000
    ours = [line.split("|") for line in page.splitlines() if line.endswith("| study/toy |")]
    assert [cells[3].split() for cells in ours] == [[f"fraction={share}", "prior_bias=True"] for share in (0.25, 1.0)]
    assert all(cells[6].endswith(") lr 0.2 for 0.1 ") for cells in ours)
    assert "data.fraction=1.0" in page and "data.fraction=0.25" not in page  # a share is a point of the study
    assert len((kept / "results.csv").read_text().splitlines()) == 5


def test_gains_of_more_seeds_are_not_replaced(grid, tmp_path, capsys):
    """Their run directories may be gone: what stands can then not be made again."""
    for head, skill in (("none", 0.5), ("lcenet", 0.9)):
        folders = [grid(head, 1.0, seed, skill, frequency=FREQUENCY) for seed in (0, 1)]
    kept = tmp_path / "kept"
    words = ["--gains", "--output", str(tmp_path / "out"), "--into", str(kept), "--resamples", "50"]
    assert main([str(tmp_path), *words]) == 0
    before = {path: path.read_bytes() for path in kept.rglob("gains*")}
    (folders[1] / "metrics.json").unlink()
    assert main([str(tmp_path), *words]) == 2
    assert "was made from more runs (toy (data aaaaaaaaaaaa) encoder=bow" in (told := capsys.readouterr().err)
    assert "2 seeds, now 1" in told
    assert before == {path: path.read_bytes() for path in kept.rglob("gains*")}


def test_gains_of_another_share_are_added(grid, tmp_path):
    """The share is a setting that differs from then on, and stands in each cell before the others."""
    kept = tmp_path / "kept"
    words = ["--gains", "--output", str(tmp_path / "out"), "--into", str(kept), "--resamples", "50"]
    for number, share in enumerate((1.0, 0.25), start=1):
        for head, skill in (("none", 0.5), ("lcenet", 0.9)):
            for prior in (True, False):
                path = grid(head, share, 0, skill, where=str(prior), frequency=FREQUENCY) / "config.yaml"
                path.write_text(path.read_text().replace("prior_bias: true", f"prior_bias: {prior}"))
        assert main([str(tmp_path), *words]) == 0
        cells = {row["cell"] for row in csv.DictReader((kept / "gains.csv").open())}
        assert len(cells) == 2 * number


def test_two_versions_of_the_data_stand_apart_wherever_gains_are_told(grid, tmp_path, capsys):
    for sha, seeds in (("a", 2), ("b", 1)):
        for head, skill in (("none", 0.5), ("lcenet", 0.9)):
            for seed in range(seeds):
                folder = grid(head, 1.0, seed, skill, where=sha, sha=sha * 64, frequency=FREQUENCY)
    kept = tmp_path / "experiments" / "study"
    kept.mkdir(parents=True)
    words = ["--gains", "--output", str(tmp_path / "out"), "--into", str(kept), "--resamples", "20"]
    assert main([str(tmp_path), *words]) == 0
    for text in ((tmp_path / "out" / "report.md").read_text(), (kept / "gains.md").read_text()):
        titles = [line for line in text.splitlines() if line.startswith("#") and "what a head adds" in line]
        assert [title.rpartition("(")[2] for title in titles] == ["data aaaaaaaaaaaa)", "data bbbbbbbbbbbb)"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count('what a head adds <span class="soft">aaaaaaaaaaaa<') == 1
    assert page.count('what a head adds <span class="soft">bbbbbbbbbbbb<') == 1
    _, _, table = studies(tmp_path / "experiments")
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]
    assert [(row[0], row[3], row[5].count("(")) for row in rows] == [
        ("toy (data aaaaaaaaaaaa)", "2", 1),
        ("toy (data bbbbbbbbbbbb)", "1", 1),
    ]
    # what stands of one version is not replaced by runs of the other
    assert main([str(tmp_path / "b"), *words]) == 2
    assert "(toy (data aaaaaaaaaaaa) encoder=bow" in capsys.readouterr().err
    (folder / "metrics.json").unlink()
    assert main([str(tmp_path), *words]) == 2
    assert "(toy (data bbbbbbbbbbbb) encoder=bow" in capsys.readouterr().err
