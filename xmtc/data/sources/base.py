"""What a corpus is to the rest of the project: named parts of documents, read in a stream.

A source never tokenises, counts or deduplicates; the store does that once. Whatever is wrong with somebody's files is
an `InputError` of one line that says where (file and line), what was expected and what came.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xmtc.errors import InputError

PARTS = ("train", "validation", "test")
WHERE_CORPORA_LIVE = "paths.data_dir (environment XMTC_DATA) for a named corpus, dataset.path for your own"


class Source:
    """A corpus: named parts of documents."""

    def parts(self) -> list[str]:
        """Those of `PARTS` that the corpus has, in that order; train and test always."""
        raise NotImplementedError

    def documents(self, part: str) -> Iterator[tuple[str, list[str]]]:
        """(text, labels in file order, duplicates kept) of each document in corpus order; memory of one document."""
        raise NotImplementedError

    def files(self) -> list[Path]:
        """Every file that is read, in a fixed order, for hashing; generated corpora give []."""
        raise NotImplementedError

    def fingerprint(self) -> dict:
        """Plain settings that change the content and are not in the files: columns, separators, generator arguments."""
        raise NotImplementedError

    def label_names(self) -> dict[str, str]:
        """label id -> name for people; {} if the corpus has none."""
        return {}

    def label_parents(self) -> dict[str, list[str]]:
        """label id -> ids of the labels above it, which need not be labels of a document; {} without a hierarchy."""
        return {}

    def name_files(self) -> list[Path]:
        """Files behind names and parents that `files()` leaves out: they are no part of what a score depends on."""
        return []

    def reader(self) -> Source:
        """What really reads: a source that stands for another answers with that."""
        return self

    def check(self) -> None:
        """InputError at once if the corpus cannot be used. Cost: opens the files, reads one document of each part."""
        for part in self.parts():
            next(self.documents(part))


def require_documents(documents: Iterator[tuple[str, list[str]]], part: str, where: object) -> Iterator:
    """The same documents, and an InputError where a part turns out to hold none."""
    count = 0
    for count, document in enumerate(documents, start=1):  # noqa: B007
        yield document
    if count == 0:
        raise InputError(f"{where}: the {part} part holds no documents, expected at least one")
