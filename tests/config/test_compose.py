"""What cannot be used is one line before anything starts; what can is composed as hydra.main would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from xmtc.config import checked_command_line, compose_checked, compose_jobs
from xmtc.errors import InputError


@pytest.mark.parametrize(
    "overrides, expected",
    [
        (["encoder=foo"], ["encoder=foo: unknown choice", "cnn, cnn_large, other"]),
        (["encoder=cn_large"], ["did you mean cnn_large?"]),
        (["encodr=cnn"], ["encodr: unknown key", "did you mean encoder?"]),
        (["+encodr=cnn"], ["encodr: unknown key", "did you mean encoder?"]),
        (["sed=3"], ["sed: unknown key", "did you mean seed?"]),
        (["head=wide", "head.widht=3"], ["head.widht: unknown key", "choose from width; did you mean width?"]),
        (["head.width=3"], ["head.width: unknown key; head has no keys"]),
        (["encoder.denominator=3"], ["encoder.denominator: not in this configuration", "+encoder.denominator="]),
        (["dataset=csv"], ["dataset.path: must be given"]),
        (["dataset=csv", "dataset.path=a=b,c.csv"], ["dataset.path", "write 'dataset.path=\"a=b,c.csv\"'"]),
        (["dataset=csv", "dataset.path=b,c.csv"], ["add -m", "'dataset.path=[b,c.csv]'", "'dataset.path=\"b,c.csv\"'"]),
        (["seed=${nope}"], ["seed: refers to ${nope}, which does not exist"]),
        (["encoder"], ["encoder: expected key=value"]),
        (["encoder=[1,2]"], ["encoder=[1,2]: not a choice"]),
        (["encoder=[cnn,cnn_large]"], ["expected one choice", "add -m: encoder=cnn,cnn_large"]),
        (["seed=0,1,"], ["seed=0,1,: a value is missing before or behind a comma"]),
        (["seed=choice(null,1)"], ["choice() takes no null: write seed=null,1"]),
        (["seed=range(a,b)"], ["seed=range(a,b): mismatch type argument start: str"]),
        (["dataset=csv", "dataset.path=corpus(1)"], ["write 'dataset.path=\"corpus(1)\"'"]),
        (["hydra.launcher.jobs=2"], ["hydra.launcher.jobs: unknown key", "hydra/launcher=local has some"]),
        (["experiment=nope"], ["experiment=nope: unknown choice", "bad, broken, grid, typo"]),
        (["experiment=bad"], ["encoder=nope: unknown choice"]),
        (["experiment=typo"], ["sead: unknown key", "did you mean seed?"]),
        (["experiment=broken"], ["experiment/broken.yaml, line", "not valid YAML"]),
        (["encoder.numerator=3", "+encoder._nomalize=3"], ["encoder._nomalize: unknown key", "_normalize?"]),
        (["hydra.sweep.dri=x"], ["hydra.sweep.dri: unknown key", "did you mean dir?"]),
        (["~sed"], ["'sed' does not exist"]),
        (["+seed=3"], ["seed=3"]),
        (["--config-dir", "mine"], ["--config-dir: write hydra.searchpath=[DIR]"]),
    ],
)
def test_one_line_that_names_key_and_choices(tree, overrides, expected):
    with pytest.raises(InputError) as error:
        compose_checked(overrides)
    line = str(error.value)
    assert "\n" not in line and str(tree) not in line
    for part in expected:
        assert part in line


def test_the_quoting_it_suggests_works(tree):
    assert compose_checked(["dataset=csv", 'dataset.path="a=b,c.csv"']).dataset.path == "a=b,c.csv"


@pytest.mark.parametrize(
    "overrides, value",
    [
        ([], 5),
        (["encoder=cnn_large"], 5),
        (["dataset=law"], 9),
        (["dataset=law", "encoder=cnn_large"], 9),
        (["encoder.numerator=1", "dataset=law"], 1),
    ],
)
def test_paper_gives_what_the_dataset_says_of_this_encoder(tree, overrides, value):
    assert compose_checked(overrides).encoder.numerator == value


def test_paper_falls_back_to_the_dataset_and_to_the_default(tree):
    assert compose_checked(["dataset=law", "head=wide"]).head.width == 30
    assert compose_checked(["head=wide"]).head.width == [256]
    assert compose_checked(["dataset=law", "encoder=other"]).encoder.days == 7


def test_modern_reads_the_recipe(tree):
    config = ["+recipe.encoders.fractions.rate=2", "seed=${modern:rate,1}", "output=${modern:other,1}"]
    (tree / "recipe").mkdir()
    checked = compose_checked(config)
    assert (checked.seed, checked.output) == (2, 1)


def test_modern_reads_the_recipe_of_a_head_on_an_encoder(tree):
    (tree / "recipe").mkdir()
    pair = "+recipe.encoders.fractions={rate: 2, depth: 5, heads: {fractions: {rate: 3}}}"
    config = [pair, "seed=${modern:rate,1}", "output=${modern:depth,1}"]
    checked = compose_checked(config)
    assert (checked.seed, checked.output) == (2, 5)
    checked = compose_checked([*config, "+head={_target_: fractions.Fraction, numerator: 1, denominator: 2}"])
    assert (checked.seed, checked.output) == (3, 5)


def test_modern_reads_the_corpus_first_and_nothing_under_another_recipe(tree):
    (tree / "recipe").mkdir()
    corpus = "+dataset.modern={rate: 4, encoders: {fractions: {depth: 6}}}"
    config = ["dataset=law", corpus, "seed=${modern:rate,1}", "output=${modern:depth,1}"]
    checked = compose_checked(["+recipe.encoders.fractions={rate: 2, depth: 5}", *config])
    assert (checked.seed, checked.output) == (4, 6)
    checked = compose_checked(["+recipe.encoders={}", *config])
    assert (checked.seed, checked.output) == (1, 1)


def test_paper_without_default_names_the_key(tree):
    with pytest.raises(InputError, match="depth: expected at dataset.paper.encoders.fractions.depth or"):
        compose_checked(["seed=${paper:depth}"])


def test_no_trace_is_left_behind(tree):
    HydraConfig.instance().cfg = None  # another test may have run a whole command in this process
    compose_checked([])
    with pytest.raises(InputError):
        compose_checked(["encoder=foo"])
    assert not GlobalHydra.instance().is_initialized()
    assert HydraConfig.instance().cfg is None
    assert "hydra" not in compose_checked([])
    assert compose_checked([], hydra_node=True).hydra.job.name


@pytest.mark.parametrize(
    "words, line",
    [
        (["hydra.job.env_copy=a,b"], "hydra.job.env_copy=a,b: expected one value; a list is written"),
        (["seed=interval(1,2)"], "interval(...) is for `python -m xmtc.search`"),
        (["seed=1,2", "hydra.run.dir=here"], "hydra.run.dir=here: is for a single run"),
    ],
)
def test_what_no_sweep_can_be_of(tree, words, line):
    with pytest.raises(InputError) as error:
        compose_jobs(words)
    assert line in str(error.value) and "\n" not in str(error.value)


def test_every_job_of_a_sweep(tree):
    jobs = compose_jobs(["head=none,wide", "seed=1,2,3"])
    assert [(list(c.head.keys()), c.seed) for _, c in jobs] == [([], 1), ([], 2), ([], 3)] + [
        (["width"], s) for s in (1, 2, 3)
    ]
    assert jobs[0][0] == ["head=none", "seed=1"]


def test_a_sweep_written_in_an_experiment(tree):
    assert len(compose_jobs(["experiment=grid", "seed=1,2"])) == 4


@pytest.mark.parametrize(
    "overrides, line",
    [
        (["head=none,wdie"], "head=wdie: unknown choice"),
        (["head=none,wide", "head.width=3"], "head.width: unknown key"),
        (["dataset=toy,csv"], "dataset.path: must be given"),
        (["seed=range(0,2001)"], "2,001 runs"),
        (["head=glob(x*)"], "no runs: a glob"),
    ],
)
def test_a_sweep_with_one_bad_job_does_not_start(tree, overrides, line):
    with pytest.raises(InputError) as error:
        compose_jobs(overrides)
    assert line in str(error.value)


def test_groups_of_ones_own(tree, tmp_path, write_tree):
    write_tree(tmp_path / "mine", {"encoder/mine.yaml": "{_target_: fractions.Fraction, numerator: 2}"})
    ((_, config),) = compose_jobs(["encoder=mine"], config_dirs=[tmp_path / "mine"])  # --config-dir
    assert config.encoder.numerator == 2
    assert compose_checked([f"hydra.searchpath=[{tmp_path}/mine]", "encoder=mine"]).encoder.numerator == 2
    with pytest.raises(InputError, match="cnn_large, mine, other"):
        compose_jobs(["encoder=mien"], config_dirs=[tmp_path / "mine"])
    with pytest.raises(InputError, match="no such folder"):
        compose_jobs([], config_dirs=[tmp_path / "absent"])


def arguments_of(argv, **options):
    with checked_command_line(argv, **options) as line:
        return line.arguments


def test_command_line(tree, tmp_path, write_tree):
    assert arguments_of(["seed=3"]) == ["seed=3"]
    assert arguments_of(["seed=1,2", "-m", "head=none,wide"]) == ["-m", "seed=1,2", "head=none,wide"]
    seen = []
    arguments_of(["-m", "seed=1,2"], check=lambda config: seen.append(config.seed))
    assert seen == [1, 2]
    for argv in (["--cfg", "job", "encoder=foo"], ["--help"], ["--info"], ["--hydra-help"]):
        assert arguments_of(argv) == argv
    with pytest.raises(InputError, match="--trainer: unknown switch"):
        arguments_of(["--trainer"])
    with pytest.raises(InputError, match="encoder=foo"):
        arguments_of(["-m", "encoder=cnn,foo"])
    write_tree(tmp_path / "mine", {"encoder/mine.yaml": "{_target_: fractions.Fraction, numerator: 2}"})
    arguments_of(["--config-dir", str(tmp_path / "mine"), "encoder=mine"])


def test_hydra_main_agrees_with_what_was_checked(tree, tmp_path):
    """The same resolvers give the same values in both, and checking first does not stand in hydra.main's way."""
    script = tmp_path / "app.py"
    script.write_text(f"""
import hydra
from xmtc.config import check, compose, checked_command_line
check.BASES = {{}}
compose.command_dir = lambda _: __import__("pathlib").Path({str(tree)!r})
import sys
with checked_command_line(sys.argv[1:]):
    pass
@hydra.main(config_path={str(tree)!r}, config_name="run", version_base="1.3")
def main(cfg):
    print("RESULT", cfg.encoder.numerator, cfg.environment)
main()
""")
    out = subprocess.run(
        [sys.executable, str(script), "-m", "dataset=toy,law", "encoder=cnn_large"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert [x for x in out.stdout.splitlines() if "RESULT" in x] == ["RESULT 5 cnn_large", "RESULT 9 cnn_large"], out


@pytest.fixture
def compositions(monkeypatch):
    """What Hydra has composed since: one entry a composition."""
    from hydra._internal.config_loader_impl import ConfigLoaderImpl

    made, compose = [], ConfigLoaderImpl._compose_config_from_defaults_list
    monkeypatch.setattr(
        ConfigLoaderImpl, "_compose_config_from_defaults_list", lambda *a, **k: (made.append(1), compose(*a, **k))[1]
    )
    return made


def test_what_was_checked_is_run_without_being_composed_again(tree, tmp_path, compositions):
    seen = []
    with checked_command_line(["encoder=cnn_large", f"hydra.run.dir={tmp_path}/run"]) as line:
        line.run(lambda config: seen.append((config.encoder.numerator, config.output)))
    assert seen == [(5, f"{tmp_path}/run")] and len(compositions) == 1
    words = ["-m", "dataset=toy,law", "encoder=cnn_large", f"hydra.sweep.dir={tmp_path}/sweep"]
    with checked_command_line(words) as line:
        line.run(lambda config: seen.append((config.encoder.numerator, config.output)))
    assert seen[1:] == [(5, f"{tmp_path}/sweep/0"), (9, f"{tmp_path}/sweep/1")]
    assert len(compositions) == 1 + 1 + 2  # what jobs share, and each of them


def test_a_sweep_that_a_file_asks_for(tree, tmp_path, write_tree):
    write_tree(tree, {"experiment/always.yaml": """
        # @package _global_
        hydra: {mode: MULTIRUN, sweeper: {params: {seed: "3,4"}}}
        """})  # fmt: skip
    seen = []
    with checked_command_line(["experiment=always", f"hydra.sweep.dir={tmp_path}/sweep"]) as line:
        line.run(lambda config: seen.append(config.seed))
    assert seen == [3, 4]


def test_a_file_that_has_changed_is_read_again(tree):
    assert compose_checked(["dataset=law"]).encoder.numerator == 9
    path = tree / "dataset" / "law.yaml"
    path.write_text(path.read_text().replace("numerator: 9", "numerator: 11"))
    assert compose_checked(["dataset=law"]).encoder.numerator == 11
    path.write_text("name: [law")
    with pytest.raises(InputError, match="dataset/law.yaml, line"):
        compose_checked(["dataset=law"])
    path.unlink()
    with pytest.raises(InputError, match="dataset=law: unknown choice"):
        compose_checked(["dataset=law"])


def test_a_configuration_may_be_changed_by_who_asked_for_it(tree):
    first = compose_checked(["head=wide"])
    first.encoder.numerator = first.dataset.name = first.head.width = "changed"
    assert compose_checked(["head=wide"]).dataset.name == "toy" and compose_checked(["head=wide"]).head.width == [256]
