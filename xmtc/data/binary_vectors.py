"""Word vectors in binary files: word2vec's (streamed), and fastText's, which also spells words it has never met."""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from xmtc.data.sources.lines import open_binary
from xmtc.errors import InputError

FASTTEXT = struct.pack("<i", 793712314)  # how a fastText model begins
MOST = 100_000  # numbers of a vector: more is a damaged file, for which no memory is taken
LONGEST = 4096  # bytes of a word


def is_binary(path: Path) -> bool:
    """By name: `.bin`, also compressed."""
    return ".bin" in path.suffixes


def binary_rows(path: Path, wanted: Collection[bytes]) -> Iterator[tuple[int, bytes, np.ndarray]]:
    """(row in the file, word, vector (E,) float32) of the wanted words. InputError: a file that is neither kind.

    word2vec: one pass, memory of one row. fastText: gensim loads the whole model, and every wanted word gets a vector,
    put together from its parts if need be.
    """
    with open_binary(path) as stream:
        first = stream.peek(4)[:4]
        if first == FASTTEXT:
            yield from _fasttext(path, wanted)
            return
        try:
            header = stream.readline(100).split()
            count, size = (int(number) for number in header)
        except ValueError:
            raise InputError(f"{path}: expected word2vec's binary format ('words size' first) or fastText's") from None
        if count < 0 or not 0 < size <= MOST:
            raise InputError(
                f"{path}: line 1 announces {count} words of {size} numbers; expected sizes from 1 to {MOST}"
            )
        try:
            for number in range(1, count + 1):
                word = _word(stream, path, number)
                data = stream.read(4 * size)
                if len(data) < 4 * size:
                    raise InputError(f"{path}: cut short after word {number - 1} of {count}")
                if word in wanted:
                    yield number, word, np.frombuffer(data, "<f4")
            if stream.read(2).strip():
                raise InputError(f"{path}: line 1 announces {count} words of {size} numbers, found more")
        except EOFError:
            raise InputError(f"{path}: the compressed file is cut short") from None


def _word(stream, path: Path, number: int) -> bytes:
    """Up to the blank before the numbers; some writers put a line end before each word, some do not."""
    word = bytearray()
    while (byte := stream.read(1)) != b" ":
        if not byte or len(word) > LONGEST:
            raise InputError(f"{path}, word {number}: expected a word and a blank, found {bytes(word[:20])!r}")
        if byte != b"\n" or word:
            word += byte
    return bytes(word)


def _fasttext(path: Path, wanted: Collection[bytes]) -> Iterator[tuple[int, bytes, np.ndarray]]:
    try:
        from gensim.models.fasttext import load_facebook_vectors
    except ImportError:
        raise InputError("embedding=vectors: a fastText model needs gensim: pip install 'xmtc[word2vec]'") from None
    try:
        model = load_facebook_vectors(str(path))
    except Exception as error:  # struct, value, end of file: whatever a damaged file sets off
        raise InputError(f"{path}: expected a whole fastText model ({error})") from None
    for number, word in enumerate(wanted, start=1):
        spelt = word.decode()
        if spelt in model:  # has a part that the model knows
            yield number, word, np.asarray(model[spelt], np.float32)
