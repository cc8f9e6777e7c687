"""experiment=...: every one composes, and those of a paper's table compose exactly its printed rows."""

import csv
from pathlib import Path

import pytest

from xmtc.config import compose_checked, compose_jobs, config_dir

ROOT = Path(__file__).parents[2]
TABLES = sorted((config_dir() / "experiment").glob("*/*.yaml"))


def printed(table):
    path = ROOT / "experiments" / table / "printed.csv"
    if not path.is_file():
        pytest.skip("experiments/ is not part of this installation")
    with path.open(newline="") as file:
        return [(row["dataset"], row["encoder"], row["head"], _blocks(row)) for row in csv.DictReader(file)]


def _blocks(row):
    return "".join(word for word in row["settings"].split() if word.startswith("head.blocks="))


def rows(jobs):
    """What a job is, from its resolved configuration and not from the words that asked for it."""
    for words, config in jobs:
        encoder = config.encoder._target_.rsplit(".", 2)[-2]
        large = "_large" if encoder == "meshprobenet" and config.encoder.probes == 10 else ""
        blocks = [word for word in words if word.startswith("head.blocks=")]
        yield config.dataset.name, encoder + large, config.head._target_.rsplit(".", 2)[-2], "".join(blocks)


@pytest.mark.parametrize("table", [f"cornet/table{number}" for number in range(2, 7)])
def test_a_table_of_cornet_is_its_printed_rows(table):
    jobs = compose_jobs([f"experiment={table}"])
    assert sorted(rows(jobs)) == sorted(printed(table))
    for _, config in jobs:
        assert config.recipe.averaging is not None and config.seed == 0  # recipe=paper


