"""Documents to answer, from text lines, JSON lines, CSV or Parquet, one at a time.

A document that cannot be read is a `Row` with an `error` in its place, so that answers stay in step with documents and
the caller decides whether to go on. What spoils the whole input (no such file, a missing column, a damaged archive) is
an InputError.
"""

from __future__ import annotations

import csv
import io
import lzma
import sys
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from xmtc.data.sources.dialect import delimiter_of, dialect, malformed
from xmtc.data.sources.lines import open_binary
from xmtc.data.sources.tables import metadata_tokens
from xmtc.errors import InputError
from xmtc.parsing import parse_json

SUFFIXES = {
    "": "text", ".txt": "text", ".text": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv",
    ".parquet": "parquet",
}  # fmt: skip
FORMATS = ("auto", "text", "jsonl", "csv", "parquet")
PARQUET_ROWS = 256


@dataclass
class Row:
    """where: "FILE, line 3". text: the document. id, labels: what is in their columns, where such are named. error: why
    it has none."""

    where: str
    text: str = ""
    id: Any = None
    error: str | None = None
    labels: Any = None


@dataclass
class Columns:
    """text: one column, or several joined by a space, as in training. id: for the answer. labels: true ones. metadata:
    what becomes tokens before the text."""

    text: Sequence[str]
    id: str | None = None
    labels: str | None = None
    metadata: Sequence[str] = ()

    def all(self) -> list[str]:
        return [*self.text, *self.metadata, *(column for column in (self.id, self.labels) if column is not None)]

    def check(self, where: str, present: Sequence[str], kind: str = "") -> None:
        for column in self.all():
            if column not in present:
                raise InputError(self.missing(where, column, present, kind))

    def missing(self, where: str, column: str, present: Sequence[str], kind: str = "") -> str:
        key = {self.id: "id_column", self.labels: "label_column"}.get(column, "text_column")
        key = "metadata_columns ([] for none)" if column in self.metadata else key
        key = f"{key} or delimiter" if kind == "csv" and len(present) == 1 else key  # a line in one piece
        found = ", ".join(map(str, present)) or "none"
        return f"{where}: no column {column!r}, found {found[:200]}; set {key}"

    def row(self, where: str, cells: dict) -> Row:
        for column in self.all():
            if column not in cells:
                return Row(where, error=self.missing(where, column, list(cells)))
        for column in self.text:
            if not isinstance(cells[column], str | None):
                kind = type(cells[column]).__name__
                return Row(where, error=f"{where}: column {column!r} expected a text, found {kind}")
        text = " ".join(cells[column] or "" for column in self.text)
        try:
            text = metadata_tokens(where, self.metadata, cells) + text
        except InputError as error:
            return Row(where, error=str(error))
        return Row(where, text, cells.get(self.id), labels=cells.get(self.labels))


def format_of(name: str, given: str) -> str:
    """The format of an input, from its name where it is `auto`. Standard input is text lines."""
    if given not in FORMATS:
        raise InputError(f"format={given}: unknown choice; choose from {', '.join(FORMATS)}")
    if given != "auto" or name == "-":
        return "text" if given == "auto" else given
    path = Path(name)
    suffix = path.with_suffix("").suffix if path.suffix in (".gz", ".xz") else path.suffix
    if suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{name}: cannot tell its format from {suffix!r}; set format to one of {', '.join(FORMATS[1:])}"
        )
    return SUFFIXES[suffix.lower()]


def by_name(name: str) -> str:
    """What stands between the columns of a CSV file that is called so."""
    return "\t" if ".tsv" in Path(name).suffixes else ","


