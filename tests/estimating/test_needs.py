"""The estimate of configured runs: before they start, on the command line, and when memory has run out."""

import errno
import json
import logging
from pathlib import Path

import pytest
import torch

import xmtc
from tests.system.conftest import SMALL
from xmtc import estimate as command
from xmtc.config import compose_checked
from xmtc.errors import InputError
from xmtc.estimating import run
from xmtc.estimating.run import Needs, needs, state_per_weight
from xmtc.estimating.shortage import fitting
from xmtc.shortage import is_shortage
from xmtc.training.build import build
from xmtc.training.optimizers import AdamW

BOW = ("encoder=bow", "encoder.embedding.size=16", "head=lcenet", "head.rank=4", "data.batch_size=32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def plain(folder, *overrides, options=BOW):
    from omegaconf import OmegaConf

    config = compose_checked([*SMALL, f"paths.cache_dir={folder}", *options, *overrides])
    return OmegaConf.to_container(config, resolve=True)


def test_weights_states_and_averages_are_counted_exactly(folder):
    config = plain(folder)
    built = build(config)
    count = sum(p.numel() for p in built.module.parameters())
    buffers = sum(b.nbytes for b in built.module.buffers())
    before = torch.get_rng_state()
    found = needs(built, config)
    assert torch.equal(torch.get_rng_state(), before)
    assert found.parameters == found.averages == 4 * count + buffers and found.optimizer == 8 * count
    average = {"_target_": "xmtc.training.averaging.RunningMean", "start_epoch": 0, "every": 1}
    both = needs(built, config | {"recipe": config["recipe"] | {"averaging": average}}).averages
    assert both == found.averages + 4 * count
    assert found.peak > found.parameters + found.optimizer + found.gradients


def test_best_weights_wait_in_memory_unless_they_are_large_or_on_a_gpu(folder, monkeypatch):
    config = plain(folder)
    built = build(config)
    there = needs(built, config)
    held = there.parameters
    assert there.averages == held and "best weights" not in there.phases
    on_gpu = needs(built, config | {"trainer": config["trainer"] | {"accelerator": "gpu"}})
    monkeypatch.setattr(run, "LARGE", held - 1)
    for found in (on_gpu, needs(built, config)):
        assert found.averages == 0 and found.phases["best weights"] == held


def test_running_statistics_are_those_of_training_alone(folder):
    encoder = ["encoder=xmlcnn", "encoder.filters=4", "encoder.normalise=batch", "embedding.size=8"]
    config = plain(folder, *encoder, options=["data.batch_size=8"])
    built = build(config)
    before = {name: value.clone() for name, value in built.module.state_dict().items()}
    needs(built, config)
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(value, before[name]) for name, value in built.module.state_dict().items())


def test_updates_in_the_sweep_spare_the_gradients_of_the_rows(folder):
    dense = plain(folder)
    rows = sum(
        p.numel() for name, p in build(dense).module.named_parameters()
        if name.startswith(("decoder", "head")) and not name.endswith("gather_bias")
    )  # fmt: skip
    found = {"dense": needs(build(dense), dense)}
    for name, options in {
        "adam": ["execution=chunked", "execution.chunk=4", "execution.update=adam"],
        "bf16": ["execution=chunked", "execution.update=sgd", "execution.weights=bf16"],
    }.items():
        config = plain(folder, *options)
        found[name] = needs(build(config), config)
    assert found["dense"].gradients - found["adam"].gradients == pytest.approx(
        4 * rows, rel=0.05
    )  # but for a chunk of 128
    assert found["adam"].optimizer == found["dense"].optimizer
    assert found["dense"].optimizer - found["bf16"].optimizer == pytest.approx(8 * rows, rel=0.01)
    assert found["dense"].parameters - found["bf16"].parameters == pytest.approx(2 * rows, rel=0.01)


def test_shards_hold_their_part_of_the_rows(folder):
    config = plain(folder, "execution=sharded")
    alone, four = (needs(build(config), config, processes) for processes in (1, 4))
    own = build(config).module
    rows = sum(p.nbytes for p in own.execution.side(1, "cpu").row_parameters())
    assert alone.parameters - four.parameters == pytest.approx(0.75 * rows, rel=0.02)
    assert alone.optimizer - four.optimizer == pytest.approx(1.5 * rows, rel=0.02)


