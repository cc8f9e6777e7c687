"""A training step at Wiki-500K's shape: XML-CNN and MeSHProbeNet with CorNet, the label side updated in the sweep."""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from xmtc.bench.compare import Bench
from xmtc.bench.memory import peak_beyond
from xmtc.bench.step import batch_of, vocabulary_of
from xmtc.data.embedding import Random
from xmtc.data.text import Words
from xmtc.encoders.meshprobenet import MeSHProbeNet
from xmtc.encoders.xmlcnn import XMLCNN
from xmtc.execution.chunked import Chunked
from xmtc.heads.cornet import CorNet
from xmtc.training.objectives import Objective
from xmtc.training.optimizers import AdamW, parameter_groups

TRAIN, EPOCHS = 1_776_000, 15  # 8,880 steps of 200 documents (Wiki-500K less 4,000 of validation), the papers' epochs


def wiki500k_step(
    documents: int = 200,
    tokens: int = 500,
    words: int = 500_000,
    labels: int = 501_008,
    rank: int = 100,
    steps: int = 5,
) -> Bench:
    """facts by encoder: documents a second, hours of 15 epochs at that rate, bytes of everything at the peak (weights,
    states, activations). Rows are bfloat16, stochastically rounded, updated by SGD within the last sweep; the rest
    under bf16 autocast on a GPU."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    batch = batch_of(documents, tokens, words, labels, device)
    found = {}
    for name, encoder, options in (("xmlcnn", XMLCNN, {}), ("meshprobenet", MeSHProbeNet, {"bottleneck": 512})):
        found[name] = _measure(encoder, options, batch, words, labels, rank, steps, device)
    shape = {"documents": documents, "tokens": tokens, "words": words, "labels": labels, "rank": rank}
    return Bench(None, None, shape | {"device": device} | found)


def _measure(encoder, options: dict, batch, words: int, labels: int, rank: int, steps: int, device: str) -> dict:
    torch.manual_seed(0)
    parts = nn.ModuleDict({"encoder": encoder(vocabulary_of(words), Words(), Random(300), **options)})
    parts["decoder"] = parts["encoder"].make_decoder(labels)
    parts["head"] = CorNet(labels, rank, 2)
    parts.to(device)
    objective = Objective()
    execution = Chunked(parts["decoder"], parts["head"], objective, keep_raw=False, update="sgd", weights="bf16")
    execution.start()
    optimizer = AdamW(parameter_groups(parts), lr=1e-3)
    execution.follow(optimizer)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = execution.loss(parts["encoder"](batch), batch.labels)
        loss.backward()
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    held = sum(p.nbytes for p in parts.parameters()) + _states(optimizer)
    peak = peak_beyond(step) + (torch.cuda.memory_allocated() if device == "cuda" else held)
    seconds = []
    for _ in range(steps):
        begun = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begun)
    rate = len(batch) / statistics.median(seconds)
    return {"documents_per_second": rate, "hours": TRAIN * EPOCHS / rate / 3600, "peak_bytes": peak}


def _states(optimizer) -> int:
    return sum(t.nbytes for state in optimizer.state.values() for t in state.values() if torch.is_tensor(t))
