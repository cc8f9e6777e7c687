"""Documents of frequent or of rare labels only, as LabelCoRank evaluates on PubMed (its tables 5 and 6)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from xmtc.config.make import make
from xmtc.data.sources.base import PARTS, Source, require_documents


def make_source(dataset: dict) -> Source:
    """The source of a resolved `dataset` node, with what its keys of conf/subset.yaml ask for around it; somebody's own
    file may be without some of them."""
    source, keep = make(dataset["source"]), dataset.get("subset")
    if keep is None:
        return source
    names = {"head_share": "head_share", "max_head_labels": "max_head_labels", "subset_parts": "parts"}
    return SubsetSource(source, keep, **{name: dataset[key] for key, name in names.items() if key in dataset})


class SubsetSource(Source):
    """Part of another corpus. keep `head`: documents whose labels are all head labels; `tail`: documents with at most
    `max_head_labels` of them; null: everything.

    Head labels are the share `head_share` of the training labels that is met most often in training (rounded up, ties
    by name). parts: what is filtered; all, so that a model is trained on the subset too, or [test] for one trained on
    everything: state which one a number comes from. Documents without a label are kept by neither.
    Cost: one more pass over the training labels.
    """

    def __init__(
        self,
        source: Source,
        keep: Literal["head", "tail"] | None = None,
        head_share: float = 0.1,
        max_head_labels: int = 2,
        parts: Sequence[str] = PARTS,
    ):
        self.whole, self.keep = source, keep
        self.head_share, self.max_head_labels, self.filtered = head_share, max_head_labels, list(parts)
        self._head: set[str] | None = None

    @property
    def source(self) -> Source:
        return self.whole.reader()

    def reader(self) -> Source:
        return self if self.keep else self.source

    def parts(self) -> list[str]:
        return self.source.parts()

    def documents(self, part: str) -> Iterator[tuple[str, list[str]]]:
        documents = self.source.documents(part)
        if part not in self.filtered:
            return documents
        kept = (document for document in documents if self._belongs(document[1]))
        return require_documents(kept, part, f"dataset.subset={self.keep}")

    def files(self) -> list[Path]:
        return self.source.files()

    def name_files(self) -> list[Path]:
        return self.source.name_files()

    def fingerprint(self) -> dict:
        own = {"keep": self.keep, "head_share": self.head_share, "filtered": self.filtered}
        most = self.max_head_labels if self.keep == "tail" else None
        return {"of": type(self.source).__name__, **self.source.fingerprint(), **own, "max_head_labels": most}

    def label_names(self) -> dict[str, str]:
        return self.source.label_names()

    def label_parents(self) -> dict[str, list[str]]:
        return self.source.label_parents()

    def check(self) -> None:
        self.source.check()

    def head(self) -> set[str]:
        """The head labels."""
        if self._head is None:
            counts = Counter(label for _, labels in self.source.documents("train") for label in set(labels))
            order = sorted(counts, key=lambda label: (-counts[label], label))
            self._head = set(order[: math.ceil(round(self.head_share * len(order), 6))])
        return self._head

    def _belongs(self, labels: list[str]) -> bool:
        heads = sum(label in self.head() for label in set(labels))
        return bool(labels) and (heads == len(set(labels)) if self.keep == "head" else heads <= self.max_head_labels)
