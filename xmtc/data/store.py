"""A prepared corpus on disk: memory-mapped tokens and CSR labels. Made by `preparation.py`, read-only ever after.

meta.json           format, counts, hashes; ids of the padding and the unknown token
labels.tsv          index, id, name, training frequency: L labels of train and validation, sorted by id
unseen_labels.txt   labels met only in test; label L + i is line i
text/               vocabulary.txt (word-level) or tokenizer.json; document_frequency.npy
checksums           of all files, compared when a run opens the store (checksums.py)
PART/               tokens.npy int32, token_offsets.npy int64, label_ids.npy int32, label_offsets.npy int64
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from xmtc.data.files import UNREADABLE
from xmtc.data.vocabulary import Vocabulary
from xmtc.errors import InputError
from xmtc.parsing import read_json
from xmtc.shortage import BROKEN, is_shortage, said

FORMAT = 1


@dataclass
class Part:
    """N documents, in corpus order. tokens (sum of lengths,) int32 behind token_offsets (N + 1,); labels likewise.

    One loaded from a folder is sent to another process as that folder's name, not as its arrays.
    """

    tokens: np.ndarray
    token_offsets: np.ndarray
    label_ids: np.ndarray
    label_offsets: np.ndarray
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.token_offsets) - 1

    @classmethod
    def load(cls, folder: Path) -> Part:
        names = ("tokens", "token_offsets", "label_ids", "label_offsets")
        part = cls(*(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in names), folder)
        for array, offsets in ((part.tokens, part.token_offsets), (part.label_ids, part.label_offsets)):
            numbers = array.dtype.kind == offsets.dtype.kind == "i" and array.ndim == offsets.ndim == 1
            if not numbers or not len(offsets) or offsets[0] != 0 or offsets[-1] != len(array):
                raise ValueError(f"{folder.name}: offsets that do not end where the array does")
        return part

    def __reduce__(self):
        if self.folder is not None:
            return Part.load, (self.folder,)
        return Part, (self.tokens, self.token_offsets, self.label_ids, self.label_offsets)


class Store:
    """An opened store. Costs nothing to open: arrays stay on disk until touched. InputError: damaged."""

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        try:
            self._open()
        except (*UNREADABLE, InputError) as error:
            if is_shortage(error):  # or a header that is damaged, where there are no checksums
                raise InputError(f"{folder}: out of memory while the store is opened ({said(error)})") from None
            if isinstance(error, OSError) and error.errno in BROKEN:
                raise InputError(f"{folder}: the disk has failed while the store is opened ({said(error)})") from None
            what = f"a damaged store ({said(error)})"
            raise InputError(f"{folder}: {what}; delete the folder: it is made again") from None

    def _open(self) -> None:
        self.meta = read_json(self.folder / "meta.json", dict)
        self.parts = {name: Part.load(self.folder / name) for name in self.meta["parts"]}
        rows = [line.split("\t") for line in _lines(self.folder / "labels.tsv")]
        self.labels = [row[1] for row in rows]
        self.label_names = [row[2] for row in rows]
        self.label_frequency = np.array([int(row[3]) for row in rows], dtype=np.int64)
        self.unseen_labels = _lines(self.folder / "unseen_labels.txt")
        text = self.folder / "text"
        frequency = np.load(text / "document_frequency.npy", allow_pickle=False)
        special = {name: self.meta[name] for name in ("padding", "unknown") if name in self.meta}
        self.vocabulary = Vocabulary(len(frequency), frequency, len(self.parts["train"]), text, **special)

    def label_parents(self) -> list[tuple[str, str]]:
        """(label id, id of a label above it) of the corpus' hierarchy; empty without one."""
        path = self.folder / "label_parents.tsv"
        return [tuple(line.split("\t")) for line in _lines(path)] if path.exists() else []

    def parents(self) -> list[tuple[int, int]]:
        """(label, the label above it), both labels of the store; what lies above but is no label is left out."""
        number = {label: i for i, label in enumerate(self.labels)}
        pairs = ((number.get(child), number.get(above)) for child, above in self.label_parents())
        return sorted((child, above) for child, above in pairs if child is not None and above is not None)

    @property
    def num_labels(self) -> int:
        return len(self.labels)


def _lines(path: Path) -> list[str]:
    return path.read_bytes().decode("utf-8").split("\n")[:-1]
