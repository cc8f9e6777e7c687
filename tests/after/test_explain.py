"""Attributions add up, agree with direct computation, and find planted causes."""

import csv
import errno
import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import xmtc
from xmtc.errors import InputError
from xmtc.explain import main
from xmtc.explaining.attribution import attribute, chord, context_evidence
from xmtc.explaining.document import explain, markdown
from xmtc.explaining.influence import Influence, strongest, table
from xmtc.explaining.words import attention, integrated_gradients
from xmtc.heads.block import ENTRY, CorrelationBlock, FullBlock
from xmtc.labels import Label

L, R = 7, 3


def test_a_bar_in_a_name_does_not_end_a_cell():
    labels = [Label("a|b", "A | B", 1), Label("c", "C", 1)]
    row = table(SimpleNamespace(labels=labels), [Influence(0, 1, 0.5)]).splitlines()[2]
    assert row == r"| A \| B [a\|b] | C [c] | +0.50 |"


def blocks():
    for entry in ENTRY:
        for middle in ("elu", "identity"):
            for residual in (True, False):
                yield CorrelationBlock(L, R, entry, middle, residual)
    yield FullBlock(L, "sigmoid", True, False, 1e6)
    yield FullBlock(L, "tanh", False, False, 1e6)


def name_of(block):
    return f"{type(block).__name__}-{block.entry}-{getattr(block, 'middle', '')}-{block.residual}"


@pytest.mark.parametrize("block", list(blocks()), ids=name_of)
def test_parts_add_up_to_the_block(block):
    block = block.double()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter)
    document, reference = torch.randn(2, L).double()
    targets = torch.tensor([4, 0])
    with torch.no_grad():
        found = attribute(block, document, reference, targets)
        assert found.completeness_error < 1e-12
        torch.testing.assert_close(found.output, block(document[None])[0, targets])
        # a label whose logit is the reference's has no part, and one label alone has all of the difference
        alone = reference.clone()
        alone[2] = document[2]
        single = attribute(block, alone, reference, targets)
        kept = (alone - reference)[targets] if block.residual else 0
        difference = block(alone[None])[0, targets] - block(reference[None])[0, targets] - kept
        torch.testing.assert_close(single.evidence[:, 2], difference)
        assert (single.evidence[:, [0, 1, 3, 4, 5, 6]] == 0).all()
        if isinstance(block, CorrelationBlock):
            torch.testing.assert_close(found.contexts.sum(1), found.evidence.sum(1))
            for context in range(R):
                moved = context_evidence(block, document, reference, context)
                torch.testing.assert_close(moved.sum(), chord(block, document, reference)[1][context])


def test_the_document_that_is_its_own_reference():
    block, same = CorrelationBlock(L, R), torch.randn(L)
    with torch.no_grad():
        found = attribute(block, same, same, torch.arange(L))
    assert (found.evidence == 0).all() and found.completeness_error < 1e-6


@pytest.mark.parametrize("head", ["cornet", "lcenet"])
def test_a_document_explained(make_run, encoders, head, test_texts):
    options = ["head.bottleneck=false", "head.blocks=2"] if head == "lcenet" else ["head.rank=4"]  # cornet has two
    model = xmtc.load(make_run(*encoders["bow"], f"head={head}", *options))
    text = test_texts[3][0]
    found = explain(model, text, k=4)
    json.dumps(found)
    (raw,), (enhanced,) = model.both([text], k=4)
    assert found["raw"] == raw.labels and found["enhanced"] == enhanced.labels
    every = model.both([text], k=model.num_labels)
    assert found["completeness_error"] < 1e-4
    for entry in found["labels"]:
        for name, ranking in zip(("raw", "enhanced"), every, strict=True):
            place = ranking[0].labels.index(entry["id"])
            assert entry[f"{name}_rank"] == place + 1
            assert 1 / (1 + np.exp(-entry[f"{name}_logit"])) == pytest.approx(ranking[0].scores[place], abs=1e-5)
        first, second = entry["blocks"]
        assert first["kept"] == pytest.approx(entry["raw_logit"], abs=1e-5)
        assert second["kept"] == pytest.approx(first["output"], abs=1e-5)
        assert second["output"] == pytest.approx(entry["enhanced_logit"], abs=1e-5)
        for block in (first, second):
            total = block["kept"] + block["base"] + block["other"] + sum(amount for *_, amount in block["evidence"])
            assert total == pytest.approx(block["output"], abs=1e-4)
        assert (entry["moved"] == "promoted") == (entry["enhanced_rank"] < entry["raw_rank"])
    text = markdown(found)
    assert all(entry["name"] in text for entry in found["labels"]) and "without the head" in text


