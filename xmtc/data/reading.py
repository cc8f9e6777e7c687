"""From new texts to a Batch, by what a run directory keeps in `text/`: no corpus, no store, no labels."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xmtc.data.batch import Batch
from xmtc.data.collate import Documents, Layout
from xmtc.data.files import UNREADABLE
from xmtc.data.store import Part
from xmtc.data.text import HuggingFace, Text
from xmtc.data.tokenising import hugging_face_size, pieces, tokenise
from xmtc.data.vocabulary import PADDING, UNKNOWN, Vocabulary
from xmtc.errors import InputError
from xmtc.parsing import read_json

log = logging.getLogger(__name__)
META = "meta.json"


def read_vocabulary(folder: Path) -> tuple[Vocabulary, int]:
    """The vocabulary of a run's `text/` folder and the width of its evaluation batches. InputError: not readable."""
    meta = read_json(folder / META, dict)
    try:
        facts = [meta[key] for key in ("num_documents", "padding", "unknown", "width")]
    except KeyError as error:
        raise InputError(f"{folder / META}: expected what a run writes there, found no {error.args[0]}") from None
    try:
        frequency = np.load(folder / "document_frequency.npy", allow_pickle=False)
    except UNREADABLE as error:
        raise InputError(f"{folder / 'document_frequency.npy'}: not readable ({error})") from None
    documents, padding, unknown, width = facts
    return Vocabulary(len(frequency), frequency, documents, folder, padding, unknown), width


def recorded_documents(folder: Path) -> int | None:
    """N of the propensities, as a run or an ensemble has recorded it in its `folder`; None where there is no record."""
    path = folder / "text" / META
    count = read_json(path, dict).get("num_documents") if path.is_file() else None
    return count if isinstance(count, int) and count > 0 else None


class TextReader:
    """Tokenises texts as the training documents were and makes batches of them. Thread-safe.

    width: rows of token ids are at least so wide. A text without words is one unknown token, as in a store. Cost of a
    word-level vocabulary: one dictionary of V words.
    """

    def __init__(self, text: Text, vocabulary: Vocabulary, layout: Layout, width: int = 1):
        self.text, self.vocabulary, self.layout, self.width = text, vocabulary, layout, width
        self._words: dict[str, int] | None = None
        self._definition = ""
        if isinstance(text, HuggingFace):
            self._definition = _read(vocabulary.folder / "tokenizer.json")
            hugging_face_size(self._definition)  # once, before several threads ask
        else:
            self._warn_of_another_splitter()
            words = _read(vocabulary.folder / "vocabulary.txt").split("\n")[:-1]
            self._words = {word: i for i, word in enumerate(words) if i not in (PADDING, UNKNOWN)}

    def _warn_of_another_splitter(self) -> None:
        """The papers' words depend on data of NLTK's that may be installed here and not there."""
        trained, here = read_json(self.vocabulary.folder / META, dict).get("splitter"), self.text.splitter()
        if trained is not None and trained != here:
            log.warning("words were split by %s in training and are by %s here (NLTK's data punkt_tab)", trained, here)

    def tokens(self, texts: Sequence[str]) -> Part:
        """The texts as documents without labels."""
        block = tokenise(self._definition if self._words is None else self.text, [(text, []) for text in texts])
        ids = block.ids
        if block.words is not None:
            known = np.fromiter((self._words.get(word, UNKNOWN) for word in block.words), np.int32, len(block.words))
            ids = known[ids] if len(known) else ids
        empty = np.flatnonzero(block.lengths == 0)
        starts = np.concatenate([[0], np.cumsum(block.lengths)])
        ids = np.insert(ids, starts[:-1][empty], self.vocabulary.unknown)
        offsets = np.concatenate([[0], np.cumsum(np.maximum(block.lengths, 1))])
        return Part(ids.astype(np.int32), offsets, np.zeros(0, np.int32), np.zeros(len(texts) + 1, np.int64))

    def documents(self, texts: Sequence[str]) -> Documents:
        """Batches on demand: `documents[positions]`; `lengths()` are the tokens each text contributes."""
        return Documents(self.tokens(texts), self.text, self.layout, None, self.vocabulary.padding, self.width)

    def batch(self, texts: Sequence[str]) -> Batch:
        return self.documents(texts)[np.arange(len(texts))]

    def words(self, text: str) -> list[str]:
        """The tokens of one text as the model reads them, cut at its length (a bag's are not cut)."""
        if self._words is None:
            words = pieces(self._definition, text)
        else:
            words = self.text.tokenise(text)
        return words if self.layout == "bag" else words[: self.text.length]


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable ({error})") from None
