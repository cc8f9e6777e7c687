"""A document explained that linear machines or label trees have read: the words behind each label."""

from __future__ import annotations

from typing import Any

import numpy as np

from xmtc.fitted.tagger import FittedTagger

WORDS = 10  # that are listed of a label


def explain_fitted(model: FittedTagger, text: str, k: int, words: bool) -> dict[str, Any]:
    """As `explaining.document.explain` answers for a model without a head. A label's "words" are features: words, pairs
    of them, and the earlier labels of a chain."""
    scores, labels = model.predict_batch([text], k)
    entries = []
    for rank, (logit, label) in enumerate(zip(scores[0].tolist(), labels[0].tolist(), strict=True), start=1):
        known = model.labels[label]
        entries.append({
            "id": known.id, "name": known.name, "raw_rank": rank, "enhanced_rank": rank, "raw_logit": logit,
            "enhanced_logit": logit, "moved": "same", "blocks": [], "contexts": [],
        })  # fmt: skip
    if words:
        documents = model.reader.documents([text])
        features = model.fitted.features(documents, np.arange(1), model.reader.vocabulary)
        tokens, _ = documents.tokens(np.arange(1))
        named = dict(zip(tokens.tolist(), model.reader.words(text), strict=False))
        names = model.fitted.feature_names(named, features.indices, model.reader.vocabulary)
        for entry, label in zip(entries, labels[0].tolist(), strict=True):
            entry["words"] = _words(model, names, model.fitted.evidence(features, label), entry["raw_logit"])
    ids = [entry["id"] for entry in entries]
    return {"head": False, "raw": ids, "enhanced": ids, "labels": entries, "completeness_error": 0.0, "attention": None}


def _words(model: FittedTagger, names: list[str], found, logit: float) -> dict[str, Any]:
    parts = list(zip(names, found.amounts.tolist(), strict=True))
    parts += [(f"label {model.labels[label].name}", amount) for label, amount in found.labels.items()]
    strongest = sorted(parts, key=lambda pair: -abs(pair[1]))[:WORDS]
    error = abs(logit - found.without - sum(amount for _, amount in parts))
    return {"words": [list(pair) for pair in strongest if pair[1]], "logit": logit, "without": found.without,
            "error": error}  # fmt: skip
