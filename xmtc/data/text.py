"""How text becomes tokens: word-level or by a Hugging Face tokenizer. Chosen by `text=` or by the encoder.

A text specification has two halves. `key` is what decides the tokens, so what a prepared store is found by; `length`
and `fixed` are applied when a batch is made, so one store serves encoders of any length.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Literal

from xmtc.bounds import Bounds, Count
from xmtc.errors import InputError

# vowel signs and accents that follow their letter (Hindi, Thai, Hebrew with points): no \w to Python, yet within a word
_MARKS = "".join(filter(lambda c: unicodedata.category(c)[0] == "M", map(chr, range(0x300, 0x10000))))
_WORD = rf"[^\W_]+(?:[{_MARKS}]+[^\W_]*)*"
_FAST = re.compile(rf"/SEP/|{_WORD}(?:['’.,/\u200c\u200d-]{_WORD})*")  # joiners of width 0: Persian, Sinhala
_FAST_ASCII = re.compile(r"[a-z0-9]+(?:['.,/-][a-z0-9]+)*")  # the same of a lower-cased ASCII text, twice as fast
_HAS_WORD_CHARACTER = re.compile(r"\w")
SEPARATOR = "/SEP/"  # between title and description in the papers' files; keeps its case


class Text:
    """length: tokens kept of a document, null for all. fixed: pad every batch to `length`, not to its longest text."""

    def __init__(self, length: Count | None = 500, fixed: bool = False):
        if fixed and length is None:
            raise InputError("text.fixed: a fixed length needs text.length, which is null")
        self.length, self.fixed = length, fixed

    def key(self) -> dict:
        """Everything that changes the tokens, as plain values."""
        raise NotImplementedError


class Words(Text):
    """Words, lower-cased, in a vocabulary ordered by document frequency.

    style `papers`: NLTK's word tokenizer, tokens without a word character dropped (AttentionXML's and CorNet's code).
    NLTK's trained English sentence splitter is used where its data is installed, its untrained one
    otherwise; which one is part of the store's key. style `fast`: one regular expression, many times faster; words
    keep inner apostrophes, points, commas, slashes and hyphens, and the marks on their letters, however accents are
    encoded (NFC).
    vocabulary_size: V at most, padding and unknown included. prefer: a file of word vectors; of words in equally many
    documents those it has come first (as in the papers, with GloVe), then the one met first.
    """

    def __init__(
        self,
        style: Literal["fast", "papers"] = "fast",
        vocabulary_size: Annotated[int, Bounds(least=3)] = 500_000,
        length: Count | None = 500,
        fixed: bool = False,
        prefer: str | None = None,
    ):
        super().__init__(length, fixed)
        self.style, self.vocabulary_size = style, vocabulary_size
        self.prefer = Path(prefer).expanduser() if prefer else None

    def key(self) -> dict:
        key = {"kind": "words", "style": self.style, "vocabulary_size": self.vocabulary_size}
        key["splitter"] = self.splitter()
        if self.prefer is not None:
            from xmtc.data.word_rows import identity

            key["prefer"] = identity(self.prefer)
        return key

    def splitter(self) -> str | None:
        """What decides the words beside the style: the sentence splitter that is installed here, or the version of the
        regular expression."""
        return _sentence_splitter()[0] if self.style == "papers" else "fast-2"

    def tokenise(self, text: str) -> list[str]:
        """The words of one document; empty for a document without any."""
        if self.style == "fast":
            if text.isascii() and SEPARATOR not in text:
                return _FAST_ASCII.findall(text.lower())
            words = _FAST.findall(unicodedata.normalize("NFC", text))
            return [word if word == SEPARATOR else word.lower() for word in words]
        words = nltk_words(text)
        return [w if w == SEPARATOR else w.lower() for w in words if _HAS_WORD_CHARACTER.search(w)]


class HuggingFace(Text):
    """A fast tokenizer of the transformers library, by hub name or local folder. Special tokens are not stored.

    name: `minilm`, a local folder or a name on the Hugging Face hub. offline: the hub is not asked.
    """

    def __init__(self, name: str, length: Count | None = 512, fixed: bool = False, offline: bool = False):
        super().__init__(length, fixed)
        self.name, self.offline = name, offline

    def key(self) -> dict:
        import hashlib

        padding, unknown = self.special()
        digest = hashlib.sha256(self.json().encode()).hexdigest()
        return {"kind": "huggingface", "sha256": digest, "padding": padding, "unknown": unknown}

    def special(self) -> tuple[int, int]:
        """Ids of padding and of what stands for an empty text: the unknown token, else padding, end of text, 0."""
        tokenizer = _hugging_face(self.name, self.offline)
        ids = (tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.eos_token_id)
        padding, unknown, end = (None if i is None else int(i) for i in ids)
        first = lambda *choices: next((i for i in choices if i is not None), 0)  # noqa: E731
        return first(padding, end, unknown), first(unknown, padding, end)

    def json(self) -> str:
        """The tokenizer's whole definition: what the store keeps and what its key hashes."""
        return _hugging_face(self.name, self.offline).backend_tokenizer.to_str()


@functools.cache
def _hugging_face(name: str, offline: bool = False):
    from transformers import AutoTokenizer

    from xmtc.data.pretrained import from_pretrained

    tokenizer = from_pretrained(AutoTokenizer, name, "text.name", offline, use_fast=True)
    if not tokenizer.is_fast:
        raise InputError(f"text.name: {name!r} has no fast tokenizer, which preparing needs")
    return tokenizer


@functools.cache
def _sentence_splitter():
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    try:
        from nltk.tokenize.punkt import PunktTokenizer

        return "punkt-english", PunktTokenizer("english")
    except LookupError:  # its data is a separate download
        return "punkt-untrained", PunktSentenceTokenizer()


@functools.cache
def _word_tokenizer():
    from nltk.tokenize.destructive import NLTKWordTokenizer

    return NLTKWordTokenizer()


def nltk_words(text: str) -> list[str]:
    """`nltk.word_tokenize`, also where the data of its sentence splitter is not installed."""
    split, tokenizer = _sentence_splitter()[1], _word_tokenizer()
    return [word for sentence in split.tokenize(text) for word in tokenizer.tokenize(sentence)]