def rows(
    name: str, kind: str, columns: Columns, delimiter: str | None = None, quote: str | None = None
) -> Iterator[Row]:
    """The documents of a file, or of standard input for `-`. Memory: one document (Parquet: 256).

    delimiter, quote: of CSV, as the keys of `dataset=csv`; null for those of the file's name."""
    if kind == "parquet":
        yield from _parquet(name, columns)
        return
    if name == "-":
        stream, shown = sys.stdin.buffer, "standard input"
    else:
        stream, shown = open_binary(Path(name)), name
    if delimiter is None:
        delimiter = by_name(name)
    given = dialect(delimiter_of(delimiter, "delimiter"), '"' if quote is None else quote, "quote")
    number = 0
    try:
        read = {"text": _text, "jsonl": _jsonl}.get(kind)
        for row in read(stream, shown, columns) if read else _csv(stream, shown, columns, given):
            number += 1
            yield row
    except EOFError:
        raise InputError(f"{shown}: the compressed file is cut short after document {number}") from None
    except (OSError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{shown}: cannot be read after document {number} ({error})") from None
    finally:
        if name != "-":
            stream.close()


def _text(stream: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    for number, raw in enumerate(stream, start=1):
        where = f"{name}, line {number}"
        try:
            yield Row(where, _stripped(raw, number).decode("utf-8"))
        except UnicodeDecodeError as error:
            yield Row(where, error=_not_utf8(where, error))


def _jsonl(stream: BinaryIO, name: str, columns: Columns) -> Iterator[Row]:
    for number, raw in enumerate(stream, start=1):
        where = f"{name}, line {number}"
        raw = _stripped(raw, number)
        if not raw.strip():
            continue
        try:
            cells = parse_json(raw.decode("utf-8"), where)
        except UnicodeDecodeError as error:
            yield Row(where, error=_not_utf8(where, error))
        except InputError as error:
            yield Row(where, error=str(error))
        else:
            if isinstance(cells, dict):
                yield columns.row(where, cells)
            else:
                yield Row(where, error=f"{where}: expected a JSON object, found {type(cells).__name__}")


def _csv(stream: BinaryIO, name: str, columns: Columns, given: dict[str, Any]) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # the default of 128 KiB refuses long documents
    # undecodable bytes pass through the reader, which knows where a record ends, and are found in the record
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
    try:
        yield from _records(text, name, columns, given)
    finally:
        text.detach()  # the stream is its owner's to close


def _records(text: io.TextIOWrapper, name: str, columns: Columns, given: dict[str, Any]) -> Iterator[Row]:
    reader, header = csv.reader(text, **given), None
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            where = f"{name}, line {reader.line_num}"
            if header is None:
                raise InputError(f"{where}: {malformed(error, 'quote')}") from None
            yield Row(where, error=f"{where}: {malformed(error, 'quote')}")
            continue
        where = f"{name}, line {reader.line_num}"
        if header is None:
            header = cells
            if (found := _undecoded("".join(header))) and not set(columns.all()) <= set(header):
                raise InputError(f"{where}: {found}")
            columns.check(where, header, "csv")
        elif cells and len(cells) != len(header):
            found = f"expected {len(header)} columns as in the header, found {len(cells)}"
            yield Row(where, error=f"{where}: {found}")
        elif cells:
            row = columns.row(where, dict(zip(header, cells, strict=True)))
            found = _undecoded(f"{row.text}{row.id or ''}{row.labels or ''}")
            yield Row(where, error=f"{where}: {found}") if found else row


def _undecoded(text: str) -> str | None:
    """What is wrong with a text that was read with surrogateescape; None: nothing."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"expected UTF-8 text, found byte 0x{ord(text[error.start]) - 0xDC00:02x}"
    return None


def _parquet(name: str, columns: Columns) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InputError("format=parquet needs pyarrow: pip install 'xmtc[parquet]'") from None
    number = 0
    source = pyarrow.BufferReader(sys.stdin.buffer.read()) if name == "-" else name  # its index is at its end
    try:
        with pyarrow.parquet.ParquetFile(source) as table:
            columns.check(name, table.schema_arrow.names)
            for batch in table.iter_batches(PARQUET_ROWS, columns=columns.all()):
                for cells in batch.to_pylist():
                    number += 1
                    yield columns.row(f"{name}, row {number}", cells)
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{name}: expected a whole Parquet file, failed after row {number} ({reason})") from None


def _stripped(raw: bytes, number: int) -> bytes:
    """A line without its end, the first one also without a byte-order mark."""
    if number == 1:
        raw = raw.removeprefix(b"\xef\xbb\xbf")
    if raw.endswith(b"\n"):
        raw = raw[: -2 if raw.endswith(b"\r\n") else -1]
    return raw


def _not_utf8(where: str, error: UnicodeDecodeError) -> str:
    return f"{where}: expected UTF-8 text, found byte 0x{error.object[error.start]:02x} at column {error.start + 1}"
