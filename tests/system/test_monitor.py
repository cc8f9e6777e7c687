"""The metric that chooses a run's weights, and ends it, is a setting."""

import csv
import json

import pytest
import torch

import xmtc
from xmtc.config.plain import MONITORS
from xmtc.errors import InputError
from xmtc.metrics.label_sets import LabelSetMetrics
from xmtc.metrics.ranking import RankingMetrics
from xmtc.search import main as search
from xmtc.searching.study import evaluations
from xmtc.sweeping.settings import that_matter

OPTIONS = ("encoder=bow", "head=none", "encoder.embedding.size=16", "data.batch_size=32", "recipe.max_epochs=6")


def curve(folder):
    with (folder / "curves.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def scripted(monkeypatch):
    """Evaluations go as written here, from then on as in the last one; what they measured does not matter."""
    script = {"nDCG@5": [0.1, 0.2, 0.3, 0.2], "PSP@5": [0.1, 0.3, 0.2, 0.2], "macro-F1": [0.4, 0.2, 0.3, 0.1]}
    for each in (RankingMetrics, LabelSetMetrics):
        monkeypatch.setattr(each, "compute", replaced(each.compute, script))


def replaced(compute, script):
    calls = iter(range(100))

    def computed(self):
        call, values = next(calls), compute(self)
        return values | {name: each[min(call, 3)] for name, each in script.items() if name in values}

    return computed


@pytest.mark.parametrize(("metric", "best"), [("nDCG@5", 3), ("PSP@5", 2), ("macro-F1", 1)])
def test_the_weights_are_those_with_its_best_value(train, scripted, metric, best):
    result, folder = train(*OPTIONS, "recipe.max_epochs=4", f"recipe.validation.monitor={metric}")
    rows = curve(folder)
    assert len(rows) == 4 and result["best"]["monitor"] == f"val/{metric}"
    assert result["best"]["step"] == int(rows[best - 1]["step"])
    kept = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    assert (kept["step"], kept["score"]) == (result["best"]["step"], result["best"]["score"])
    assert evaluations(folder, metric) == [float(row[f"val/{metric}"]) for row in rows]


@pytest.mark.parametrize(("metric", "evaluated"), [("nDCG@5", 4), ("PSP@5", 3), ("macro-F1", 2)])
def test_early_stopping_waits_for_it(train, scripted, metric, evaluated):
    _, folder = train(*OPTIONS, "recipe.validation.patience=1", f"recipe.validation.monitor={metric}")
    assert len(curve(folder)) == evaluated  # the first evaluation without a gain is the last


def test_an_interval_counts_steps_also_where_a_step_collects_batches(train):
    """160 documents in batches of 16, two a step: five steps an epoch."""
    options = ["data.batch_size=16", "trainer.accumulate_grad_batches=2", "recipe.max_epochs=2"]
    _, folder = train(*OPTIONS, *options, "recipe.validation.interval=3", "recipe.validation.epochs=null")
    assert [int(row["step"]) for row in curve(folder)] == [3, 6, 9, 10]
    with pytest.raises(InputError, match="interval=6: an epoch has 5 steps"):
        train(*OPTIONS, *options, "recipe.validation.interval=6")


def test_every_choice_is_logged_and_nothing_else_but_parts_of_the_labels(train):
    _, folder = train(*OPTIONS, "recipe.max_epochs=1", "recipe.validation.sets=true")
    logged = {name.removeprefix("val/") for name in curve(folder)[0] if name.startswith("val/")}
    assert {name for name in logged if "/" not in name} == set(MONITORS)


def test_a_run_that_goes_on_keeps_it(train):
    _, folder = train(*OPTIONS, "recipe.max_epochs=1", "recipe.validation.monitor=P@1")
    with pytest.raises(InputError, match=r"monitor=R@5: so far .* by P@1; go on with recipe\.validation\.monitor=P@1"):
        xmtc.run([f"resume={folder}", "recipe.max_epochs=2", "recipe.validation.monitor=R@5"])
    again = xmtc.run([f"resume={folder}", "recipe.max_epochs=2"])  # nothing of the refused word is kept
    assert again["best"]["monitor"] == "val/P@1" and len(curve(folder)) == 2


def test_a_metric_that_is_none_is_refused_with_the_choices(train):
    with pytest.raises(InputError, match=r"recipe\.validation\.monitor: .*nDCG@5.*micro-F1.*got .*auc"):
        train(*OPTIONS, "recipe.validation.monitor=auc")


def test_runs_from_before_it_was_a_setting_are_those_by_ndcg():
    before = {"recipe": {"validation": {"patience": 3}}}
    now = {"recipe": {"validation": {"patience": 3, "monitor": "nDCG@5"}}}
    other = {"recipe": {"validation": {"patience": 3, "monitor": "P@1"}}}
    assert that_matter(before) == that_matter(now) != that_matter(other)


def test_a_search_compares_one_metric(tmp_path, capsys):
    words = ["encoder=bow", "head=none", "recipe.validation.monitor=choice(nDCG@5,P@1)"]
    assert search(["--into", str(tmp_path / "s"), *words]) == 2
    assert "recipe.validation.monitor: with recipe.validation.monitor=P@1 it is P@1" in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_search_goes_by_it(tmp_path, capsys, small):
    words = [
        *small,
        *OPTIONS,
        "recipe.max_epochs=2",
        "recipe.validation.monitor=PSP@3",
        "data.fraction=choice(0.5,1.0)",
    ]
    assert search(["--into", str(tmp_path), "--trials", "1", "--finalists", "1", "--seeds", "1", *words]) == 0
    (result,) = (json.loads(path.read_text()) for path in (tmp_path / "finalists").glob("*/metrics.json"))
    assert f"validation PSP@3 {100 * result['best']['score']:.2f}" in capsys.readouterr().out
    assert result["best"]["score"] == pytest.approx(result["validation"]["PSP@3"])
