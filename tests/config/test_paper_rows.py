"""experiment=labelcorank/... and laco/...: the printed systems of each table, but for those that cannot be run."""

import csv
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from xmtc.config import compose_checked, compose_jobs, config_dir
from xmtc.sweeping.settings import pairs

ROOT = Path(__file__).parents[2]
# row: (the encoder's file, the system as the papers name it)
LABELCORANK = {
    "xmlcnn": ("xmlcnn", "XML-CNN"), "meshprobenet": ("meshprobenet", "MeSHProbeNet"),
    "attentionxml": ("attentionxml", "AttentionXML"), "transformer": ("bertxml", "Transformer"),
    "star_transformer": ("star_transformer", "Star-Transformer"), "bertxml": ("bertxml", "BERTXML"),
    "match": ("match", "MATCH"), "roberta": ("transformer", "RoBERTa"), "gudn": ("gudn", "GUDN"),
    "full": ("labelcorank", "LabelCoRank"), "no_correlation": ("labelcorank", "w/o correlation matrix"),
    "no_ranking": ("labelcorank", "w/o label ranking"), "no_positions": ("labelcorank", "w/o position information"),
    "no_reranking": ("labelcorank", "w/o all reranking parts"),
}  # fmt: skip
LACO = {
    "br": ("br", "BR"), "cc": ("br", "CC"), "kimcnn": ("kimcnn", "CNN"), "leam": ("leam", "LEAM"),
    "lsan": ("lsan", "LSAN"), "sgm": ("sgm", "SGM"), "bert": ("transformer", "BERT"),
    "seqtag": ("seqtag", "SeqTag_BERT"), "full": ("laco", "LACO"), "plcp": ("laco", "LACO+plcp"),
    "clcp": ("laco", "LACO+clcp"), "no_joint": ("laco", "w/o JE"), "no_cross_attention": ("laco", "w/o CA"),
}  # fmt: skip
ROWS = {"labelcorank": LABELCORANK, "laco": LACO}
# printed, and nobody could run them honestly: no code, a service, or no encoder of ours; and what is no system
ABSENT = {
    "RoBERTa-LiGCN", "RoBERTa+GPT-4o", "RoBERTa* (oracle over own top-10)",
    "Seq2Set", "OCD", "ML-Reasoner", "Seq2Seq_T", "Ground Truth",
}  # fmt: skip
BLANK = {(f"labelcorank/table{number}", "MATCH") for number in (4, 5, 6)}  # printed without a number


def printed(table):
    """{(data set, system)} of a table that are to be run."""
    path = ROOT / "experiments" / table / "printed.csv"
    if not path.is_file():
        pytest.skip("experiments/ is not part of this installation")
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["system"] not in ABSENT]
    rows = [row for row in rows if (table, row["system"]) not in BLANK]
    subsets = [pairs(row["settings"].split()).get("dataset.subset") for row in rows]
    return [("-".join(filter(None, [row["dataset"], subset])), row["system"]) for row, subset in zip(rows, subsets)]


def composed(experiment):
    """The same of the jobs, seen in their configuration: a row whose encoder is another's would not be it."""
    found = []
    for words, config in compose_jobs([f"experiment={experiment}"]):
        paper, row = next(word.removeprefix("row=").split("/") for word in words if word.startswith("row="))
        encoder, system = ROWS[paper][row]
        assert config.encoder._target_.split(".")[-2] == encoder, row
        assert config.head._target_.endswith(".NoHead") and config.seed == 0
        dataset = "-".join(filter(None, [config.dataset.name, config.dataset.get("subset")]))
        gamma = f" gamma={config.encoder.gamma}" if any(word.startswith("encoder.gamma=") for word in words) else ""
        found.append((dataset, system + gamma))
    return found


TABLES = {
    **{f"labelcorank/table{number}": [f"labelcorank/table{number}"] for number in range(2, 9)},
    "labelcorank/table9": [f"labelcorank/table9{end}" for end in ("", "_pubmed", "_aapd")],
    "laco/table2": ["laco/table2"],
    "laco/table5": ["laco/table5"],
    "laco/table6": ["laco/table6"],
}


@pytest.mark.slow
@pytest.mark.parametrize("table", TABLES)
def test_a_table_is_its_printed_systems(table):
    jobs = [job for experiment in TABLES[table] for job in composed(experiment)]
    assert sorted(jobs) == sorted(printed(table))


@pytest.mark.slow
def test_the_ablations_of_laco():
    """Without both parts it is BERT."""
    names = {"w/o JE & CA": "BERT"}
    rows = [(dataset, names.get(system, system)) for dataset, system in printed("laco/table4")]
    assert sorted(composed("laco/table4")) == sorted(rows)


def test_every_experiment_of_these_papers_is_among_these_tests():
    found = {f"{paper}/{path.stem}" for paper in ROWS for path in (config_dir() / "experiment" / paper).glob("*.yaml")}
    here = {experiment for experiments in TABLES.values() for experiment in experiments}
    assert found == here | {"laco/table3", "laco/table4", "laco/figure2", "laco/figure3"}


@pytest.mark.parametrize(
    "experiment, systems",
    [
        ("laco/table3", {"BERT", "SeqTag_BERT", "LACO"}),
        ("laco/figure2", None),  # all of them, of AAPD alone
        ("laco/figure3", {"BERT", "SeqTag_BERT", "LACO", "LACO+plcp", "LACO+clcp"}),
    ],
)
def test_figures_and_tests_are_of_the_runs_of_table_2(experiment, systems):
    """The same folder and the same words, by which the sweep knows its jobs."""
    table, own = (OmegaConf.load(config_dir() / "experiment" / f"{name}.yaml") for name in ("laco/table2", experiment))
    if systems is None:
        assert (own.defaults, own.hydra.sweeper.params) == (["laco/table2"], {"dataset": "aapd"})
    else:
        assert (own.defaults, own.hydra.sweep) == (table.defaults, table.hydra.sweep)
        assert own.hydra.sweeper.params.dataset == table.hydra.sweeper.params.dataset
        rows = own.hydra.sweeper.params.row.split(",")
        assert {LACO[row.removeprefix("laco/")][1] for row in rows} == systems
        assert set(rows) <= set(table.hydra.sweeper.params.row.split(","))


def test_what_the_two_rows_of_one_encoder_are():
    """MATCH's Transformer and its BERTXML differ in the positions that are read, and need no word vectors."""
    once, often = (
        compose_checked([f"row=labelcorank/{row}", "dataset=magcs", "head=none"]) for row in ("transformer", "bertxml")
    )
    assert (once.encoder.cls, often.encoder.cls) == (1, 8)
    assert once.recipe.prefer_words is None and once.recipe.batch_size == 256 and once.recipe.averaging is not None
