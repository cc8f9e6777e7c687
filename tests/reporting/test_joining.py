"""A run is a printed row if its configuration is the row's, however it was typed."""

from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from xmtc.config import config_dir
from xmtc.config.compose import composing, resolved
from xmtc.reporting.beside import printed_rows
from xmtc.reporting.configurations import configurations
from xmtc.reporting.joining import join
from xmtc.reporting.printed import Printed, read_printed
from xmtc.reporting.runs import Run
from xmtc.sweeping.settings import matters, pairs, that_matter

TABLES = Path(__file__).parents[2] / "experiments"
EXPERIMENTS = {
    **{f"cornet/table{n}": [f"cornet/table{n}"] for n in range(2, 7)},
    **{f"labelcorank/table{n}": [f"labelcorank/table{n}"] for n in (2, 3, 4, 5, 6, 7, 8)},
    "labelcorank/table9": ["labelcorank/table9", "labelcorank/table9_pubmed", "labelcorank/table9_aapd"],
    **{f"laco/table{n}": [f"laco/table{n}"] for n in (2, 4, 5, 6)},
}


def run_of(composer, *words, seed=0, test=None):
    """What read_run makes of a run directory that these words made."""
    config = composer.one([*words, f"seed={seed}"], hydra_node=True)
    names = {group: config.hydra.runtime.choices[group] for group in ("encoder", "head", "recipe")}
    plain = {str(key): resolved(config, key) for key in config if key != "hydra" and matters(str(key))}
    return Run(
        folder=Path("/".join(words)),
        dataset=config.dataset.name,
        dataset_sha256="a",
        seed=seed,
        test={"P@1": 0.5} if test is None else test,
        settings=that_matter(plain),
        typed=frozenset(pairs(words)),
        **names,
    )


def jobs(experiment):
    """The words of each, without its configuration, which `run_of` composes."""
    params = OmegaConf.load(config_dir() / "experiment" / f"{experiment}.yaml").hydra.sweeper.params
    overrides = OverridesParser.create().parse_overrides([f"{key}={value}" for key, value in params.items()])
    return BasicSweeper.split_arguments(overrides, None)[0]


def joined(printed, *runs):
    found = configurations(runs)
    join(printed, [each for made in found.values() for each in made])
    return [[(each.name, other) for each, other in row.matched] for row in printed]


def row(encoder="xmlcnn", head="none", recipe="paper", settings=(), dataset="eurlex", **values):
    return Printed("Theirs", dataset, encoder, head, recipe, list(settings), values or {"P@1": 50.0}, "them")


@pytest.mark.slow
@pytest.mark.parametrize("table", EXPERIMENTS)
def test_every_job_of_a_table_is_one_printed_row_and_every_row_one_job(table):
    path = TABLES / table / "printed.csv"
    if not path.is_file():
        pytest.skip("experiments/ is not part of this installation")
    printed = [each for each in read_printed(path) if each.encoder]
    runs = []
    with composing("run") as composer:
        for experiment in EXPERIMENTS[table]:
            runs += [run_of(composer, f"experiment={experiment}", *words) for words in jobs(experiment)]
    join(printed, [each for made in configurations(runs).values() for each in made])
    matched = [[one.runs[0].folder for one, other in each.matched if not other] for each in printed]
    assert [len(each) for each in matched] == [1] * len(printed)
    assert sorted(folder for each in matched for folder in each) == sorted(run.folder for run in runs)


def test_other_models_and_other_documents_are_not_the_row():
    base = ("dataset=eurlex", "encoder=xmlcnn", "recipe=paper")
    with composing("run") as composer:
        runs = [
            run_of(composer, *base, "head=cornet", "head.blocks=1"),
            run_of(composer, *base, "head=cornet", "encoder.filters=64"),
            run_of(composer, *base, "head=cornet", "data.fraction=0.1"),
            run_of(composer, *base, "head=cornet", "data.limit=100"),
            run_of(composer, "dataset=eurlex", "encoder=xmlcnn", "recipe=modern", "head=cornet"),
            run_of(composer, "dataset=amazoncat13k", "encoder=xmlcnn", "recipe=paper", "head=cornet"),
            run_of(composer, *base, "head=none"),
        ]
    assert joined([row(head="cornet")], *runs) == [[]]
    assert "not run" in printed_rows([row(head="cornet")])[1]


def test_what_the_default_is_may_be_typed_and_seeds_are_one():
    base = ("dataset=eurlex", "encoder=xmlcnn", "recipe=paper", "head=cornet")
    with composing("run") as composer:
        blocks = composer.one(base).head.blocks
        runs = [run_of(composer, *base, seed=0), run_of(composer, *base, f"head.blocks={blocks}", seed=1)]
    (found,) = joined([row(head="cornet")], *runs)
    assert len(found) == 1 and not found[0][1]


def test_another_way_of_training_is_said_unless_somebody_trained_it_as_the_row_says():
    base = ("dataset=eurlex", "encoder=xmlcnn", "recipe=paper", "head=none")
    with composing("run") as composer:
        exact = run_of(composer, *base)
        other = run_of(composer, *base, "trainer.precision=bf16-mixed", "recipe.max_epochs=1", seed=1)
    printed = [row()]
    ((one,),) = joined(printed, other)
    assert one[1] == {"trainer.precision": "bf16-mixed", "recipe.max_epochs": 1}
    ours = printed_rows(printed)[1][2]
    assert ours.startswith("1 seed, but ") and "recipe.max_epochs=1" in ours
    ((one,),) = joined([row()], exact, other)
    assert not one[1]


def test_a_kept_row_is_joined_by_its_command():
    command = "python -m xmtc.run experiment=cornet/table2 encoder=xmlcnn head={} seed=0 logger=csv"
    kept = [
        Run(Path("x"), "eurlex", "xmlcnn", head, "paper", 0, {"P@1": 0.5}, dataset_sha256="a", resolved=False,
            facts={"command": words}, settings={"seed": 0})
        for head, words in (("cornet", command.format("cornet")), ("none", "python -m xmtc.run encoder=gone head=none"))
    ]  # fmt: skip
    assert [len(found) for found in joined([row(head="cornet"), row()], *kept)] == [1, 0]


def test_numbers_stand_in_the_papers_units():
    numbers = {"HL": 0.0316, "Mi-F1": 64.6, "train_hours": 1.5, "model_size_GB": 0.22, "C_test": 392.0, "nDCG@1": 50.0}
    test = {"hamming-loss": 0.03, "micro-F1": 0.7, "nDCG@1": 0.5}
    with composing("run") as composer:
        run = run_of(composer, "dataset=eurlex", "encoder=xmlcnn", "recipe=paper", "head=none", test=test)
    run.facts |= {"train_seconds": 3600.0, "parameters": 50_000_000}
    printed = [row(**numbers)]
    joined(printed, run)
    header, cells = printed_rows(printed)
    assert dict(zip(header[3:], cells[3:], strict=True)) == {
        "HL": "0.0316 / 0.0300 (-0.0016)",
        "Mi-F1": "64.6 / 70.0 (+5.4)",
        "train_hours": "1.50 / 1.00 (-0.50)",
        "model_size_GB": "0.22 / 0.20 (-0.02)",
        "C_test": "392",
    }
