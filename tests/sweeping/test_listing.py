"""dry_run=true of a sweep: its jobs, and what earlier runs of the same configuration took."""

import json
import socket

import pytest
from omegaconf import OmegaConf

import xmtc
from xmtc.config import compose_jobs, config_dir
from xmtc.sweeping.costs import Cost
from xmtc.sweeping.listing import asks_for_a_list, listing
from xmtc.sweeping.printed import printed_hours

EMPTY = "/nowhere"  # a cache without a store: nothing can be tried there


@pytest.fixture
def main(monkeypatch):
    """The command; importing its module would leave it in the place of the function `xmtc.run`."""
    monkeypatch.setattr(xmtc, "run", xmtc.run)
    from xmtc.run import main

    return main


def finished(folder, words, seconds, memory):
    """A run directory as `xmtc.run` leaves it, of the job that `words` describe."""
    ((_, config),) = compose_jobs(words)
    config = OmegaConf.masked_copy(config, [key for key in config if key != "logger"])
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(
        OmegaConf.to_yaml(OmegaConf.create(OmegaConf.to_container(config, resolve=True)))
    )
    (folder / "metrics.json").write_text(json.dumps({"train_seconds": seconds, "peak_memory_bytes": memory}))


def test_jobs_and_what_earlier_runs_of_the_same_configuration_took(tmp_path, capsys, main):
    finished(tmp_path / "a", ["head=none", "seed=7", "data.workers=2"], 3600, 2**30)
    finished(tmp_path / "b" / "c", ["head=none", "seed=8"], 7200, 2**31)
    finished(tmp_path / "d", ["head=none", "recipe.max_epochs=3"], 60, 2**20)  # another configuration
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "metrics.json").write_text("{")
    main(["-m", "head=none,lcenet", "seed=0,1", f"paths.runs={tmp_path}", f"paths.cache_dir={EMPTY}", "dry_run=true"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["#", "dataset", "head", "seed", "hours", "GiB"]
    assert lines[1].split() == ["0", "toy", "none", "0", "1.50", "2.00"]
    assert lines[3].split() == ["2", "toy", "lcenet", "0", "unknown", "unknown"]
    assert lines[5].startswith("unknown: 2, 3: toy is not prepared")
    assert lines[6] == "4 jobs; 3.00 hours one after the other for the 2 that are known"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "d", "e"]  # nothing was made


@pytest.mark.parametrize("words", [["hydra.run.dir=FILE"], ["-m", "hydra.sweep.dir=FILE"], ["hydra.run.dir=RUN"]])
def test_a_folder_that_cannot_be_written_is_one_line(tmp_path, capsys, main, words):
    (tmp_path / "file").touch()
    words = [word.replace("FILE", str(tmp_path / "file")).replace("RUN", str(tmp_path / "run")) for word in words]
    (tmp_path / "run" / "run.log").mkdir(parents=True)  # in the place of Hydra's log
    with pytest.raises(SystemExit) as ended:
        main([*words, "encoder=bow", "head=none"])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and len(error.splitlines()) == 1 and "cannot write to" in error


def test_hydras_own_launcher_does_not_go_on_and_names_the_one_that_does(tmp_path, capsys, main):
    (tmp_path / "0_toy_bow-none_seed0").mkdir()
    (tmp_path / "0_toy_bow-none_seed0" / "metrics.json").touch()
    with pytest.raises(SystemExit) as ended:
        main(["-m", "encoder=bow", "head=none", f"hydra.sweep.dir={tmp_path}"])
    error = capsys.readouterr().err
    assert ended.value.code == 2 and "holds a finished run; hydra/launcher=local keeps it and goes on" in error


def test_resume_of_a_sweep_says_how_it_goes_on(tmp_path, capsys, main):
    (tmp_path / "multirun.yaml").touch()
    for words, line in (([], f"hydra.sweep.dir={tmp_path}"), (["-m"], f"hydra.sweep.dir={tmp_path}")):
        with pytest.raises(SystemExit):
            main([*words, f"resume={tmp_path}"])
        assert line in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["-m", f"resume={tmp_path / 'run'}"])
    assert "leave out -m" in capsys.readouterr().err


def test_without_earlier_runs_nothing_is_made_up(tmp_path):
    text = listing(["-m", "seed=0,1", f"paths.runs={tmp_path / 'none'}", f"paths.cache_dir={EMPTY}", "dry_run=true"])
    lines = text.splitlines()
    assert lines[-1] == "2 jobs" and sum(line.count("unknown") for line in lines[1:3]) == 4


def test_the_data_set_is_told_once(tmp_path):
    lines = listing(["-m", "dataset=toy,reuters", "encoder=br", f"paths.runs={tmp_path}", "dry_run=true"]).splitlines()
    assert lines[0].split() == ["#", "dataset", "hours", "GiB"]
    assert [line.split()[1] for line in lines[1:3]] == ["toy", "reuters"]


def test_a_corpus_that_is_not_here_is_estimated_from_its_card(tmp_path):
    """Memory and steps, marked; hours of the paper; and where the corpus would have to be."""
    where = [f"paths.runs={tmp_path}", f"paths.data_dir={tmp_path}", f"paths.cache_dir={tmp_path / 'cache'}"]
    words = ["-m", "experiment=cornet/table2", "encoder=xmlcnn", "head=none", "embedding=random", *where]
    lines = listing([*words, "dry_run=true"]).splitlines()
    assert lines[0].split() == ["#", "dataset", "hours", "GiB", "steps"]
    *_, gib, mark, steps = lines[1].split()
    assert float(gib.removeprefix("~")) > 0.5 and mark == "card"
    assert steps == "11,460"  # 15,249 documents, 40 a step, 30 epochs
    assert f"{tmp_path / 'eurlex'}: no such corpus folder" in lines[2]
    assert lines[-1].startswith("1 jobs; card: estimated from the counts on the corpus' card (1 jobs)")
    assert [path.name for path in tmp_path.iterdir()] == []  # nothing was made