def test_the_optimizers_state_is_found_by_making_a_step():
    assert state_per_weight(AdamW) == 2
    assert state_per_weight(lambda groups: torch.optim.SGD(groups, lr=0.1)) == 0
    assert state_per_weight(lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9)) == 1


@pytest.mark.parametrize("timed", [True, False])
def test_the_command_prints_rows_and_json(folder, capsys, timed):
    config = compose_checked([*SMALL, f"paths.cache_dir={folder}", *BOW])
    result = command.estimate(config, timed)
    out = capsys.readouterr().out.splitlines()
    assert json.loads(out[-1]) == result and any(line.startswith("peak of a process") for line in out)
    assert result["execution"] == "dense" and result["peak_bytes"] > result["activation_bytes"] > 0
    assert result["seconds_per_epoch"] == pytest.approx(5 * result["seconds_per_step"])  # 160 documents, 32 a step


def test_run_is_true_or_false(capsys):
    with pytest.raises(SystemExit) as left:
        command.main(["run=perhaps"])
    assert left.value.code == 2 and "run: expected true or false" in capsys.readouterr().err


@pytest.mark.parametrize("error, expected", [
    (MemoryError(), True),
    (torch.OutOfMemoryError("CUDA out of memory."), True),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), True),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), True),
    (RuntimeError("can't start new thread"), True),
    (ImportError("libx.so: failed to map segment from shared object"), True),
    (ImportError("libgomp.so.1: cannot allocate memory in static TLS block"), False),  # an order of imports
    (OSError(errno.ENOENT, "No such file or directory"), False),
    (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
    (ValueError("out of memory"), False),
], ids=repr)  # fmt: skip
def test_what_counts_as_out_of_memory(error, expected):
    assert is_shortage(error) is expected


def test_a_real_failed_allocation_is_recognised():
    with pytest.raises((RuntimeError, MemoryError)) as failed:
        torch.empty(2**55)
    assert is_shortage(failed.value)


def test_a_run_out_of_memory_ends_in_one_line_with_settings(folder, tmp_path, monkeypatch, caplog):
    from xmtc.training.module import XMTCModule

    caplog.set_level(logging.INFO)
    asked = []

    def too_much(self, batch, number):
        asked.append(number)
        return torch.empty(2**55)

    monkeypatch.setattr(XMTCModule, "training_step", too_much)
    config = [*SMALL, *BOW, f"paths.cache_dir={folder}", f"paths.runs={tmp_path}"]
    with pytest.raises(InputError, match=r"^out of memory \(.*\): (these would fit: |lower data.batch_size)") as raised:
        xmtc.run(config)
    assert len(asked) == 1 and "\n" not in str(raised.value)
    assert any("estimated peak" in message for message in caplog.messages)


def test_settings_that_fit_come_least_intrusive_first(folder):
    config = plain(folder, "data.batch_size=64")
    built = build(config)
    real = needs(built, config)
    failed = Needs(real.parameters, real.optimizer, 0, real.gradients, real.phases, 100 * 2**30, "dense")
    names = [name for name, _ in fitting(failed, built, config, 1, memory=8 * 2**30)]
    assert names == [
        "execution=chunked", "execution=chunked execution.keep_raw=false",
        "execution=chunked execution.keep_raw=false execution.update=adam",
    ]  # fmt: skip
    assert fitting(failed, built, config, 1, memory=2**20) == []  # the process alone is larger
    averaged = config | {"recipe": config["recipe"] | {"averaging": {"decay": 0.9}}}
    assert "data.batch_size=32" in fitting(failed, built, averaged, 1, memory=8 * 2**30)[2][0]
    assert built.module.execution.describe() == "dense"


def test_the_estimate_stands_beside_the_measured_peak(folder, tmp_path):
    Path("/proc/self/clear_refs").write_text("5")  # the peak of this process starts anew: other tests held more
    result = xmtc.run([*SMALL, *BOW, f"paths.cache_dir={folder}", f"paths.runs={tmp_path}"])
    assert 0.5 < result["estimated_memory_bytes"] / result["peak_memory_bytes"] < 1.5
