"""Documents into token and label ids of their own shard: the part of preparing that runs in processes."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from xmtc.data.text import Text
from xmtc.errors import InputError

Documents = list[tuple[str, list[str]]]


@dataclass
class Tokenised:
    """Documents of one shard, in ids that mean something only within it.

    words: distinct words in first-seen order (None: ids are a Hugging Face tokenizer's own). ids (tokens,) int32,
    lengths (documents,) int64. frequency: documents that hold each word. labels: distinct labels in first-seen order;
    label_ids (positives,) int32, each label once a document; label_counts (documents,) int64. duplicates: how many
    labels were given twice.
    """

    words: list[str] | None
    ids: np.ndarray
    lengths: np.ndarray
    frequency: np.ndarray
    labels: list[str]
    label_ids: np.ndarray
    label_counts: np.ndarray
    duplicates: int


class Numbered(dict):
    """Numbers keys as they come: the first 0, the next new one 1."""

    def __missing__(self, key) -> int:
        number = self[key] = len(self)
        return number


def tokenise(spec: Text | str, documents: Documents) -> Tokenised:
    """spec: a `Words`, or the definition of a Hugging Face tokenizer."""
    texts = [_whole(text) for text, _ in documents]
    tokens = _hugging_face(spec, texts) if isinstance(spec, str) else _words(spec, texts)
    return Tokenised(*tokens, *_labels(labels for _, labels in documents))


def _words(spec, texts: list[str]):
    local, frequency = Numbered(), Counter()
    encoded, lengths = [], np.zeros(len(texts), np.int64)
    for number, text in enumerate(texts):
        mine = list(map(local.__getitem__, spec.tokenise(text)))
        frequency.update(set(mine))
        encoded.append(np.array(mine, np.int32))
        lengths[number] = len(mine)
    counts = np.array([frequency[i] for i in range(len(local))], np.int64)
    return list(local), _joined(encoded), lengths, counts


def _hugging_face(definition: str, texts: list[str]):
    encodings = _tokenizer(definition).encode_batch_fast(texts, add_special_tokens=False)
    encoded = [np.array(encoding.ids, np.int32) for encoding in encodings]
    lengths = np.array([len(e) for e in encoded], np.int64)
    distinct = _joined([np.unique(e) for e in encoded])
    frequency = np.bincount(distinct, minlength=hugging_face_size(definition))
    return None, _joined(encoded), lengths, frequency.astype(np.int64)


def pieces(definition: str, text: str) -> list[str]:
    """The pieces of one text, as a Hugging Face tokenizer spells them."""
    return _tokenizer(definition).encode(_whole(text), add_special_tokens=False).tokens


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int32), *arrays])


def _labels(lists: Iterable[list[str]]):
    local, ids, counts, given = Numbered(), [], [], 0
    for labels in lists:
        mine = sorted(set(map(local.__getitem__, labels)))
        ids.extend(mine)
        counts.append(len(mine))
        given += len(labels)
    for label in local:
        if any(c in label for c in "\t\n\r") or not label.isascii() and _whole(label) != label:
            raise InputError(f"dataset: the label {label!r} holds a tab, a line end or half a character")
    return list(local), np.array(ids, np.int32), np.array(counts, np.int64), given - len(ids)


def _whole(text: str) -> str:
    """JSON can spell half a surrogate pair, which nothing can write; it becomes a question mark."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


@functools.lru_cache(maxsize=4)
def _tokenizer(definition: str):
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(definition)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@functools.lru_cache(maxsize=4)
def hugging_face_size(definition: str) -> int:
    """Rows a table needs for its ids: one more than the highest, which may exceed their number."""
    return max(_tokenizer(definition).get_vocab(with_added_tokens=True).values()) + 1
