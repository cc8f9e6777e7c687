"""Parquet tables, read in batches of rows through pyarrow (the optional extra `parquet`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xmtc.data.sources.tables import Row, TableSource
from xmtc.errors import InputError

BATCH_ROWS = 1024


class ParquetSource(TableSource):
    """A Parquet file a part; labels are a list column, or strings split at `label_separator`. Memory: 1,024 rows."""

    ending = "parquet"

    def rows(self, path: Path) -> Iterator[Row]:
        try:
            import pyarrow
            import pyarrow.parquet
        except ImportError:
            raise InputError("dataset=parquet needs pyarrow: pip install 'xmtc[parquet]'") from None
        row = 0
        try:
            with pyarrow.parquet.ParquetFile(path) as table:
                present = table.schema_arrow.names
                for column in self.columns():
                    if column not in present:
                        raise self.missing_column(path, column, present)
                for batch in table.iter_batches(BATCH_ROWS, columns=self.columns()):
                    for values in batch.to_pylist():
                        row += 1
                        yield f"{path}, row {row}", values
        except (pyarrow.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{path}: expected a whole Parquet file, failed after row {row} ({reason})") from None