@pytest.mark.parametrize("encoder", ["bow", "xmlcnn", "bertxml", "attentionxml"])
def test_words_add_up_to_the_logit(make_run, encoders, encoder):
    pytest.importorskip("captum")
    execution = "chunked" if encoder == "bow" else None  # whose logits have no gradients
    model = xmtc.load(make_run(*encoders[encoder], "head=cornet", "head.rank=4"), execution=execution)
    text = "g0c1w1 g0c2w0 n3 g0c1w1 neverseen"
    found = integrated_gradients(model, text, 5, steps=64)
    logit = model.execution.logits(model.encoder(model.encode([text])))[1][0, 5].item()
    assert found["logit"] == pytest.approx(logit, abs=1e-5)
    amounts = dict(found["words"])
    assert set(amounts) <= {"g0c1w1", "g0c2w0", "n3", "(unknown words)"} and len(amounts) >= 3
    if encoder == "bow":  # nothing but words has vectors
        assert sum(amounts.values()) == pytest.approx(logit - found["without"], abs=0.02 + found["error"])
    assert found["error"] < 0.05


def test_attention_where_the_encoder_shows_it(make_run, encoders, run):
    options = ["encoder=meshprobenet", "encoder.hidden=4", "encoder.layers=1", "embedding.size=8", "head=none"]
    found = attention(xmtc.load(make_run(*options)), "g0c1w1 g0c2w0 n3")
    assert [word for word, _ in found] == ["g0c1w1", "g0c2w0", "n3"]
    assert sum(weight for _, weight in found) == pytest.approx(1, abs=1e-5)
    shown = markdown(
        {"head": False, "raw": [], "enhanced": [], "labels": [], "completeness_error": 0.0, "attention": found}
    )
    most = max(found, key=lambda pair: pair[1])
    assert f"Read most: {most[0]} {100 * most[1]:.0f} %" in shown
    assert attention(xmtc.load(run), "g0c1w1") is None


@pytest.fixture
def planted(run):
    """The run's model with a head that only knows: label 3 raises label 8 by 2, label 5 lowers label 9 by 1."""
    model = xmtc.load(run)
    block = CorrelationBlock(model.num_labels, 2, middle="identity")
    for parameter in block.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.no_grad():
        block.gather_weight[3, 0], block.spread_weight[8, 0] = 1, 2
        block.gather_weight[5, 1], block.spread_weight[9, 1] = 1, -1
    model.head.blocks[0] = block
    return model


def test_planted_influences_are_found(planted):
    found = strongest(planted, 5)
    assert [(one.source, one.target) for one in found] == [(3, 8), (5, 9)]
    empty = planted.decoder(planted.encoder(planted.encode([""])))[0]
    for one, size in zip(found, (2, -1), strict=True):
        certain, before = torch.sigmoid(torch.tensor(10.0)), empty[one.source].sigmoid()
        assert one.logits == pytest.approx(size * float(certain - before))
    common = planted.labels.frequency.argsort()[::-1]
    assert len(strongest(planted, 5, sources=1)) == int(common[0] in (3, 5))


def test_a_head_of_ones_own_is_shown_as_far_as_it_is_known(planted, test_texts):
    class Swap(torch.nn.Module):
        def forward(self, logits):
            return logits.flip(-1)

    planted.head.blocks[0] = Swap()
    found = explain(planted, test_texts[0][0], k=3, words=False)
    (raw,), (enhanced,) = planted.both([test_texts[0][0]], k=3)
    assert found["raw"] == raw.labels != enhanced.labels == found["enhanced"]
    assert found["completeness_error"] is None and all(entry["blocks"] == [] for entry in found["labels"])
    assert "is not known" in markdown(found)


