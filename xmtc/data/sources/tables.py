"""Tables: CSV, JSON lines or Parquet, one document a row, with the text and the labels in columns.

Parts are files. `path` is the folder (`train.csv`, `test.csv` and, where there is one, `validation.csv`, `dev.csv`,
`val.csv` or `valid.csv`; .gz and .xz for CSV and JSON lines), or the train file itself; `train`, `validation` and
`test` name other files, relative to the folder. `labels.tsv` and `label_parents.tsv` may lie beside them.

Rows with an empty text or without labels are documents like any other; blank lines are skipped.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from xmtc.data.sources.base import PARTS, Source, require_documents
from xmtc.data.sources.dialect import delimiter_of, dialect, malformed
from xmtc.data.sources.json_lines import json_lines, short
from xmtc.data.sources.label_names import label_names_file, read_label_names, read_label_parents
from xmtc.data.sources.lines import find, lines
from xmtc.data.sources.part_files import prefix_tokens
from xmtc.errors import InputError

STEMS = {"train": ("train",), "validation": ("validation", "dev", "val", "valid"), "test": ("test",)}
Row = tuple[str, dict[str, object]]  # where it stands ("FILE, line 3"), column -> value


class TableSource(Source):
    """What the three kinds share: which file is which part, and which cells are the text and the labels.

    text_column: one column, or several joined by a space. label_separator: between labels in a cell that is a string;
    cells that are lists need none. metadata_columns: columns that become tokens before the text (a venue, authors).
    """

    ending = ""

    def __init__(
        self,
        path: str,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        text_column: str | Sequence[str] = "text",
        label_column: str = "labels",
        label_separator: str = " ",
        metadata_columns: Sequence[str] = (),
    ):
        self.metadata_columns = list(metadata_columns)
        self.path = Path(path).expanduser()
        self.named = {"train": train, "validation": validation, "test": test}
        self.text_columns = [text_column] if isinstance(text_column, str) else list(text_column)
        self.label_column, self.label_separator = label_column, label_separator
        if not label_separator:
            raise InputError("dataset.label_separator is empty, expected the character(s) between two labels")
        self._found: dict[str, Path] | None = None

    def rows(self, path: Path) -> Iterator[Row]:
        """Rows of one file, in order; those columns at least that `self.columns()` names."""
        raise NotImplementedError

    def columns(self) -> list[str]:
        return [*self.text_columns, *self.metadata_columns, self.label_column]

    def parts(self) -> list[str]:
        return list(self._paths())

    def documents(self, part: str) -> Iterator[tuple[str, list[str]]]:
        path = self._paths()[part]
        return require_documents((self._document(*row) for row in self.rows(path)), part, path)

    def files(self) -> list[Path]:
        names = label_names_file(self._folder())
        return [*self._paths().values()] + ([names] if names else [])

    def fingerprint(self) -> dict:
        own: dict = {"metadata_columns": self.metadata_columns} if self.metadata_columns else {}
        if any(self.named.values()):  # the same files may be given to other parts: what was train may be test now
            own["files"] = [path.name for path in self._paths().values()]
        return own | {
            "layout": self.ending,
            "parts": self.parts(),
            "text_column": self.text_columns,
            "label_column": self.label_column,
            "label_separator": self.label_separator,
        }

    def label_names(self) -> dict[str, str]:
        return read_label_names(label_names_file(self._folder()))

    def label_parents(self) -> dict[str, list[str]]:
        path = find(self._folder(), "label_parents.tsv")
        return read_label_parents(path) if path else {}

    def name_files(self) -> list[Path]:
        path = find(self._folder(), "label_parents.tsv")
        return [path] if path else []

    def _folder(self) -> Path:
        return self.path.parent if self.path.is_file() else self.path

    def _paths(self) -> dict[str, Path]:
        """part -> file, looked up once."""
        if self._found is None:
            if not self.path.exists():
                raise InputError(f"{self.path}: no such file or folder; set dataset.path")
            found = {part: self._path(part) for part in PARTS}
            self._found = {part: path for part, path in found.items() if path is not None}
        return self._found

    def _path(self, part: str) -> Path | None:
        folder, name = self._folder(), self.named[part]
        if name is not None:
            path = folder / Path(name).expanduser()
            if not path.is_file():
                raise InputError(f"{path}: no such file; set dataset.{part}")
            return path
        if part == "train" and self.path.is_file():
            return self.path
        for stem in STEMS[part]:
            if path := find(folder, f"{stem}.{self.ending}"):
                return path
        if part == "validation":
            return None
        raise InputError(f"{folder}: expected {part}.{self.ending}, found none; set dataset.{part} to the {part} file")

    def _document(self, where: str, row: dict[str, object]) -> tuple[str, list[str]]:
        for column in self.columns():
            if column not in row:
                raise self.missing_column(where, column, row)
        text = " ".join(self._text(where, column, row[column]) for column in self.text_columns)
        if self.metadata_columns:
            text = metadata_tokens(where, self.metadata_columns, row) + text
        return text, self._labels(where, row[self.label_column])

    def missing_column(self, where: object, column: str, present) -> InputError:
        key = {self.label_column: "label_column"}.get(column, "text_column")
        key = "metadata_columns" if column in self.metadata_columns else key
        found = ", ".join(map(str, present)) or "none"
        return InputError(f"{where}: no column {column!r}, found {found}; set dataset.{key}")

    def _text(self, where: str, column: str, value: object) -> str:
        if value is None:
            return ""
        if not isinstance(value, str):
            found = short(value)
            raise InputError(f"{where}: column {column!r} expected a text, found {found}; set dataset.text_column")
        return _encodable(where, value)

    def _labels(self, where: str, value: object) -> list[str]:
        if value is None:
            return []
        cells = value.split(self.label_separator) if isinstance(value, str) else value
        if isinstance(cells, int) and not isinstance(cells, bool):
            cells = [cells]
        if not isinstance(cells, list):
            raise self._bad_labels(where, value)
        labels = []
        for cell in cells:
            if isinstance(cell, bool) or not isinstance(cell, str | int):
                raise self._bad_labels(where, cell)
            label = _encodable(where, str(cell).strip())
            if any(character in label for character in "\t\r\n"):
                raise InputError(f"{where}: expected labels without tabs and line ends, found {short(label)}")
            if label:
                labels.append(label)
        return labels

    def _bad_labels(self, where: str, value: object) -> InputError:
        return InputError(
            f"{where}: column {self.label_column!r} expected a list of labels (text or whole numbers) or labels "
            f"separated by {self.label_separator!r}, found {short(value)}; set dataset.label_column"
        )


class CsvSource(TableSource):
    """CSV with a header line. Cells may be quoted, of any size, and hold line ends. delimiter: "," or e.g. "\\t".
    quote: "none" where quotation marks are part of the text."""

    ending = "csv"

    def __init__(
        self,
        path: str,
        train: str | None = None,
        validation: str | None = None,
        test: str | None = None,
        text_column: str | Sequence[str] = "text",
        label_column: str = "labels",
        label_separator: str = ";",
        metadata_columns: Sequence[str] = (),
        delimiter: str = ",",
        quote: str = '"',
    ):
        super().__init__(path, train, validation, test, text_column, label_column, label_separator, metadata_columns)
        self.delimiter = delimiter_of(delimiter, "dataset.delimiter")
        self.dialect = dialect(self.delimiter, quote, "dataset.quote")
        self.quote = quote

    def fingerprint(self) -> dict:
        quote = {} if self.quote == '"' else {"quote": self.quote}  # a store from before there was the key is the same
        return super().fingerprint() | {"delimiter": self.delimiter} | quote

    def missing_column(self, where: object, column: str, present) -> InputError:
        error = super().missing_column(where, column, present)
        return InputError(f"{error} or dataset.delimiter") if len(present) == 1 else error  # a line in one piece

    def rows(self, path: Path) -> Iterator[Row]:
        csv.field_size_limit(2**31 - 1)  # the default of 128 KiB refuses long documents
        reader = csv.reader(lines(path, keep_ends=True), **self.dialect)
        try:
            header = next(reader, None)
            if header is None:
                return
            for column in self.columns():
                if column not in header:
                    raise self.missing_column(f"{path}, line 1", column, header)
                if (times := header.count(column)) > 1:
                    raise InputError(f"{path}, line 1: column {column!r} stands {times} times, expected once")
            for cells in reader:
                if not cells:
                    continue
                where = f"{path}, line {reader.line_num}"
                if len(cells) != len(header):
                    raise InputError(f"{where}: expected {len(header)} columns as in the header, found {len(cells)}")
                yield where, dict(zip(header, cells, strict=True))
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: {malformed(error, 'dataset.quote')}") from None


class JsonlSource(TableSource):
    """JSON lines: one object a line; labels are a list, or a string split at `label_separator`."""

    ending = "jsonl"

    def rows(self, path: Path) -> Iterator[Row]:
        return json_lines(path)


def metadata_tokens(where: str, columns: Sequence[str], row: dict[str, object]) -> str:
    """What stands before the text of a row: its metadata as tokens."""
    found = {}
    for column in columns:
        value = row[column]
        values = [] if value is None else value if isinstance(value, list) else [value]
        if any(isinstance(v, bool) or not isinstance(v, str | int) for v in values):
            raise InputError(f"{where}: column {column!r} expected a text or a list of texts, found {short(value)}")
        found[column] = [_encodable(where, str(v)) for v in values]
    return prefix_tokens(found)


def _encodable(where: str, text: str) -> str:
    """JSON may spell half a surrogate pair, which no UTF-8 file can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        found = f"a lone surrogate at character {error.start + 1}"
        raise InputError(f"{where}: expected Unicode text, found {found}") from None
    return text
