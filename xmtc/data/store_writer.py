"""Writes one store from one corpus: the work behind `preparation.py`, which decides when and where."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from array import array
from pathlib import Path

import numpy as np

from xmtc.data.files import growing, save
from xmtc.data.sources.base import Source
from xmtc.data.store import FORMAT
from xmtc.data.text import HuggingFace, Text
from xmtc.data.tokenising import blocks, hugging_face_size
from xmtc.data.vocabulary import PADDING, UNKNOWN
from xmtc.data.word_rows import word_rows
from xmtc.errors import InputError

log = logging.getLogger(__name__)
TELL = 10  # seconds between lines of progress


class StoreWriter:
    """Writes one store. Token ids are first-seen ids of training words, until the vocabulary's order is known."""

    def __init__(self, folder: Path, source: Source, text: Text, content: dict, workers: int | None):
        self.folder, self.source, self.text, self.content = folder, source, text, content
        self.workers = workers or os.cpu_count() or 1
        self.words: dict[str, int] = {}
        self.frequency = np.zeros(0, np.int64)
        self.labels: dict[str, int] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self.padding, self.unknown = text.special() if isinstance(text, HuggingFace) else (PADDING, UNKNOWN)

    def write(self) -> None:
        parts = self.source.parts()
        raw = {part: self._read(part) for part in parts}
        order = self._vocabulary()
        ids, num_labels = self._label_order(raw)
        for part, (lengths, label_ids, label_counts) in raw.items():
            self._finish(part, lengths, order)
            self._write_labels(part, ids[label_ids], label_counts)
            missed = int((ids[label_ids] >= num_labels).sum())
            self.counts[part]["positives of labels unseen in training"] = missed
        self._write_label_table(raw["train"][1], ids, num_labels)
        digest = hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()
        meta = {"format": FORMAT, "parts": parts, "dataset_sha256": digest, "content": self.content}
        meta |= {"text": self.text.key(), "counts": self.counts, "num_labels": num_labels}
        meta |= {"padding": self.padding, "unknown": self.unknown}
        meta["report"] = "; ".join(
            f"{part}: " + ", ".join(f"{value} {what}" for what, value in counts.items() if value)
            for part, counts in self.counts.items()
        )
        (self.folder / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")

    def _read(self, part: str):
        """Tokenises one part into provisional ids on disk; returns token counts and provisional labels as CSR."""
        (self.folder / part).mkdir(parents=True)
        lengths, label_ids, label_counts = [], array("q"), array("q")
        begun = told = time.monotonic()
        count = {"documents": 0, "without text": 0, "without label": 0, "duplicate labels": 0}
        with open(self.folder / part / "provisional", "wb") as file:
            for block, label_lists in blocks(self.text, self.source.documents(part), self.workers):
                ids = self._provisional(block, part == "train")
                file.write(ids.astype(np.int32).data)
                lengths.append(block.lengths)
                for labels in label_lists:
                    distinct = sorted({self._label(label) for label in labels})
                    label_ids.extend(distinct)
                    label_counts.append(len(distinct))
                    count["duplicate labels"] += len(labels) - len(distinct)
                    count["without label"] += not distinct
                count["documents"] += len(label_lists)
                if (now := time.monotonic()) - told > TELL:
                    told = now
                    rate = count["documents"] / (now - begun)
                    log.info("%s: %d documents, %.0f documents/s", part, count["documents"], rate)
        if not lengths:
            raise InputError(f"dataset: the {part} part of the corpus has no documents")
        lengths = np.concatenate(lengths)
        count["without text"] = int((lengths == 0).sum())
        self.counts[part] = count
        return lengths, np.array(label_ids, np.int64), np.array(label_counts, np.int64)

    def _label(self, label: str) -> int:
        """Provisional id; the first time, whether labels.tsv can hold it."""
        known = self.labels.get(label)
        if known is None:
            if any(c in label for c in "\t\n\r") or not label.isascii() and not _is_utf8(label):
                raise InputError(f"dataset: the label {label!r} holds a tab, a line end or half a character")
            known = self.labels[label] = len(self.labels)
        return known

    def _provisional(self, block, training: bool) -> np.ndarray:
        if block.words is None:  # a Hugging Face tokenizer has its own ids
            if training:
                size = max(len(self.frequency), len(block.frequency))
                self.frequency = np.pad(self.frequency, (0, size - len(self.frequency)))
                self.frequency += np.pad(block.frequency, (0, size - len(block.frequency)))
            return block.ids
        if not training:
            table = np.array([self.words.get(word, -1) for word in block.words], np.int64)
            return table[block.ids]
        table = np.array([self.words.setdefault(word, len(self.words)) for word in block.words], np.int64)
        if len(self.words) > len(self.frequency):
            grown = np.zeros(max(len(self.words), 2 * len(self.frequency)), np.int64)
            grown[: len(self.frequency)] = self.frequency
            self.frequency = grown
        self.frequency[table] += block.frequency
        return table[block.ids]

    def _vocabulary(self) -> np.ndarray | None:
        """Writes text/; returns final id of each provisional id (None: they are final)."""
        folder = self.folder / "text"
        folder.mkdir()
        if isinstance(self.text, HuggingFace):
            definition = self.text.json()
            (folder / "tokenizer.json").write_text(definition, encoding="utf-8")
            missing = max(0, hugging_face_size(definition) - len(self.frequency))
            save(folder / "document_frequency.npy", np.pad(self.frequency, (0, missing)))
            return None
        words = list(self.words)
        frequency = self.frequency[: len(words)]
        rank = np.zeros(len(words), bool) if self.text.prefer is None else ~self._preferred(self.text.prefer)
        best = np.lexsort((rank, -frequency))[: self.text.vocabulary_size - 2]  # stable: ties as first seen
        final = np.full(len(words) + 1, UNKNOWN, np.int32)  # the last entry serves id -1: not met in training
        final[best] = np.arange(2, len(best) + 2)
        listed = ["<PAD>", "<UNK>"] + [words[i] for i in best]
        (folder / "vocabulary.txt").write_text("".join(f"{word}\n" for word in listed), encoding="utf-8")
        save(folder / "document_frequency.npy", np.concatenate([[0, 0], frequency[best]]))
        self.words = {}
        return final

    def _preferred(self, path: Path) -> np.ndarray:
        """Which words a file of word vectors holds."""
        wanted = {word.encode(): i for word, i in self.words.items()}
        held = np.zeros(len(wanted), bool)
        for _, word, _, _ in word_rows(path, wanted):
            held[wanted[word]] = True
        return held

    def _finish(self, part: str, lengths: np.ndarray, order: np.ndarray | None) -> None:
        """Turns provisional ids into final ones; a document without text becomes one unknown token."""
        kept = np.maximum(lengths, 1)
        offsets = np.concatenate([[0], np.cumsum(kept)])
        source = np.concatenate([[0], np.cumsum(lengths)])
        path = self.folder / part / "provisional"
        tokens = growing(self.folder / part / "tokens.npy", np.int32, int(offsets[-1]))
        with open(path, "rb") as file, tokens as out:
            for start in range(0, len(lengths), 1000):
                stop = min(start + 1000, len(lengths))
                ids = np.fromfile(file, np.int32, int(source[stop] - source[start]))
                ids = ids if order is None else order[ids]
                empty = np.flatnonzero(lengths[start:stop] == 0)
                ids = np.insert(ids, source[start:stop][empty] - source[start], self.unknown)
                out.write(ids.data)
        save(self.folder / part / "token_offsets.npy", offsets)
        path.unlink()

    def _label_order(self, raw: dict) -> tuple[np.ndarray, int]:
        """Final id of each provisional label: labels of train and validation sorted by id, then those only in test."""
        known = np.zeros(len(self.labels), bool)
        for part, (_, label_ids, _) in raw.items():
            if part != "test":
                known[label_ids] = True
        if not known.any():
            raise InputError("dataset: no document of the training part has a label")
        names = list(self.labels)
        self.known = sorted((name for name, i in self.labels.items() if known[i]))
        self.unseen = sorted(name for name, i in self.labels.items() if not known[i])
        final = {name: i for i, name in enumerate(self.known + self.unseen)}
        return np.array([final[name] for name in names], np.int64), len(self.known)

    def _write_labels(self, part: str, ids: np.ndarray, counts: np.ndarray) -> None:
        rows = np.repeat(np.arange(len(counts)), counts)
        ids = ids[np.lexsort((ids, rows))]
        save(self.folder / part / "label_ids.npy", ids.astype(np.int32))
        save(self.folder / part / "label_offsets.npy", np.concatenate([[0], np.cumsum(counts)]))

    def _write_label_table(self, train_ids: np.ndarray, ids: np.ndarray, num_labels: int) -> None:
        frequency = np.bincount(ids[train_ids], minlength=num_labels)
        names = self.source.label_names()
        named = ((label, _clean(names.get(label, label))) for label in self.known)
        rows = (f"{i}\t{label}\t{name}\t{frequency[i]}\n" for i, (label, name) in enumerate(named))
        (self.folder / "labels.tsv").write_text("".join(rows), encoding="utf-8")
        (self.folder / "unseen_labels.txt").write_text("".join(f"{label}\n" for label in self.unseen), encoding="utf-8")


def _clean(name: str) -> str:
    return " ".join(name.split()).encode("utf-8", "replace").decode("utf-8")


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # JSON can spell half a surrogate pair
        return False
    return True
