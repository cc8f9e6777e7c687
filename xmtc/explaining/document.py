"""One document explained: both rankings, what the head promoted and demoted, whose evidence did it, which words."""

from __future__ import annotations

from typing import Any

import torch

from xmtc.errors import InputError
from xmtc.explaining.attribution import attribute, context_evidence
from xmtc.explaining.fitted import WORDS, explain_fitted
from xmtc.explaining.words import attention, integrated_gradients
from xmtc.fitted.tagger import FittedTagger
from xmtc.given import whole
from xmtc.heads.block import CorrelationBlock, FullBlock
from xmtc.model import Model
from xmtc.tagger import Tagger

SHOWN = 5  # contributions that are listed one by one
TOLERANCE = 1e-3  # of a logit
MISSED = 0.01  # of a logit: a sum of words that misses it by so much is told


def explain(model: Tagger, text: str, k: int = 5, words: bool = True) -> dict[str, Any]:
    """A JSON-ready explanation of the labels that are among the k best before or after the head.

    {"head": whether there is one; without it both rankings are the decoder's,
     "raw": [...], "enhanced": [...]: label ids, best first,
     "labels": [{"id", "name", "raw_rank", "enhanced_rank", "raw_logit", "enhanced_logit", "moved": "promoted" |
        "demoted" | "same", "blocks": [{"kept", "base", "evidence": [[id, name, amount], ...], "other": rest of the
        evidence, "output"}], "contexts": [...],
        "words": {"words": [[word, amount], ...], "logit", "without": the logit of no words, "error": of the sum}}],
     "completeness_error": largest difference between a sum of parts and what it explains; null where a head has blocks
        of its own making, whose parts are not known: "blocks" and "contexts" are empty then,
     "attention": [[word, weight], ...] or null}

    Amounts are logits. evidence: against an empty document, see xmtc/explaining/attribution.py. Ranks start at 1. Of
    linear machines and label trees, the words are the parts of a logit (xmtc/fitted/evidence.py).
    InputError: the model is an ensemble, or the sums do not add up.
    """
    k = whole(k, "k")
    if isinstance(model, FittedTagger):
        return explain_fitted(model, text, k, words)
    if not isinstance(model, Model):
        raise InputError("an ensemble has no parts of its own to explain: explain its members")
    with torch.no_grad():
        states = [_blockwise(model, given) for given in (text, "")]
        (document, reference) = states
        raw_L, enhanced_L = document[0], document[-1]
        raw_rank, enhanced_rank = (_ranks(logits) for logits in (raw_L, enhanced_L))
        k = min(k, model.num_labels)
        best = [logits.argsort(descending=True, stable=True)[:k].tolist() for logits in (raw_L, enhanced_L)]
        union = sorted({*best[0], *best[1]}, key=lambda label: int(enhanced_rank[label]))
        targets = torch.tensor(union, device=raw_L.device)
        blocks = list(model.head.blocks)
        known = all(isinstance(block, CorrelationBlock | FullBlock) for block in blocks)
        parts = [
            attribute(block, here, there, targets)
            for block, here, there in zip(blocks if known else [], document, reference, strict=False)
        ]
        error = max((part.completeness_error for part in parts), default=0.0) if known else None
        if error is not None and error > TOLERANCE * max(1.0, float(enhanced_L.abs().max())):
            raise InputError(f"explain: the parts miss the block's output by {error:.2g}: a defect, please report it")
        labels = []
        for row, label in enumerate(union):
            ranks = int(raw_rank[label]), int(enhanced_rank[label])
            moved = "promoted" if ranks[1] < ranks[0] else "demoted" if ranks[1] > ranks[0] else "same"
            labels.append(_named(model, label) | {
                "raw_rank": ranks[0], "enhanced_rank": ranks[1], "raw_logit": float(raw_L[label]),
                "enhanced_logit": float(enhanced_L[label]), "moved": moved,
                "blocks": [_block(model, part, row) for part in parts],
                "contexts": [_contexts(model, i, part, row, document[i], reference[i])
                             for i, part in enumerate(parts) if part.contexts is not None],
            })  # fmt: skip
    if words:
        for entry, label in zip(labels, union, strict=True):
            entry["words"] = integrated_gradients(model, text, label)
            entry["words"]["words"] = [list(pair) for pair in entry["words"]["words"][:WORDS]]
    return {
        "head": model.has_head,
        "raw": [model.labels[i].id for i in best[0]],
        "enhanced": [model.labels[i].id for i in best[1]],
        "labels": labels,
        "completeness_error": error,
        "attention": attention(model, text) if words else None,
    }


