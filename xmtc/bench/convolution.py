"""XML-CNN's convolutions, forward and backward: by distinct word against Conv2d and AdaptiveMaxPool1d."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from xmtc.bench.compare import Bench, largest_error
from xmtc.bench.step import drawn_words
from xmtc.encoders.xmlcnn import WordConvolution

WIDTHS, BINS = (2, 4, 8), 8


def convolution(
    documents: int = 40, tokens: int = 500, words: int = 166_000, size: int = 300, filters: int = 128
) -> Bench:
    """EUR-Lex shapes of the papers, words drawn by Zipf's law; gradients reach words and filters."""
    generator = torch.Generator().manual_seed(0)
    distinct, inverse = torch.unique(drawn_words(documents, tokens, words, generator), return_inverse=True)
    vectors = torch.randn(len(distinct), size, generator=generator).requires_grad_()
    weights = [torch.randn(filters, w, size, generator=generator).mul_(0.05).requires_grad_() for w in WIDTHS]
    upstream = torch.randn(documents, filters * len(WIDTHS), BINS, generator=generator)

    def ours():
        pooled = torch.cat([WordConvolution.apply(inverse, vectors, weight, BINS) for weight in weights], 1)
        return torch.autograd.grad(pooled, [vectors, *weights], upstream)

    def baseline():
        text = F.embedding(inverse, vectors).unsqueeze(1)
        convolved = [F.conv2d(text, w.unsqueeze(1), padding=(w.shape[1] - 1, 0)).squeeze(3) for w in weights]
        pooled = torch.cat([F.adaptive_max_pool1d(c, BINS) for c in convolved], 1)
        return torch.autograd.grad(pooled, [vectors, *weights], upstream)

    facts = {"documents": documents, "tokens": tokens, "distinct_words": len(distinct)}
    facts["gradient_error"] = largest_error(ours(), baseline())
    return Bench(baseline, ours, facts)
