"""The whole training step: ours against an eager float32 step with dense targets, as the papers' authors train."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.bench.compare import Bench
from xmtc.data.batch import Batch, Labels
from xmtc.data.embedding import Random
from xmtc.data.text import Words
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.xmlcnn import XMLCNN
from xmtc.execution.dense import Dense
from xmtc.heads.cornet import CorNet
from xmtc.training.objectives import Objective
from xmtc.training.optimizers import AdamW, parameter_groups


class Plain(nn.Module):
    """XML-CNN and CorNet as one writes them down: convolutions over word vectors, dropout, two correlation blocks."""

    def __init__(self, words: int, labels: int, rank: int, size: int = 300, filters: int = 128, features: int = 512):
        super().__init__()
        self.table = nn.Embedding(words, size, padding_idx=0, sparse=True)
        self.convolutions = nn.ModuleList(nn.Conv2d(1, filters, (w, size), padding=(w - 1, 0)) for w in (2, 4, 8))
        self.pool = nn.AdaptiveMaxPool1d(8)
        self.bottleneck, self.output = nn.Linear(3 * 8 * filters, features), nn.Linear(features, labels)
        self.dropout = nn.Dropout(0.5)
        self.gathers = nn.ModuleList(nn.Linear(labels, rank) for _ in range(2))
        self.spreads = nn.ModuleList(nn.Linear(rank, labels) for _ in range(2))

    def forward(self, tokens: Tensor) -> Tensor:
        text = self.table(tokens).unsqueeze(1)
        pooled = torch.cat([F.relu(self.pool(c(text).squeeze(3))) for c in self.convolutions], dim=1)
        logits = self.output(self.dropout(F.relu(self.bottleneck(pooled.flatten(1)))))
        for gather, spread in zip(self.gathers, self.spreads, strict=True):
            logits = logits + spread(F.elu(gather(torch.sigmoid(logits))))
        return logits


class PlainAdam:
    """Adam for dense weights, row by row for the word table, and the global norm clipped: two optimisers."""

    def __init__(self, model: Plain):
        tables = list(model.table.parameters())
        self.rest = [p for p in model.parameters() if p is not tables[0]]
        self.optimizers = [torch.optim.Adam(self.rest, lr=1e-3), torch.optim.SparseAdam(tables, lr=1e-3)]

    def step(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.rest, 5.0)
        for optimizer in self.optimizers:
            optimizer.step()

    def zero_grad(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()


def drawn_words(documents: int, tokens: int, words: int, generator: torch.Generator) -> Tensor:
    """(documents, tokens) of `words` words by Zipf's law with exponent 1.3, which gives about the 2,364 distinct words
    that 40 documents of EURLEX57K hold (mean of ten random batches)."""
    frequency = torch.arange(1, words + 1, dtype=torch.float64) ** -1.3
    return torch.multinomial(frequency, documents * tokens, replacement=True, generator=generator).view(documents, -1)


def batch_of(documents: int, tokens: int, words: int, labels: int, device: str, gold: int = 5) -> Batch:
    """Words by Zipf's law; `gold` random labels a document."""
    generator = torch.Generator().manual_seed(0)
    drawn = drawn_words(documents, tokens, words - 2, generator) + 2
    ids = torch.stack([torch.randperm(labels, generator=generator)[:gold].sort().values for _ in range(documents)])
    made = Batch(torch.arange(documents), Labels(ids.flatten(), torch.arange(documents + 1) * gold))
    made.tokens, made.lengths = drawn, torch.full((documents,), tokens)
    if device == "cuda":  # beside a GPU the loader does it; on a CPU it belongs to the step
        made.words, made.places = made.distinct()
    return made.to(device)


def vocabulary_of(words: int) -> Vocabulary:
    return Vocabulary(words, np.full(words, 10, np.int64), 1000)


def step(documents: int = 40, tokens: int = 500, words: int = 166_000, labels: int = 3_956, rank: int = 1000) -> Bench:
    """EUR-Lex's shapes. On a GPU ours runs under bf16 autocast, the other way in float32. Dropout is in both; the
    clipping is ours too. facts.device."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    batch = batch_of(documents, tokens, words, labels, device)
    plain = Plain(words, labels, rank).to(device)
    plain_adam = PlainAdam(plain)
    parts = nn.ModuleDict({"encoder": XMLCNN(vocabulary_of(words), Words(), Random(300))})
    parts["decoder"], parts["head"] = parts["encoder"].make_decoder(labels), CorNet(labels, rank, 2)
    parts.to(device)
    execution = Dense(parts["decoder"], parts["head"], Objective("mean"))
    optimizer = AdamW(parameter_groups(parts), lr=1e-3)

    def baseline() -> float:
        plain_adam.zero_grad()
        targets = torch.zeros(documents, labels)
        targets[batch.labels.rows().cpu(), batch.labels.ids.cpu()] = 1  # on the CPU, as a loader would make them
        loss = F.binary_cross_entropy_with_logits(plain(batch.tokens), targets.to(device))
        loss.backward()
        plain_adam.step()
        return float(loss.detach())

    def ours() -> float:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            loss = execution.loss(parts["encoder"](batch), batch.labels)
        loss.backward()
        grads = {p: p.grad for p in parts.parameters() if p.grad is not None}
        factor = (5.0 / (execution.squared_norm(grads).sqrt() + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_([g for g in grads.values() if not g.is_sparse], factor)
        optimizer.step()
        return float(loss.detach())

    shape = {"documents": documents, "tokens": tokens, "words": words, "labels": labels, "rank": rank}
    return Bench(baseline, ours, shape | {"device": device})