def _blockwise(model: Model, text: str) -> list[torch.Tensor]:
    """Logits (L,) before the first block and after each."""
    logits = [model.decoder(model.encoder(model.encode([text])))]
    for block in model.head.blocks:
        logits.append(block(logits[-1]))
    return [one[0].float() for one in logits]


def _ranks(logits_L: torch.Tensor) -> torch.Tensor:
    order = logits_L.argsort(descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(1, len(order) + 1, device=order.device)
    return ranks


def _named(model: Model, label: int) -> dict[str, Any]:
    return {"id": model.labels[label].id, "name": model.labels[label].name}


def _strongest(model: Model, amounts_L: torch.Tensor) -> list[list]:
    chosen = amounts_L.abs().topk(min(SHOWN, len(amounts_L))).indices.tolist()
    return [[model.labels[i].id, model.labels[i].name, float(amounts_L[i])] for i in chosen if amounts_L[i] != 0]


def _block(model: Model, part, row: int) -> dict[str, Any]:
    evidence = _strongest(model, part.evidence[row])
    other = float(part.evidence[row].double().sum()) - sum(amount for _, _, amount in evidence)
    return {"kept": float(part.kept[row]), "base": float(part.base[row]), "evidence": evidence, "other": other,
            "output": float(part.output[row])}  # fmt: skip


def _contexts(model: Model, index: int, part, row: int, here, there) -> list[dict[str, Any]]:
    """The context numbers that moved this label most, and whose evidence moved them."""
    block = model.head.blocks[index]
    assert isinstance(block, CorrelationBlock)
    strongest = part.contexts[row].abs().topk(min(2, part.contexts.shape[1])).indices.tolist()
    return [{"number": c, "adds": float(part.contexts[row, c]),
             "moved_by": _strongest(model, context_evidence(block, here, there, c))}
            for c in strongest]  # fmt: skip


def _shown(label: str, name: str) -> str:
    return name if name == label else f"{name} [{label}]"


def markdown(explanation: dict[str, Any]) -> str:
    """The explanation for people: the rankings without and with the head, if there is one, then label by label."""
    names = {entry["id"]: _shown(entry["id"], entry["name"]) for entry in explanation["labels"]}
    rankings = {"without the head": explanation["raw"], "with the head": explanation["enhanced"]}
    if not explanation["head"]:
        rankings = {"label": explanation["enhanced"]}
    lines = [f"| | {' | '.join(rankings)} |", "|---:|" + "---|" * len(rankings)]
    for i, row in enumerate(zip(*rankings.values(), strict=True), start=1):
        lines.append(f"| {i} | {' | '.join(names[label].replace('|', chr(92) + '|') for label in row)} |")
    for entry in explanation["labels"]:
        ranks, logits = f"rank {entry['enhanced_rank']}", f"logit {entry['enhanced_logit']:.2f}"
        if explanation["head"]:
            ranks = f"rank {entry['raw_rank']} to {entry['enhanced_rank']}, {entry['moved']}"
            logits = f"logit {entry['raw_logit']:.2f} to {entry['enhanced_logit']:.2f}"
        lines += ["", f"**{names[entry['id']]}** ({ranks}): {logits}"]
        for i, block in enumerate(entry["blocks"], start=1):
            parts = [f"{amount:+.2f} {_shown(label, name)}" for label, name, amount in block["evidence"]]
            parts += [f"{block['other']:+.2f} all other labels", f"{block['base']:+.2f} of any document"]
            lines.append(f"- block {i}: {block['kept']:.2f} {'; '.join(parts)} = {block['output']:.2f}")
        if "words" in entry:
            shown = ", ".join(f"{word} {amount:+.2f}" for word, amount in entry["words"]["words"])
            missed = f"; sum off by {entry['words']['error']:.2f}" if entry["words"]["error"] >= MISSED else ""
            lines.append(f"- words: {shown or 'none'} (no words: {entry['words']['without']:.2f}{missed})")
    if explanation["attention"]:
        strongest = sorted(explanation["attention"], key=lambda pair: -pair[1])[:WORDS]
        lines += ["", "Read most: " + ", ".join(f"{word} {100 * weight:.0f} %" for word, weight in strongest)]
    error = explanation["completeness_error"]
    if not explanation["head"]:
        lines += ["", "This run has no correlation head: no label is evidence for another."]
    elif error is None:
        lines += ["", "Whose evidence moved a label is not known: the head's blocks are of another kind."]
    else:
        lines += ["", f"Sums of parts are exact to {error:.1e}."]
    return "\n".join(lines) + "\n"
