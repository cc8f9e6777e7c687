"""Writes one store from one corpus: the work behind `preparation.py`, which decides when and where.

First every part's documents become shards (`shards.py`), then the shards' own ids become the store's. Memory: a few
shards, one pass of the word counts (`word_counts.py`), the vocabulary, the labels, and a few numbers a document.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Set
from pathlib import Path

import numpy as np

from xmtc.data.checksums import list_files
from xmtc.data.files import growing, save
from xmtc.data.shards import Progress, lines_of, write_shards
from xmtc.data.sources.base import Source
from xmtc.data.store import FORMAT
from xmtc.data.text import HuggingFace, Text
from xmtc.data.tokenising import hugging_face_size
from xmtc.data.vocabulary import PADDING, UNKNOWN
from xmtc.data.word_counts import most_frequent
from xmtc.data.word_rows import word_rows
from xmtc.errors import InputError

SEPARATORS = (";", ",", "|", "/", " ")


def digest_of(content: dict) -> str:
    """The name of a corpus' content (preparation.py) in tables."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


class StoreWriter:
    """Writes `folder`. work: where shards lie while it goes on; those that are there already are used."""

    def __init__(self, folder: Path, work: Path, source: Source, text: Text, content: dict, workers: int | None):
        self.folder, self.work, self.source, self.text, self.content = folder, work, source, text, content
        self.workers = workers or os.cpu_count() or 1
        self.counts: dict[str, dict[str, int]] = {}
        self.padding, self.unknown = text.special() if isinstance(text, HuggingFace) else (PADDING, UNKNOWN)

    def write(self) -> None:
        parts = self.source.parts()
        for read in (self.source.label_names, self.source.label_parents):
            read()  # what is wrong there is told now, not after hours of tokenising
        self.shards = {part: self._shards(part) for part in parts}
        self.folder.mkdir(parents=True)
        final = self._vocabulary()
        for part in parts:
            (self.folder / part).mkdir()
            self._write_tokens(part, final)
        self._order_labels()
        for part in parts:
            self._write_labels(part)
        self._write_label_table()
        meta = {"format": FORMAT, "parts": parts, "dataset_sha256": digest_of(self.content), "content": self.content}
        meta |= {"text": self.text.key(), "counts": self.counts, "num_labels": len(self.known)}
        meta |= {"padding": self.padding, "unknown": self.unknown}
        meta["report"] = "; ".join(
            f"{part}: " + ", ".join(f"{value} {what}" for what, value in counts.items() if value)
            for part, counts in self.counts.items()
        )
        alone = all(self._joined(part, "label_counts").max(initial=0) <= 1 for part in parts)
        meta["doubt"] = joined({label.decode() for label in self.final}, alone)
        (self.folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")
        list_files(self.folder)

    def _shards(self, part: str) -> list[Path]:
        return write_shards(self.work / part, self.text, self.source.documents(part), self.workers)

    def _arrays(self, part: str, *names: str) -> Iterator[list[np.ndarray]]:
        for path in self.shards[part]:
            with np.load(path, allow_pickle=False) as shard:
                yield [shard[name] for name in names]

    def _joined(self, part: str, name: str) -> np.ndarray:
        return np.concatenate([array for (array,) in self._arrays(part, name)])

    def _vocabulary(self) -> dict[bytes, int] | None:
        """Writes text/; returns the id of each word (None: the shards' ids are final)."""
        folder = self.folder / "text"
        folder.mkdir()
        if isinstance(self.text, HuggingFace):
            definition = self.text.json()
            (folder / "tokenizer.json").write_text(definition, encoding="utf-8")
            frequency = np.zeros(hugging_face_size(definition), np.int64)
            for (counts,) in self._arrays("train", "frequency"):
                frequency[: len(counts)] += counts
            save(folder / "document_frequency.npy", frequency)
            return None
        preferred = None if self.text.prefer is None else self._preferred
        words, frequency = most_frequent(self.shards["train"], self.text.vocabulary_size - 2, preferred)
        listed = b"".join(word + b"\n" for word in [b"<PAD>", b"<UNK>", *words])
        (folder / "vocabulary.txt").write_bytes(listed)
        save(folder / "document_frequency.npy", np.concatenate([[0, 0], frequency]))
        return {word: i for i, word in enumerate(words, start=2)}

    def _preferred(self, wanted: dict[bytes, int]) -> np.ndarray:
        """Which words a file of word vectors holds."""
        held = np.zeros(len(wanted), bool)
        for _, word, _, _ in word_rows(self.text.prefer, wanted):
            held[wanted[word]] = True
        return held

    def _write_tokens(self, part: str, final: dict[bytes, int] | None) -> None:
        """Turns the shards' ids into final ones; a document without text becomes one unknown token."""
        lengths = self._joined(part, "lengths")
        offsets = np.concatenate([[0], np.cumsum(np.maximum(lengths, 1))])
        progress = Progress(f"{part}, written")
        names = ("lengths", "ids") if final is None else ("lengths", "ids", "words", "seen")
        with growing(self.folder / part / "tokens.npy", np.int32, int(offsets[-1])) as out:
            for mine, ids, *words in self._arrays(part, *names):
                if final is not None:
                    blob, seen = words
                    table = np.empty(len(seen), np.int32)
                    table[seen] = [final.get(word, UNKNOWN) for word in lines_of(blob)]
                    ids = table[ids]
                starts = np.concatenate([[0], np.cumsum(mine)[:-1]])
                out.write(np.insert(ids, starts[mine == 0], self.unknown).data)
                progress.add(len(mine))
        save(self.folder / part / "token_offsets.npy", offsets)
        duplicates = sum(int(count) for (count,) in self._arrays(part, "duplicates"))
        counts = self._joined(part, "label_counts")
        self.counts[part] = {
            "documents": len(lengths),
            "without text": int((lengths == 0).sum()),
            "without label": int((counts == 0).sum()),
            "duplicate labels": duplicates,
        }

    def _order_labels(self) -> None:
        """Labels of train and validation sorted by id, then those only in test."""
        known, test = set(), set()
        for part in self.shards:
            mine = test if part == "test" else known
            for (labels,) in self._arrays(part, "labels"):
                mine.update(lines_of(labels))
        if not known:
            raise InputError("dataset: no document of the training part has a label")
        # as Python sorts text: the order of UTF-8 bytes is that of code points
        self.known, self.unseen = sorted(known), sorted(test - known)
        self.final = {label: i for i, label in enumerate(self.known + self.unseen)}

    def _write_labels(self, part: str) -> None:
        counts = self._joined(part, "label_counts")
        missed, trained = 0, np.zeros(len(self.known), np.int64)
        with growing(self.folder / part / "label_ids.npy", np.int32, int(counts.sum())) as out:
            for labels, ids, mine in self._arrays(part, "labels", "label_ids", "label_counts"):
                table = np.array([self.final[label] for label in lines_of(labels)], np.int32)
                ids = table[ids]
                ids = ids[np.lexsort((ids, np.repeat(np.arange(len(mine)), mine)))]
                missed += int((ids >= len(self.known)).sum())
                if part == "train":
                    trained += np.bincount(ids, minlength=len(self.known))
                out.write(ids.data)
        save(self.folder / part / "label_offsets.npy", np.concatenate([[0], np.cumsum(counts)]))
        self.counts[part]["positives of labels unseen in training"] = missed
        if part == "train":
            self.trained = trained

    def _write_label_table(self) -> None:
        names = self.source.label_names()
        with open(self.folder / "labels.tsv", "w", encoding="utf-8", newline="\n") as file:
            for i, label in enumerate(map(bytes.decode, self.known)):
                file.write(f"{i}\t{label}\t{_clean(names.get(label, label)) or label}\t{self.trained[i]}\n")
        (self.folder / "unseen_labels.txt").write_bytes(b"".join(label + b"\n" for label in self.unseen))
        if parents := self.source.label_parents():
            lines = (f"{label}\t{parent}\n" for label in sorted(parents) for parent in parents[label])
            (self.folder / "label_parents.tsv").write_text("".join(lines), encoding="utf-8")


def joined(labels: Set[str], alone: bool) -> str | None:
    """A line where labels look like others joined by one of `SEPARATORS`: a corpus that was read with another separator
    than its own. Null where they do not. alone: no document has two labels; then few of those that were joined are
    labels themselves, but fewer parts than labels say so too."""
    for mark in SEPARATORS:
        holding = [label for label in labels if mark in label]
        pieces = {label: set(map(str.strip, label.split(mark))) - {""} for label in holding}
        made = [label for label, own in pieces.items() if own and own <= labels]
        if made and 2 * len(made) > len(holding):
            return (
                f"{len(made)} of {len(holding)} labels with {mark!r} in them are other labels joined by it, such as "
                f"{min(made)!r}: is it what separates labels (dataset.label_separator)?"
            )
        parts = len(set().union(*pieces.values()))
        if alone and 2 * len(holding) > len(labels) and 0 < parts < len(holding):
            return (
                f"no document has two labels, and {len(holding)} of {len(labels)} labels are made of {parts} parts with"
                f" {mark!r} between them, such as {min(holding)!r}: is it what separates labels"
                " (dataset.label_separator)?"
            )
    return None


def _clean(name: str) -> str:
    return " ".join(name.split()).encode("utf-8", "replace").decode("utf-8")
