"""Is what lies on this disk what the papers used? Counted from the files themselves, nothing prepared."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from xmtc.data.cards import Card
from xmtc.data.checksums import sha256_of
from xmtc.data.sources.base import Source

TOLERANCE = 0.01  # of printed means, beyond half of their last digit


@dataclass
class Finding:
    """One fact: what the card says (null: nothing), what the files say, and whether they agree (null: cannot tell)."""

    what: str
    expected: object
    found: object
    agrees: bool | None


def verify(source: Source, card: Card) -> list[Finding]:
    """Reads the corpus once. Memory: the distinct labels."""
    source = source.reader()
    source.check()
    files = [*source.files(), *source.name_files()]
    findings = [_hash(path, card.files[path.name]) for path in files if path.name in card.files]
    known: set[str] = set()
    train: dict[str, float] = {}
    present = source.parts()
    for part in ("train", "validation", "test"):
        documents = positives = words = 0
        for text, labels in source.documents(part) if part in present else ():
            distinct = set(labels)
            known |= distinct
            documents, positives, words = documents + 1, positives + len(distinct), words + len(text.split())
        expected = card.documents.get(part)
        found = documents if part in present else None
        silent = expected is None and found is None
        agrees = None if silent or (expected is None and found) else expected == found
        findings.append(Finding(f"{part} documents", expected, found, agrees))
        if part == "train":
            train = {"labels per document": positives / documents, "words per document": words / documents}
    agrees = None if card.labels is None else card.labels == len(known)
    findings.append(Finding("labels", card.labels, len(known), agrees))
    findings.append(_near("labels per document", card.labels_per_document, train["labels per document"]))
    findings.append(_near("words per document", card.words_per_document, train["words per document"]))
    return findings


def _hash(path: Path, expected: str) -> Finding:
    found = sha256_of(path)
    return Finding(f"sha256 of {path.name}", expected, found, expected == found)


def _near(what: str, expected: float | None, found: float) -> Finding:
    """Printed means are rounded, and words are counted in more than one way: their difference is told, never judged
    a fault beyond one part in a hundred."""
    agrees = None if expected is None else abs(expected - found) <= max(TOLERANCE, 0.01 * expected)
    return Finding(what, expected, round(found, 2), agrees)
