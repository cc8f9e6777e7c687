"""The choice follows from the estimate and the memory in all, and says why."""

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from xmtc.config import compose_checked
from xmtc.config.make import make
from xmtc.decoders.base import LabelDecoder
from xmtc.decoders.given import GivenDecoder
from xmtc.decoders.label_attention import LabelAttentionDecoder
from xmtc.decoders.linear import LinearDecoder
from xmtc.execution import auto as module
from xmtc.execution.auto import auto, node_of, total_memory
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.execution.shortlist import Shortlist
from xmtc.heads.cornet import CorNet
from xmtc.heads.lcenet import LCENet
from xmtc.heads.none import NoHead
from xmtc.training.objectives import Objective

L = 1024
ROW = 4 * (2 + 1) + 2 * 4 * (2 * 2 + 1)  # bytes of a label's weights: two features, two blocks of rank 2


def choose(mebibytes, head=None, documents=64, evaluation=8, objective=True, **options):
    head = CorNet(L, rank=2, blocks=2) if head is None else head
    made = Objective() if objective else None
    return auto(LinearDecoder(2, L), head, made, documents, evaluation, memory_gib=(mebibytes or 0) / 1024, **options)


def test_dense_up_to_an_eighth_of_what_weights_leave_and_chunked_above(caplog):
    caplog.set_level(logging.INFO)
    needed = module.dense_bytes(LinearDecoder(2, L), CorNet(L, 2, 2), Objective(), 64, 8, 1)
    held = 4 * (ROW * L + 2 * 4 * 2)  # weights, gradients, two states; and the two biases that are shared
    edge = (8 * needed + held) / 2**20
    assert type(choose(edge + 0.001)) is Dense
    assert "of the 0.0" in caplog.text and "that labels' weights leave, no more than an eighth" in caplog.text
    chosen = choose(edge - 0.001)
    assert type(chosen) is Chunked and chosen.keep_raw == 1
    assert "chunked (raw logits kept)" in caplog.messages[-1]


def test_as_many_quarters_of_the_raw_logits_are_kept_as_fit(caplog):
    caplog.set_level(logging.INFO)
    # a quarter of a mebibyte is 1/32 of 8
    assert [choose(size).keep_raw for size in (8, 7.9, 6, 5.9, 2, 1.9)] == [1, 0.75, 0.75, 0.5, 0.25, 0]
    assert "75% of the raw logits kept" in caplog.messages[1] and "recomputed" in caplog.messages[-1]


def test_evaluation_counts_too_and_alone_where_nothing_is_trained(monkeypatch):
    assert type(choose(24, documents=1)) is Dense
    assert type(choose(24, documents=1, evaluation=4096)) is Chunked
    monkeypatch.setattr(module, "total_memory", lambda device: 24 * 2**20)  # of the machine that predicts
    assert type(choose(1000, documents=10**6, objective=False)) is Dense
    assert type(choose(1000, documents=1, evaluation=4096, objective=False)) is Chunked


def test_of_what_is_not_trained_the_weights_alone_are_held(monkeypatch):
    needed = module.dense_bytes(LinearDecoder(2, L), CorNet(L, 2, 2), None, 64, 8, 1)
    edge = 8 * needed + ROW * L + 2 * 4 * 2
    monkeypatch.setattr(module, "UNSEEN_SHARE", 0)
    for memory, kind in ((edge, Dense), (edge - 1, Chunked)):
        monkeypatch.setattr(module, "total_memory", lambda device, memory=memory: memory)
        assert type(choose(None, objective=False)) is kind


def test_what_was_chosen_can_be_made_again():
    for chosen in (choose(1000), choose(6)):
        node = node_of(chosen)
        again = make(node, decoder=chosen.decoder, head=chosen.head, objective=chosen.objective)
        assert type(again) is type(chosen) and getattr(again, "keep_raw", 1) == getattr(chosen, "keep_raw", 1)
    assert node_of(Shortlist(LinearDecoder(2, L), NoHead(L), Objective())) is None


def test_a_gpus_memory_is_that_of_the_first(monkeypatch):
    sizes = [3 * 2**30, 2**30]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: SimpleNamespace(total_memory=sizes[i]))
    assert total_memory("cuda") == 3 * 2**30


