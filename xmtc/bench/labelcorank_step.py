"""LabelCoRank's training step: documents at once, against its label part document by document."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xmtc.bench.compare import Bench
from xmtc.bench.labelcorank import one_by_one, partner_lists
from xmtc.data.batch import Batch, Labels
from xmtc.data.pretrained import place
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.labelcorank import LabelCoRank
from xmtc.execution.dense import Dense
from xmtc.heads.none import NoHead
from xmtc.training.objectives import Objective

WORDS, TRAINING = 30_522, 4_000  # of MiniLM; documents that the partners are counted in


class Looped(LabelCoRank):
    """The same layers, a document at a time from the choice of labels on; the pretrained layers see the whole batch."""

    def select(self, first_BL: Tensor) -> Tensor:
        if not hasattr(self, "lists"):
            self.lists, self.ranks = partner_lists(self.partners, self.values), self.frequency_rank.tolist()
        chosen = one_by_one(torch.sigmoid(first_BL.detach()), self.lists, self.gamma, self.alpha)
        rows = [sorted(row, key=self.ranks.__getitem__) for row in chosen.tolist()]
        return torch.tensor(rows, device=first_BL.device)

    def _read(self, chosen_BG: Tensor, hidden_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        rows = zip(chosen_BG.split(1), hidden_BTD.split(1), mask_BT.split(1), strict=True)
        return torch.cat([super(Looped, self)._read(*row) for row in rows])


def labelcorank_step(documents: int = 16, tokens: int = 128, labels: int = 152, gamma: int = 20) -> Bench:
    """Forward, both losses and backward. Sizes of arXiv's categories; MiniLM's layers with random weights, random texts
    of three random labels each, a first stage that answers three labels. Both ways share their weights. same_answer: of
    the features without dropout."""
    torch.manual_seed(0)
    vocabulary = Vocabulary(WORDS, np.ones(WORDS, np.int64), 10, Path(place("minilm", "name")), padding=0, unknown=100)
    ours = LabelCoRank(vocabulary, None, labels, "minilm", pretrained=False, gamma=gamma)
    ours.prepare(_random_labels(TRAINING, labels), [""] * labels)
    with torch.no_grad():
        ours.first.bias.fill_(-4).index_fill_(0, torch.randperm(labels)[:3], 1)
    looped = copy.copy(ours)  # its parts are the same objects
    looped.__class__ = Looped
    batch = Batch(torch.arange(documents), _random_labels(documents, labels))
    batch.tokens, batch.lengths = torch.randint(1000, WORDS, (documents, tokens)), torch.full((documents,), tokens)
    execution = Dense(ours.make_decoder(labels), NoHead(labels), Objective("label_sum"))

    def step(encoder: LabelCoRank) -> float:
        for part in (ours, execution.decoder):
            part.zero_grad()
        encoded = encoder(batch)
        loss = encoded.main_weight * execution.loss(encoded, batch.labels) + encoded.auxiliary["first"]
        loss.backward()
        return float(loss.detach())

    with torch.no_grad():
        features = [encoder.eval()(batch).features for encoder in (ours, looped)]
    for encoder in (ours, looped):
        encoder.train()
    facts = {"documents": documents, "tokens": tokens, "labels": labels, "gamma": gamma}
    facts["same_answer"] = torch.allclose(*features, rtol=1e-4, atol=1e-5)
    return Bench(lambda: step(looped), lambda: step(ours), facts)


def _random_labels(documents: int, labels: int) -> Labels:
    ids = torch.stack([torch.randperm(labels)[:3].sort().values for _ in range(documents)])
    return Labels(ids.flatten(), torch.arange(documents + 1) * 3)
