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
    assert type(chosen) is Chunked and chosen.keep_raw
    assert "chunked (raw logits kept)" in caplog.messages[-1]


def test_raw_logits_are_recomputed_where_they_do_not_fit(caplog):
    caplog.set_level(logging.INFO)
    assert not choose(7.9).keep_raw and choose(8).keep_raw  # a quarter of a mebibyte is 1/32 of 8
    assert "recomputed" in caplog.messages[0]


def test_evaluation_counts_too():
    assert type(choose(24, documents=1)) is Dense
    chosen = auto(LinearDecoder(2, L), CorNet(L, 2, 2), Objective(), 1, 4096, 24 / 1024)
    assert type(chosen) is Chunked


def test_a_full_head_stays_dense():
    assert type(choose(0.001, LCENet(L, bottleneck=False))) is Dense


def test_this_machine_has_memory():
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemTotal"))
    assert total_memory("cpu") == int(line.split()[1]) * 1024
