"""Case studies on texts: what a first stage proposed and what the whole system answered."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from xmtc.loading import load


def proposals(run: Path, texts: Sequence[str], k: int = 5) -> list[dict]:
    """For each text: `answered`, the k best (name, probability); `raw`, those without the correlation head where there
    is one; `first` and `asked` where the encoder has a first stage (LabelCoRank): its k best and the labels that
    re-read the text, in their order. Cost: two passes."""
    model = load(run)
    held = [{"text": text} for text in texts]
    raw, enhanced = model.both(texts, k)
    for place, (before, after) in enumerate(zip(raw, enhanced, strict=True)):
        held[place]["answered"] = list(zip(after.names, after.scores, strict=True))
        if getattr(model, "head", None) is not None and len(model.head.blocks):
            held[place]["raw"] = list(zip(before.names, before.scores, strict=True))
    propose = getattr(getattr(model, "encoder", None), "propose", None)
    if propose is None:
        return held
    for place, text in enumerate(texts):
        with torch.inference_mode():
            logits, asked = propose(model.encode([text]))
        values, best = torch.sigmoid(logits[0]).topk(min(k, logits.shape[1]))
        names = model.labels.names
        held[place]["first"] = [(names[i], float(v)) for i, v in zip(best.tolist(), values, strict=True)]
        held[place]["asked"] = [names[i] for i in asked[0].tolist()]
    return held


def as_markdown(run: str, held: Sequence[dict]) -> str:
    """A list for each text."""
    titles = {
        "first": "first stage",
        "asked": "labels that re-read it",
        "raw": "without the head",
        "answered": "answered",
    }
    lines = [f"\n## Texts, {run}\n"]
    for case in held:
        lines.append(f"\n> {case['text'][:300]}\n\n")
        for key, title in titles.items():
            if key in case:
                shown = [entry if isinstance(entry, str) else f"{entry[0]} ({entry[1]:.2f})" for entry in case[key]]
                lines.append(f"* {title}: {', '.join(shown)}\n")
    return "".join(lines)
