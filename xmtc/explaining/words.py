"""Which words made a label's logit: integrated gradients over the word vectors, or the encoder's own attention.

Integrated gradients (Sundararajan et al., ICML 2017) by Captum, from zero vectors to the document's: the attributions
of all words sum to the difference of the label's logit between the document and a document of zero vectors, up to the
error of the quadrature, which is reported. Cost: `steps` forward and backward passes of one document and label.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor, nn

from xmtc.errors import InputError
from xmtc.execution.dense import Dense
from xmtc.model import Model

STEPS = 32


def word_table(encoder: nn.Module) -> nn.Embedding:
    """The table of word vectors: the encoder's first embedding (positions come behind it). InputError: it has none."""
    for module in encoder.modules():
        if isinstance(module, nn.Embedding):
            return module
    raise InputError("words: this encoder looks no word vectors up; --no-words leaves them out")


def integrated_gradients(model: Model, text: str, label: int, steps: int = STEPS) -> dict:
    """{"words": [(word, attribution), ...] strongest first, "logit", "without": logit of zero vectors, "error"}.

    A word that stands several times is listed once, with its sum.
    """
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        raise InputError("words: integrated gradients need captum: pip install 'xmtc[explain]'") from None
    batch, table = model.encode([text]), word_table(model.encoder)
    seen: dict[str, Tensor] = {}

    def look(module, arguments, output):
        seen["ids"], seen["vectors"] = arguments[0].detach(), output.detach()

    def logit(vectors: Tensor | None) -> Tensor:
        handle = table.register_forward_hook(look if vectors is None else lambda *_: vectors)
        try:
            encoded = model.encoder(batch)
        finally:
            handle.remove()
        # dense, whatever the run was: chunks have no gradients of logits, and one document needs little
        return Dense(model.decoder, model.head, None).logits(encoded)[1][0, label]

    with torch.no_grad():
        value = float(logit(None))
    ids, vectors = seen["ids"].flatten(), seen["vectors"]

    def scaled(inputs: Tensor) -> Tensor:  # (steps, *vectors.shape): the encoder sees one document at a time
        return torch.stack([logit(one) for one in inputs])

    method = IntegratedGradients(scaled)
    with torch.enable_grad():
        parts, error = method.attribute(
            vectors[None], torch.zeros_like(vectors)[None], n_steps=steps, return_convergence_delta=True
        )
    per_row = parts[0].sum(-1).flatten()
    names, totals = _names(model, text, ids), defaultdict(float)
    for name, amount in zip(names, per_row.tolist(), strict=True):
        if name is not None:
            totals[name] += amount
    ranked = sorted(totals.items(), key=lambda pair: -abs(pair[1]))
    return {"words": ranked, "logit": value, "without": value - float(per_row.sum()) + float(error),
            "error": abs(float(error))}  # fmt: skip


def attention(model: Model, text: str) -> list[tuple[str, float]] | None:
    """(word, weight) in the text's order, from encoders that have an attention to show; else None."""
    with torch.inference_mode():
        weights = model.encoder(model.encode([text])).attention
    if weights is None:
        return None
    return list(zip(model.reader.words(text), weights[0].tolist(), strict=False))


def _names(model: Model, text: str, ids: Tensor) -> list[str | None]:
    """The word of each looked-up row; None for padding and for rows that are no words."""
    words = model.reader.words(text)
    read = model.reader.tokens([text]).tokens.tolist()
    known: dict[int, str] = {}
    for token, word in zip(read, words, strict=False):
        known.setdefault(token, word)
    unknown, padding = model.reader.vocabulary.unknown, model.reader.vocabulary.padding
    known[unknown] = "(unknown words)"
    known.pop(padding, None)
    return [known.get(token) for token in ids.tolist()]