@pytest.mark.parametrize(
    "words, hours",
    [
        (["encoder=xmlcnn", "head=none"], 19.57),
        (["encoder=meshprobenet", "head=cornet", "seed=3", "paths.runs=x"], 43.67),
        (["encoder=xmlcnn", "head=none", "recipe.max_epochs=3"], None),
        (["encoder=xmlcnn", "head=none", "dataset=eurlex"], None),
        (["encoder=kimcnn", "head=none"], None),
    ],
)
def test_hours_that_the_paper_prints(words, hours):
    """Of the row that a job is: with other settings it would be another."""
    if not (config_dir().parent / "experiments").is_dir():
        pytest.skip("experiments/ is not part of this installation")
    name = "eurlex" if "dataset=eurlex" in words else "wiki500k"
    for table in ("table4", "figure6"):  # a figure of the same runs
        assert printed_hours([f"experiment=cornet/{table}", *words], {"dataset": {"name": name}}) == hours
    assert printed_hours(words, {"dataset": {"name": name}}) is None  # not a job of a table


def test_why_a_job_is_unknown(tmp_path, monkeypatch):
    """Each reason once, with the jobs that it holds for; the hub is not asked for what a job would need of it."""
    asked = []
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **options: asked.append(address) or [])
    where = ["head=none", "seed=0,1", f"paths.runs={tmp_path}", "dry_run=true"]
    lines = listing(["-m", "encoder=br,bonsai", *where]).splitlines()
    assert lines[-2] == "unknown: 0, 1, 2, 3: a fitted system has no steps that could be tried"
    lines = listing(["-m", "encoder=transformer", "encoder.name=nobody/nothing", "offline=false", *where]).splitlines()
    assert lines[3].startswith("unknown: 0, 1: ") and lines[3].endswith("; the hub was not asked")
    assert len(lines) == 5
    assert not asked


def test_when_a_list_is_asked_for():
    assert asks_for_a_list(["--multirun", "seed=0,1", "dry_run=True"])
    assert asks_for_a_list(["hydra.mode=MULTIRUN", "seed=0,1", "dry_run=true"])
    assert not asks_for_a_list(["seed=0", "dry_run=true"]) and not asks_for_a_list(["-m", "seed=0,1", "dry_run=false"])


TINY = [
    *("dataset=toy", "dataset.source.train=160", "dataset.source.validation=20", "dataset.source.test=20"),
    *("encoder=bow", "encoder.embedding.size=8", "recipe.lcenet.rank=4", "data.batch_size=32", "prepare_workers=1"),
]


def test_jobs_that_were_never_run_are_estimated_once_a_model(tmp_path, monkeypatch, capsys):
    """Steps and memory from the model itself; epochs and the share of documents by arithmetic."""
    import xmtc.estimating.run as estimating
    from xmtc.config.make import make
    from xmtc.data.preparation import prepare

    words = [*TINY, f"paths.cache_dir={tmp_path}", f"paths.runs={tmp_path / 'runs'}"]
    ((_, config),) = compose_jobs(words)
    timed, tried = estimating.timed_seconds, []

    def two_hours(built, config):
        tried.append(config["head"]["_target_"].rsplit(".", 1)[-1])
        assert timed(built, config)["step"] > 0
        return {"step": 3600.0}

    monkeypatch.setattr(estimating, "timed_seconds", two_hours)
    sweep = ["-m", "head=none,lcenet", "data.fraction=1.0,0.25", "recipe.max_epochs=1,3", *words, "dry_run=true"]
    assert "estimate" not in listing(sweep) and not tried  # its corpus is not prepared, which a list does not do
    text = make(OmegaConf.to_container(config.encoder.text, resolve=True))
    prepare(make(OmegaConf.to_container(config.dataset.source)), "toy", text, tmp_path, 1)
    lines = listing(sweep).splitlines()
    assert tried == ["NoHead", "LCENet"] and "number 2" in capsys.readouterr().err
    hours = [float(line.split()[-2].removeprefix("~")) for line in lines[1:9]]
    assert hours == [5.0, 15.0, 2.0, 6.0] * 2  # 160 documents are 5 steps of 32, 40 are 2
    memory = [float(line.split()[-1].removeprefix("~")) for line in lines[1:9]]
    assert len(set(memory[:4])) == 1 and memory[0] > 0
    assert lines[-1] == "8 jobs; 56.00 hours one after the other; ~ is an estimate, evaluations not counted (8 jobs)"


@pytest.mark.parametrize(
    "words, steps, batches",
    [
        ([], 80, 80),
        (["trainer.max_epochs=2"], 20, 20),  # not those of the recipe
        # a batch a process
        (["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu", "hydra/launcher=local"], 40, 40),
        (["trainer.max_steps=7"], 7, 7),
        (["data.fraction=0.5", "data.limit=64"], 8, 8),
        (["trainer.accumulate_grad_batches=4"], 24, 80),  # of 4, 4 and 2 batches an epoch
        (["trainer.accumulate_grad_batches=4", "trainer.max_steps=7"], 7, 28),
    ],
)
def test_steps_are_those_that_the_trainer_takes(words, steps, batches):
    ((_, config),) = compose_jobs(["encoder=bow", "recipe.max_epochs=8", "data.batch_size=64", *words])
    config = OmegaConf.masked_copy(config, [key for key in config if key != "logger"])
    plain = OmegaConf.to_container(config, resolve=True)
    cost = Cost(3600.0, 0, documents=640)
    assert (cost.steps(plain), cost.hours(plain)) == (steps, batches)
