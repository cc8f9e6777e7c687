"""The choice follows from sizes and the memory in all, and says why."""

import logging
from pathlib import Path

from xmtc.decoders.linear import LinearDecoder
from xmtc.execution.auto import auto, total_memory
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.heads.cornet import CorNet
from xmtc.heads.lcenet import LCENet
from xmtc.training.objectives import Objective

L = 1024  # x 64 documents x 12 tensors x 4 bytes = 3 MiB


def choose(mebibytes, head=None, documents=64):
    head = CorNet(L, rank=2, blocks=2) if head is None else head
    return auto(LinearDecoder(2, L), head, Objective(), documents, 8, mebibytes / 1024)


def test_dense_up_to_an_eighth_of_the_memory_and_chunked_above(caplog):
    caplog.set_level(logging.INFO)
    assert type(choose(24)) is Dense
    assert "dense logits would take 0.0029 GiB of 0.0234, no more than one eighth" in caplog.text
    chosen = choose(23.9)
    assert type(chosen) is Chunked and chosen.keep_raw == 1
    assert "chunked (raw logits kept)" in caplog.messages[-1]


def test_as_many_quarters_of_the_raw_logits_are_kept_as_fit(caplog):
    caplog.set_level(logging.INFO)
    # a quarter of a mebibyte is 1/32 of 8
    assert [choose(size).keep_raw for size in (8, 7.9, 6, 5.9, 2, 1.9)] == [1, 0.75, 0.75, 0.5, 0.25, 0]
    assert "75% of the raw logits kept" in caplog.messages[1] and "recomputed" in caplog.messages[-1]


def test_evaluation_counts_too():
    assert type(choose(24, documents=1)) is Dense
    chosen = auto(LinearDecoder(2, L), CorNet(L, 2, 2), Objective(), 1, 4096, 24 / 1024)
    assert type(chosen) is Chunked


def test_a_full_head_stays_dense():
    assert type(choose(0.001, LCENet(L, bottleneck=False))) is Dense


def test_this_machine_has_memory():
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemTotal"))
    assert total_memory("cpu") == int(line.split()[1]) * 1024