@pytest.mark.slow
@pytest.mark.parametrize("path", TABLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_experiment_composes_on_another_dataset(path):
    once = ["seed=0", "data.fraction=1.0"]  # numbers alone, and the study's nine jobs of each kind are one
    jobs = compose_jobs([f"experiment={path.parent.name}/{path.stem}", "dataset=eurlex57k", "embedding=random", *once])
    assert jobs
    for _, config in jobs:
        assert config.dataset.name == "eurlex57k" and config.embedding._target_.endswith("Random")


def test_figures_are_the_runs_of_their_tables():
    assert rows_of("cornet/figure4") == rows_of("cornet/table2")


def rows_of(name):
    return list(rows(compose_jobs([f"experiment={name}"])))


def test_the_ablations_leave_out_one_part_each():
    heads = [config.head for _, config in compose_jobs(["experiment=lcenet/ablations"])]
    full, *others = heads
    assert (full.bottleneck, full.residual, full.entry, full.middle) == (True, True, "sigmoid", "elu")
    left_out = [{key for key in full if head[key] != full[key]} - {"zero_init"} for head in others]
    assert left_out == [{"bottleneck"}, {"residual"}, {"entry", "middle"}]


@pytest.mark.parametrize("table, full", [("labelcorank/table8", "labelcorank/full"), ("laco/table4", "laco/full")])
def test_ablations_of_pretrained_models_change_what_they_name(table, full):
    left_out, encoders = {}, {}
    for words, config in compose_jobs([f"experiment={table}", "dataset=aapd"]):
        row = next(word.removeprefix("row=") for word in words if word.startswith("row="))
        encoders[row] = config.encoder
    for row, encoder in encoders.items():
        left_out[row.split("/")[1]] = {key for key in encoder if encoder[key] != encoders[full].get(key)} - {"text"}
    expected = {
        "labelcorank/table8": {
            "full": set(), "no_correlation": {"selection"}, "no_ranking": {"sort"}, "no_positions": {"positions"},
            "no_reranking": {"selection", "sort", "positions"},
        },
        "laco/table4": {"full": set(), "no_joint": {"joint"}, "no_cross_attention": {"cross_attention"}},
    }[table]  # fmt: skip
    assert {row: left_out[row] for row in expected} == expected
    assert left_out.keys() - expected.keys() <= {"bert"}


@pytest.mark.parametrize("dataset, gamma, beta", [("magcs", 35, 0.3), ("pubmed", 30, 0.3), ("aapd", 20, 0.25)])
def test_labelcorank_takes_its_papers_settings(dataset, gamma, beta):
    config = compose_checked(["row=labelcorank/full", f"dataset={dataset}"])
    assert (config.encoder.gamma, config.encoder.beta) == (gamma, beta)
    assert config.recipe.optimizer.lr * config.encoder.lr_factor == 1e-5 and config.data.batch_size == 16


def test_roberta_alone_is_labelcoranks_first_stage():
    """Steps 1 and 2 of the paper: nothing is dropped between the pooled vector and the labels."""
    encoder = compose_checked(["row=labelcorank/roberta", "dataset=aapd"]).encoder
    assert (encoder.name, encoder.pooling, encoder.dropout, encoder.text.length) == ("roberta-base", "pooler", 0, 510)


@pytest.mark.parametrize("dataset", ["aapd", "rcv1"])
def test_laco_stops_after_50000_steps_without_a_gain(dataset):
    """Counted in steps: an epoch has 1,683 of them on AAPD and 25,076 on RCV1."""
    config = compose_checked(["row=laco/full", f"dataset={dataset}", "head=none"])
    trainer, validation = config.trainer, config.recipe.validation
    assert (type(trainer.val_check_interval), trainer.check_val_every_n_epoch) == (int, None)
    assert trainer.val_check_interval * validation.patience == 50_000


@pytest.mark.parametrize("encoder, recipe, rate", [("labelcorank", "labelcorank", 1e-5), ("transformer", "laco", 5e-5)])
def test_a_recipe_for_pretrained_weights_says_their_rate(encoder, recipe, rate):
    """The papers' loops have one rate for all weights, also where no row of a table is asked for."""
    config = compose_checked([f"encoder={encoder}", f"recipe={recipe}"])
    assert config.recipe.optimizer.lr * config.encoder.lr_factor == pytest.approx(rate)


def test_a_sweep_of_several_processes_needs_a_launcher_of_ours():
    words = ["head=none,lcenet", "trainer=ddp", "trainer.devices=2"]
    with pytest.raises(Exception) as error:
        compose_jobs(words)
    assert str(error.value).endswith(f"python -m xmtc.run -m {' '.join(words)} hydra/launcher=local")
    assert len(compose_jobs([*words, "hydra/launcher=local"])) == 2
    compose_checked(["trainer=ddp"])  # a single run is free to


@pytest.mark.parametrize(
    "word, line",
    [
        ("hydra.launcher.jobs=two", "hydra.launcher.jobs: expected a whole number"),
        ("+hydra.launcher.gpus=2", "hydra.launcher.gpus: unknown key"),
    ],
)
def test_settings_of_the_launcher_are_checked(word, line):
    with pytest.raises(Exception) as error:
        compose_jobs(["seed=0,1", "hydra/launcher=local", word])
    assert line in str(error.value)


def test_the_study_crosses_its_axes_seed_by_seed():
    """Small shares before large ones, and a share that is seen more often."""
    jobs = compose_jobs(["experiment=study", "encoder=bow", "head=none,lcenet", "seed=0,1"])
    axes = [(c.seed, c.data.fraction, c.recipe.prior_bias, c.head._target_.rsplit(".", 1)[-1]) for _, c in jobs]
    expected = [
        (seed, fraction, prior, head)
        for seed in (0, 1) for fraction in (0.0625, 0.25, 1.0) for prior in (True, False)
        for head in ("NoHead", "LCENet")
    ]  # fmt: skip
    assert axes == expected
    assert {c.data.fraction: c.recipe.max_epochs for _, c in jobs} == {0.0625: 60, 0.25: 30, 1.0: 15}
    assert all(c.trainer.max_epochs == c.recipe.max_epochs and c.dataset.name == "toy" for _, c in jobs)


@pytest.mark.parametrize("name, dataset, embedding", [("yso", "yso", "Random"), ("eurlex57k", "eurlex57k", "Word2Vec")])
def test_the_study_has_settings_of_its_own_for_large_corpora(name, dataset, embedding):
    words = [f"experiment=study/{name}", "encoder=xmlcnn", "head=cooccurrence", "seed=1", "data.fraction=0.25"]
    (_, config), _ = compose_jobs([*words, "recipe.prior_bias=true,false"])
    assert config.dataset.name == dataset and config.encoder.embedding._target_.endswith(embedding)
    assert (config.head.centred, config.head.start) == (True, "cooccurrence")
    assert config.logger is None or config.logger == {}
