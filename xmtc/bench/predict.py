"""Offline prediction, XML-CNN with a head: tokens to the five best labels, against the textbook eager module.

baseline: nn.Embedding, nn.Conv2d, nn.AdaptiveMaxPool1d, nn.Linear and the head's two products, float32, as the papers'
code writes them. ours: what `xmtc.load(RUN)` runs. Same weights, same documents, same machine in the same minute.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from xmtc.bench.compare import Bench
from xmtc.bench.step import drawn_words
from xmtc.data.batch import Batch, Labels
from xmtc.data.embedding import Random
from xmtc.data.vocabulary import Vocabulary
from xmtc.encoders.xmlcnn import XMLCNN
from xmtc.execution.dense import Dense
from xmtc.heads.lcenet import LCENet

BEST = 5


class Textbook(nn.Module):
    """XML-CNN (Liu et al. 2017, CorNet's version) and one correlation block, with the weights of ours."""

    def __init__(self, encoder: XMLCNN, decoder, head: LCENet):
        super().__init__()
        self.embedding = encoder.embedding
        self.convolutions = nn.ModuleList()
        for weight, bias in zip(encoder.convolutions, encoder.biases, strict=True):
            filters, width, size = weight.shape
            convolution = nn.Conv2d(1, filters, (width, size), padding=(width - 1, 0))
            convolution.weight, convolution.bias = nn.Parameter(weight.unsqueeze(1).detach()), bias
            self.convolutions.append(convolution)
        self.pool, self.bottleneck = nn.AdaptiveMaxPool1d(encoder.bins), encoder.bottleneck
        self.decoder, self.block = decoder, head.blocks[0]

    def forward(self, tokens):
        text = self.embedding(tokens).unsqueeze(1)
        pooled = torch.cat([self.pool(F.relu(c(text)).squeeze(3)) for c in self.convolutions], dim=1)
        raw = F.linear(F.relu(self.bottleneck(pooled.flatten(1))), self.decoder.weight, self.decoder.bias)
        block = self.block
        context = F.elu(torch.sigmoid(raw) @ block.gather_weight + block.gather_bias)
        return raw + F.linear(context, block.spread_weight, block.spread_bias)


def predict(documents: int = 64, tokens: int = 500, words: int = 166_000, labels: int = 4271, rank: int = 512) -> Bench:
    """EURLEX57K's shapes; words drawn by Zipf's law. facts: share of documents with the same five
    labels both ways, and the largest difference of a logit."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    vocabulary = Vocabulary(words, torch.ones(words, dtype=torch.int64).numpy(), documents)
    encoder = XMLCNN(vocabulary, None, Random(300)).eval()
    decoder, head = encoder.make_decoder(labels), LCENet(labels, rank, blocks=1).eval()
    execution, textbook = Dense(decoder, head, None), Textbook(encoder, decoder, head).eval()
    rows = drawn_words(documents, tokens, words, generator)
    none = Labels(torch.zeros(0, dtype=torch.int64), torch.zeros(documents + 1, dtype=torch.int64))
    batch = Batch(torch.arange(documents), none, rows, torch.full((documents,), tokens))

    def baseline():
        with torch.inference_mode():
            return textbook(rows).topk(BEST)

    def ours():
        with torch.inference_mode():
            return execution.topk(encoder(batch), BEST)

    (theirs, their_labels), (mine, my_labels) = baseline(), ours()
    same = (their_labels.sort().values == my_labels.sort().values).all(dim=1).float().mean()
    facts = {"documents": documents, "same_labels": float(same), "logit_error": float((theirs - mine).abs().max())}
    return Bench(baseline, ours, facts)
