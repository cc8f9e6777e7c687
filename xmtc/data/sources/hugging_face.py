"""A data set of the Hugging Face `datasets` library as its `save_to_disk` leaves it (the extra `datasets`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xmtc.data.sources.part_files import missing, require_folder
from xmtc.data.sources.tables import STEMS, Row, TableSource
from xmtc.errors import InputError

BATCH_ROWS = 1024


class HuggingFaceSource(TableSource):
    """path: the folder of a DatasetDict: a folder a split. Class labels are read by name. Memory: 1,024 rows."""

    ending = "datasets"

    def files(self) -> list[Path]:
        folders = self._paths().values()
        tables = [p for folder in folders for p in sorted([*folder.glob("*.arrow"), folder / "dataset_info.json"])]
        return [path for path in tables if path.is_file()] + super().files()[len(folders) :]

    def rows(self, path: Path) -> Iterator[Row]:
        try:
            from datasets import ClassLabel, load_from_disk
        except ImportError:
            raise InputError("dataset=huggingface needs datasets: pip install 'xmtc[datasets]'") from None
        try:
            table = load_from_disk(str(path))
        except Exception as error:  # the library's own errors have no common class
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(f"{path}: expected what Dataset.save_to_disk leaves ({reason})") from None
        for column in self.columns():
            if column not in table.column_names:
                raise self.missing_column(path, column, table.column_names)
        kind = table.features[self.label_column]
        kind = getattr(kind, "feature", kind)
        row = 0
        for batch in table.select_columns(self.columns()).iter(BATCH_ROWS):
            for values in zip(*batch.values(), strict=True):
                row += 1
                cells = dict(zip(batch, values, strict=True))
                if isinstance(kind, ClassLabel) and (given := cells[self.label_column]) is not None:
                    ids = given if isinstance(given, list) else [given]
                    cells[self.label_column] = [kind.int2str(label) for label in ids]
                yield f"{path}, row {row}", cells

    def _path(self, part: str) -> Path | None:
        require_folder(self.path)
        named = self.named[part]
        for stem in STEMS[part] if named is None else (named,):
            if (self.path / stem / "state.json").is_file():
                return self.path / stem
        if part == "validation" and named is None:
            return None
        raise InputError(missing(self.path, f"{named or part}/state.json"))