def test_without_a_head_nothing_is_said_of_one(other_run, test_texts):
    model = xmtc.load(other_run)
    text = test_texts[0][0]
    found = explain(model, text, k=3, words=False)
    (answer,) = model.predict([text], k=3)
    assert found["head"] is False and found["raw"] == found["enhanced"] == answer.labels
    first, rest = markdown(found).split("\n\n", 1)
    assert first.splitlines()[:2] == ["| | label |", "|---:|---|"] and len(first.splitlines()) == 2 + 3
    assert "(rank 1): logit " in rest and "no correlation head" in rest
    for words in ("with the head", "same", " to ", "Sums of parts", "promoted"):
        assert words not in markdown(found)
    found["labels"][0]["name"] = "a | b"
    assert "| 1 | a \\| b [" in markdown(found)


def test_counts_of_the_python_api(run, planted):
    model = xmtc.load(run)
    assert explain(model, "g0c1w1", k=np.int64(2), words=False) == explain(model, "g0c1w1", k=2, words=False)
    assert strongest(planted, np.int64(2)) == strongest(planted, 2)
    for bad in (0, True, 2.0, "2"):
        with pytest.raises(InputError, match="^k: expected a whole number of at least 1"):
            explain(model, "a", k=bad)
        with pytest.raises(InputError, match="^count: expected a whole number of at least 1"):
            strongest(planted, bad)


def test_the_command(run, other_run, tmp_path, capsys):
    assert main([str(run), "--text", "g0c1w1 g0c2w0", "-k", "2"]) == 0
    assert "with the head" in capsys.readouterr().out
    (tmp_path / "a.log").write_text('{"body": "g0c1w1"}\n{"body": ""}\n')
    words = ["--input", str(tmp_path / "a.log"), "--format", "jsonl", "--text-column", "body", "--json", "--no-words"]
    assert main([str(run), *words]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2 and "words" not in lines[0]["labels"][0]
    # of an empty document, nothing differs from the reference
    assert all(block["evidence"] == [] for entry in lines[1]["labels"] for block in entry["blocks"])
    assert main([str(run), "--model", "--count", "7", "--output", str(tmp_path / "graph")]) == 0
    rows = list(csv.DictReader((tmp_path / "graph" / "influences.csv").open()))
    assert len(rows) == 7 and capsys.readouterr().out.count("\n| ") == 7 + 0
    assert (tmp_path / "graph" / "influences.png").read_bytes().startswith(b"\x89PNG")


def test_influences_are_told_also_where_they_cannot_be_kept(run, monkeypatch, capsys):
    def refuse(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write anywhere
    assert main([str(run), "--model", "--count", "3", "--output", "/no/where"]) == 2
    said = capsys.readouterr()
    assert said.out.count("|") > 6 and said.err.startswith("xmtc.explain: cannot write to /no/where (")


@pytest.mark.parametrize("words", [["--output", "explained.md"], ["--count", "5"]])
def test_options_of_the_model_are_not_ignored_for_documents(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(["run", "--text", "g0c1w1", *words])
    assert end.value.code == 2 and "--count and --output go with --model" in capsys.readouterr().err


def test_ctrl_c_and_a_closed_pipe_end_quietly(run, python, monkeypatch, capsys):
    words = [run, "--model", "--count", "3000", "--output", run.parent / "out"]
    command = [python, "-m", "xmtc.explain", *map(str, words)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    _, errors = process.communicate(timeout=280)
    assert process.returncode == 141 and errors == b""

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(xmtc, "load", stop)
    assert main([str(run), "--model"]) == 130
    assert capsys.readouterr().err == "xmtc.explain: interrupted\n"


def test_what_cannot_be_explained(run, other_run, tmp_path, capsys):
    (tmp_path / "bad.jsonl").write_text("{")
    fused = shutil.copytree(run, tmp_path / "no")
    (fused / "checkpoints" / "best.ckpt").unlink()
    for words in (
        [other_run, "--model"],
        [run, "--input", tmp_path / "bad.jsonl"],
        [fused, "--text", "a"],
        [run, "--input", "/nowhere.txt"],
    ):
        assert main([str(word) for word in words]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(InputError, match="ensemble"):
        explain(object(), "text")
