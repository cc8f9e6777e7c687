"""Whole runs by every execution: same scores, same checkpoints, and what cannot be combined is refused."""

import json
import os
import subprocess

import numpy as np
import pytest
import torch

import xmtc
from xmtc.errors import InputError

OPTIONS = (
    "encoder=bow",
    "head=lcenet",
    "encoder.embedding.size=16",
    "encoder.dropout=0",
    "encoder.word_dropout=0",
    "head.rank=4",
    "head.centred=true",  # a constant a label, which executions must treat as they treat weights
    "data.batch_size=32",
)
CHUNKED = ("execution=chunked", "execution.chunk=30")
PARTS = {
    "chunked": CHUNKED,
    "recomputed": (*CHUNKED, "execution.keep_raw=false"),
    "adam": (*CHUNKED, "execution.update=adam"),
    "sharded": ("execution=sharded", "execution.chunk=30"),
    "auto": ("execution.memory_gib=0.0001",),  # the default, on a machine without memory: chunks
}


@pytest.fixture(scope="module")
def dense(tmp_path_factory, cache):
    from tests.system.conftest import SMALL

    base = tmp_path_factory.mktemp("dense")
    result = xmtc.run([*SMALL, f"paths.cache_dir={cache}", f"paths.runs={base}", *OPTIONS, "recipe.max_epochs=2"])
    (folder,) = base.glob("*/*/*")
    return result, folder


def state(folder, name="best"):
    return torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)["state_dict"]


@pytest.mark.parametrize("execution", PARTS)
def test_a_run_is_the_same_by_every_execution(train, dense, execution):
    result, folder = train(*OPTIONS, "recipe.max_epochs=2", *PARTS[execution])
    assert result["test"] == pytest.approx(dense[0]["test"], abs=1e-6)
    assert result["parameters"] == dense[0]["parameters"]
    assert "chunked" in result["provenance"]["execution"] or execution == "sharded"
    for name, value in state(dense[1]).items():
        torch.testing.assert_close(state(folder)[name], value, rtol=1e-3, atol=1e-5)
    ours, theirs = (np.load(place / "predictions.npz") for place in (folder, dense[1]))
    np.testing.assert_allclose(ours["scores"], theirs["scores"], rtol=1e-3, atol=1e-5)


def test_by_default_a_small_label_space_is_dense_to_the_bit(train, dense):
    result, folder = train(*OPTIONS, "recipe.max_epochs=2", "execution=dense")
    assert dense[0]["provenance"]["execution"] == "dense" and result["test"] == dense[0]["test"]
    assert all(torch.equal(state(folder)[name], value) for name, value in state(dense[1]).items())


def test_the_state_of_updates_in_the_sweep_is_resumed(train):
    """As the state of the ordinary optimiser is: had it been lost, the second epoch would differ."""
    scores = []
    for execution in ((), PARTS["adam"]):
        _, folder = train(*OPTIONS, *execution, "recipe.max_epochs=1")
        result = xmtc.run([f"resume={folder}", "recipe.max_epochs=3"])
        scores.append((result["test"], state(folder, "last")["decoder.weight"]))
    assert scores[1][0] == pytest.approx(scores[0][0], abs=1e-6)
    torch.testing.assert_close(scores[1][1], scores[0][1], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("combined, message", [
    (["trainer.accumulate_grad_batches=2"], "accumulate_grad_batches"),
    (["averaging"], "recipe.averaging"),
    (["trainer.precision=64-true"], "trainer.precision=64-true"),
], ids=["accumulation", "averaging", "double"])  # fmt: skip
def test_what_an_update_in_the_sweep_cannot_be_combined_with(combined, message):
    from types import SimpleNamespace

    from xmtc.training.session import fit_execution

    key = combined[0]
    config = {
        "recipe": {"averaging": {"decay": 0.9} if "averaging" in key else None, "clipping": None},
        "trainer": {"accumulate_grad_batches": 2 if "accumulate" in key else 1},
    }
    config["trainer"]["precision"] = "64-true" if "precision" in key else "32-true"
    execution = SimpleNamespace(update="adam", collective=False)
    with pytest.raises(InputError, match=f"execution.update=adam.*{message}"):
        fit_execution(execution, config, 1)


@pytest.mark.parametrize("precision", ["bf16-true", "16-true"])
def test_weights_in_half_precision_are_not_trained_in_sweeps(precision):
    from xmtc.decoders.linear import LinearDecoder
    from xmtc.execution.chunked import Chunked
    from xmtc.execution.dense import Dense
    from xmtc.execution.shortlist import Shortlist
    from xmtc.heads.none import NoHead
    from xmtc.training.objectives import Objective
    from xmtc.training.session import fit_execution

    config = {"recipe": {"averaging": None, "clipping": None}, "trainer": {"precision": precision}}
    parts = LinearDecoder(4, 6), NoHead(6), Objective()
    for execution in (Dense(*parts), Shortlist(*parts)):
        fit_execution(execution, config, 1)
    with pytest.raises(InputError, match=f"trainer.precision={precision}: only with execution=dense or shortlist"):
        fit_execution(Chunked(*parts), config, 1)


def test_an_update_in_several_processes_wants_shards():
    from types import SimpleNamespace

    from xmtc.training.session import fit_execution

    config = {"recipe": {"averaging": None, "clipping": None}, "trainer": {"accumulate_grad_batches": 1}}
    of_label_rows = SimpleNamespace(label_parameters=lambda: {"weight": None})
    with pytest.raises(InputError, match="execution=sharded"):
        fit_execution(SimpleNamespace(update="adam", collective=False), config, 2)
    fit_execution(SimpleNamespace(update="adam", collective=True, decoder=of_label_rows), config, 2)


@pytest.mark.slow(30)
@pytest.mark.parametrize("update", ["null", "adam"])
def test_two_processes_with_shards_train_what_one_trains(train, small, tmp_path, dense, python, update):
    """160 documents in batches of 2 x 16: the steps of one process with batches of 32."""
    folder = tmp_path / "run"
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.devices=2"]
    options = [*OPTIONS[:-1], "data.batch_size=16", "recipe.max_epochs=2", *PARTS["sharded"]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [python, "-m", "xmtc.run", *small, *options, *ddp, f"hydra.run.dir={folder}"]
    done = subprocess.run(
        [*command, f"execution.update={update}"], env=environment, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((folder / "metrics.json").read_text())
    assert result["test"] == pytest.approx(dense[0]["test"], abs=1e-6)
    assert "sharded" in result["provenance"]["execution"]
    # written by two processes, complete, and read by one that knows of no shards
    for name, value in state(dense[1]).items():
        torch.testing.assert_close(state(folder)[name], value, rtol=1e-3, atol=1e-5)
    assert set(state(folder, "last")) == set(state(dense[1], "last"))
    again, _ = train(*OPTIONS, f"init_from={folder}", "recipe.optimizer.lr=1e-12")
    assert again["test"] == pytest.approx(result["test"], abs=1e-6)