def test_the_memory_that_counts_is_that_of_the_device_that_trains(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(module, "total_memory", lambda device: asked.append(device) or 2**40)
    for accelerator in ("gpu", "cuda", "auto", "cpu"):
        auto(LinearDecoder(2, L), NoHead(L), Objective(), 64, 8, accelerator=accelerator)
    assert asked == ["cuda", "cuda", "cuda", "cpu"]


def test_tokens_count_for_a_decoder_that_reads_each():
    parts = LabelAttentionDecoder(4, L, [3]), NoHead(L), Objective()
    made = [type(auto(*parts, 16, 16, tokens, memory_gib=64 / 1024)) for tokens in (1, 300, None)]
    assert made == [Dense, Chunked, Chunked]
    # sixteen documents' logits are a 2,048th of 128 mebibytes, those of all their tokens are not
    assert [type(auto(*parts, 16, 16, tokens, memory_gib=130 / 1024)) for tokens in (1, 300)] == [Dense, Chunked]


def test_small_label_spaces_are_not_looked_at(monkeypatch, caplog):
    """So that nothing is spent on them; and random numbers are those of execution=dense in any case."""
    caplog.set_level(logging.INFO)
    parts = LinearDecoder(2, L), LCENet(L, 2, 2, dropout=0.5), Objective()
    before = torch.get_rng_state()
    auto(*parts, 64, 8, memory_gib=0.01)
    assert torch.equal(torch.get_rng_state(), before) and "logits take" in caplog.messages[-1]
    # a 2,048th of 512 mebibytes are 64 documents' logits of 1,024 labels
    for mebibytes, words in ((512, "small beside 0.5 GiB"), (511.99, "logits take")):
        choose(mebibytes)
        assert words in caplog.messages[-1]
    monkeypatch.setattr(module, "dense_bytes", None)
    assert type(choose(600)) is Dense and "small beside 0.586 GiB" in caplog.messages[-1]


def test_a_full_head_stays_dense():
    assert type(choose(0.001, LCENet(L, bottleneck=False))) is Dense


def test_float16_stays_dense_where_it_is_trained():
    assert type(choose(1, precision="16-mixed")) is type(choose(1, precision="bf16-true")) is Dense
    assert type(choose(1, precision="bf16-mixed")) is Chunked


def test_a_part_that_cannot_be_cut_stays_dense(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    head = NoHead(L)
    head.blocks.append(torch.nn.Identity())
    assert type(choose(0.001, head)) is Dense and "dense, for NoHead knows no other" in caplog.messages[-1]
    monkeypatch.delattr(LabelDecoder, "features_shape")
    assert type(choose(0.001)) is Dense and "cannot be estimated (AttributeError" in caplog.messages[-1]
    monkeypatch.undo()
    assert type(auto(GivenDecoder(0), NoHead(0), Objective(), 4, 4)) is Dense


def test_this_machine_has_memory(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "LIMITS", (str(tmp_path / "absent"), str(tmp_path / "limit")))
    line = next(x for x in Path("/proc/meminfo").read_text().splitlines() if x.startswith("MemTotal"))
    for limit in ("max\n", str(2**60)):
        (tmp_path / "limit").write_text(limit)
        assert total_memory("cpu") == int(line.split()[1]) * 1024
    (tmp_path / "limit").write_text("1073741824\n")  # a container that may use less
    assert total_memory("cpu") == 2**30


@pytest.mark.parametrize("accelerator", ["gpu", "auto"])
def test_a_gpu_that_is_not_there_is_not_asked(accelerator, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert type(auto(LinearDecoder(2, 3), NoHead(3), None, 1, 1, accelerator=accelerator)) is Dense


@pytest.mark.parametrize("overrides, chosen", [
    ([], "auto.auto"), (["recipe=paper"], "dense.Dense"), (["recipe=paper", "execution=chunked"], "chunked.Chunked"),
    (["experiment=yso"], "chunked.Chunked"),
], ids=str)  # fmt: skip
def test_the_papers_are_dense_and_the_rest_is_automatic(overrides, chosen):
    assert compose_checked(overrides).execution._target_ == f"xmtc.execution.{chosen}"
