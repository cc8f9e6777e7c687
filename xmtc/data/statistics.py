"""What people want to see of a corpus before they train: lengths, labels, what is cut, what only test has.

Numbers from a store; pictures where matplotlib is installed (the extra `stats`).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from xmtc.data.store import Part, Store
from xmtc.metrics.frequency_bins import frequency_bins

QUANTILES = {"median": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}


def statistics(store: Store, length: int | None) -> dict:
    """length: T, tokens kept of a document; null: none is cut. Plain values only."""
    parts = {name: _part(part, length) for name, part in store.parts.items()}
    return {"parts": parts, "labels": _labels(store), "test": _unseen(store), "length": length}


def _part(part: Part, length: int | None) -> dict:
    tokens, labels = np.diff(part.token_offsets), np.diff(part.label_offsets)
    return {
        "documents": len(part),
        "tokens": _spread(tokens),
        "cut": 0.0 if length is None else float((tokens > length).mean()),
        "labels": _spread(labels),
        "without_labels": int((labels == 0).sum()),
    }


def _spread(values: np.ndarray) -> dict:
    quantiles = np.quantile(values, list(QUANTILES.values()), method="lower")
    return {"mean": round(float(values.mean()), 2), **dict(zip(QUANTILES, map(int, quantiles), strict=True))}


def _labels(store: Store) -> dict:
    frequency = store.label_frequency
    total = max(int(frequency.sum()), 1)
    names, bins = frequency_bins(torch.from_numpy(frequency))
    members = {name: np.flatnonzero(bins[:-1].numpy() == number) for number, name in enumerate(names)}
    bands = {
        name: {
            "labels": len(labels),
            "positives": round(float(frequency[labels].sum() / total), 4),
            "least_frequency": int(frequency[labels].min()) if len(labels) else None,
        }
        for name, labels in members.items()
    }
    return {
        "labels": store.num_labels,
        "frequency": _spread(frequency),
        "once": int((frequency == 1).sum()),
        "never_in_train": int((frequency == 0).sum()),
        "bands": bands,
        "named": sum(name != label for name, label in zip(store.label_names, store.labels, strict=True)),
        "with_parent": len({child for child, _ in store.parents()}),
    }


def _unseen(store: Store) -> dict:
    part = store.parts["test"]
    unseen = np.asarray(part.label_ids) >= store.num_labels
    rows = np.repeat(np.arange(len(part)), np.diff(part.label_offsets))
    return {
        "unseen_labels": len(store.unseen_labels),
        "unseen_positives": round(float(unseen.mean()), 4) if len(unseen) else 0.0,
        "documents_with_one": len(np.unique(rows[unseen])),
    }


def table(found: dict) -> str:
    """The numbers as text."""
    head = f"{'':>12} {'documents':>10} {'tokens':>9} {'median':>7} {'p99':>7} {'cut':>7} {'labels':>7} {'most':>5}"
    lines = [head]
    for name, part in found["parts"].items():
        tokens, labels = part["tokens"], part["labels"]
        lines.append(
            f"{name:>12} {part['documents']:>10,} {tokens['mean']:>9.1f} {tokens['median']:>7,} {tokens['p99']:>7,} "
            f"{100 * part['cut']:>6.1f}% {labels['mean']:>7.2f} {labels['max']:>5,}"
        )
    labels, test = found["labels"], found["test"]
    lines.append(
        f"{labels['labels']:,} labels, {labels['named']:,} of them named; {labels['once']:,} met once in training"
    )
    for name, band in labels["bands"].items():
        if band["labels"]:
            lines.append(
                f"  {name}: {band['labels']:,} labels met {band['least_frequency']} times or more hold "
                f"{100 * band['positives']:.1f}% of the positives"
            )
    lines.append(
        f"test: {test['unseen_labels']:,} labels unseen in training, {100 * test['unseen_positives']:.2f}% of the "
        f"positives, in {test['documents_with_one']:,} documents"
    )
    if near := found.get("near_duplicates"):
        lines.append(
            f"near duplicates (Jaccard {near['threshold']} of 3-token shingles): {near['near_duplicates']:,} of "
            f"{near['test_documents']:,} test documents, against {near['train_documents']:,} training documents"
        )
    return "\n".join(lines)


def draw(store: Store, found: dict, title: str, folder: Path) -> list[Path]:
    """PNG pictures: label frequency by rank, labels a document, tokens a document. ImportError without matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 4), layout="constrained")
    ranked, labels, lengths = figure.subplots(1, 3)
    frequency = np.sort(store.label_frequency)[::-1]
    ranked.loglog(np.arange(1, len(frequency) + 1), np.maximum(frequency, 0.5), linewidth=1.2)
    ranked.set(xlabel="label, by frequency", ylabel="training documents")
    for name, part in store.parts.items():
        counts = np.bincount(np.diff(part.label_offsets))
        labels.plot(counts / len(part), linewidth=1.2, label=name)
        tokens = np.diff(part.token_offsets)
        edges = np.geomspace(1, max(int(tokens.max()), 2), 60)
        lengths.stairs(np.histogram(tokens, edges)[0] / len(part), edges, label=name)
    labels.set(
        xlabel="labels a document", ylabel="share of documents", xlim=(0, found["parts"]["train"]["labels"]["p99"] + 5)
    )
    lengths.set(xlabel="tokens a document", xscale="log")
    if found["length"]:
        lengths.axvline(found["length"], color="grey", linestyle="--", label=f"T = {found['length']}")
    labels.legend(fontsize="small")
    lengths.legend(fontsize="small")
    for axis in (ranked, labels, lengths):
        axis.grid(alpha=0.3)
    figure.suptitle(title)
    path = folder / "statistics.png"
    figure.savefig(path, dpi=120, metadata={"Software": None})
    return [path]
