"""The registry: what is known of each named dataset, read from `card:` in its file of the configuration.

The same file says how `dataset=NAME` reads it, so a fact stands once.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Any, get_type_hints

from omegaconf import OmegaConf

from xmtc.config import config_dir
from xmtc.config.check import did_you_mean
from xmtc.config.values import describe, expected, fits
from xmtc.errors import InputError


@dataclass(frozen=True)
class Origin:
    """A place that hands the files out. layout: how they are written (xmtc/data/sources/corpus.py). folder: which of an
    archive's folders, where it holds several corpora. also: files that belong beside them."""

    url: str
    layout: str
    bytes: int | None = None
    sha256: str | None = None
    folder: str | None = None
    also: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Card:
    """Facts of a dataset; null: nothing reliable says. labels: distinct ones in all parts. labels_per_document,
    words_per_document: means over the training documents, words between blanks. vocabulary: D, words counted by the
    printed tables (with a threshold, so not the model's). origins: in order of trust. obtain: how
    to get it by hand. files: sha256 of files that have been used. differs: what it must not be confused with."""

    title: str
    task: str
    documents: dict[str, int | None]
    labels: int | None
    labels_per_document: float | None
    words_per_document: float | None
    licence: str | None
    citation: str
    vocabulary: int | None = None
    used_by: list[str] = field(default_factory=list)
    differs: str | None = None
    obtain: str | None = None
    origins: list[dict] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def places(self) -> list[Origin]:
        return [_checked(Origin, origin, f"dataset.card.origins[{i}]") for i, origin in enumerate(self.origins)]


def read_card(node: Any) -> Card:
    """The card in a dataset's node (plain containers). InputError: unknown, missing or mistyped facts."""
    return _checked(Card, node, "dataset.card")


def _checked(kind: type, node: Any, where: str):
    if not isinstance(node, dict):
        raise InputError(f"{where}: expected a mapping, got {describe(node)}")
    known = {f.name: f for f in fields(kind)}
    hints = get_type_hints(kind)
    for key, value in node.items():
        if key not in known:
            raise InputError(f"{where}.{key}: unknown key; choose from {', '.join(known)}{did_you_mean(key, known)}")
        if not fits(value, hints[key]):
            raise InputError(f"{where}.{key}: expected {expected(hints[key])}, got {describe(value)}")
    for key, f in known.items():
        if key not in node and f.default is MISSING and f.default_factory is MISSING:
            raise InputError(f"{where}.{key}: must be given (null if it is not known)")
    return kind(**node)


def card_of(dataset: dict) -> Card | None:
    """The card of a resolved dataset node; null for one's own data."""
    return read_card(dataset["card"]) if dataset.get("card") else None


def registered() -> dict[str, Card]:
    """name -> card of every dataset file that has one, in order of name."""
    cards = {}
    for path in sorted((config_dir() / "dataset").glob("*.yaml")):
        node = OmegaConf.load(path)
        if "card" in node:
            cards[path.stem] = read_card(OmegaConf.to_container(node.card, resolve=True))
    return cards
