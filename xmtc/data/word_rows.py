"""Files of word vectors: one word and its numbers a line, as GloVe and word2vec's text format write them."""

from __future__ import annotations

import hashlib
import logging
import lzma
import time
import zlib
from collections.abc import Container, Iterator
from pathlib import Path

from xmtc.data.sources.lines import open_binary
from xmtc.errors import InputError

log = logging.getLogger(__name__)
FIRST = 1 << 20  # bytes that, with the size, tell one file from another


def identity(path: Path) -> dict:
    """What tells this file from others: its size and a sha256 of its first MiB (it may be gigabytes). InputError: it is
    not there or cannot be read."""
    if not path.is_file():
        raise InputError(
            f"{path}: no such file of word vectors (embedding.path, recipe.prefer_words); GloVe 840B.300d comes from"
            " Stanford NLP (nlp.stanford.edu/projects/glove); embedding=word2vec and embedding=random need no file"
        )
    try:
        with open(path, "rb") as file:
            return {"bytes": path.stat().st_size, "first_mib": hashlib.sha256(file.read(FIRST)).hexdigest()}
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror or error})") from None


def word_rows(path: Path, wanted: Container[bytes]) -> Iterator[tuple[int, bytes, bytes, int]]:
    """(line number, word, its numbers as bytes, how many the file's vectors have) of the wanted words, in a stream.

    wanted: UTF-8. Words of the file may hold spaces (glove.840B has some): a line is read from its right end. A first
    line of two whole numbers (word2vec's header) is passed over. InputError: a line of too few numbers, a damaged file.
    """
    number = size = 0
    told = time.monotonic()
    with open_binary(path) as stream:
        try:
            for number, line in enumerate(stream, start=1):
                line = line.rstrip(b" \r\n")
                if number == 1 and len(parts := line.split(b" ")) == 2 and all(part.isdigit() for part in parts):
                    continue
                size = size or _size(path, number, line)
                spaces = line.count(b" ")
                if spaces < size:
                    raise InputError(f"{path}, line {number}: expected a word and {size} numbers, found {spaces}")
                word, rest = line[: (cut := line.index(b" "))], line[cut + 1 :]
                if spaces > size:
                    word, rest = line.rsplit(b" ", size)[0], line.split(b" ", spaces - size + 1)[-1]
                if word in wanted:
                    yield number, word, rest, size
                if time.monotonic() - told > 10:
                    told = time.monotonic()
                    log.info("%s: line %d", path.name, number)
        except EOFError:
            raise InputError(f"{path}: the compressed file is cut short after line {number}") from None
        except (OSError, zlib.error, lzma.LZMAError) as error:
            raise InputError(f"{path}: the file is damaged after line {number} ({error})") from None
    if not size:
        raise InputError(f"{path}: expected lines of a word and its numbers, found no line")


def _size(path: Path, number: int, line: bytes) -> int:
    """Numbers at the right end of a line, its first word left out."""
    size = 0
    for part in reversed(line.split(b" ")[1:]):
        try:
            float(part)
        except ValueError:
            break
        size += 1
    if size == 0:
        found = line[:40].decode("utf-8", "replace")
        raise InputError(f"{path}, line {number}: expected a word and its numbers, found {found!r}")
    return size
