"""How a table is read where a command does not say: as the one that the model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xmtc.predicting.inputs import Columns


def columns_as_trained(
    dataset: Mapping[str, Any],
    text_column: str | Sequence[str] | None = None,
    metadata_columns: Sequence[str] | None = None,
    id_column: str | None = None,
    label_column: str | None = None,
) -> Columns:
    """dataset: of the run's configuration. metadata_columns: [] for none."""
    text = text_column or dataset.get("text_column") or "text"
    metadata = dataset.get("metadata_columns") if metadata_columns is None else metadata_columns
    return Columns([text] if isinstance(text, str) else list(text), id_column, label_column, list(metadata or ()))


def as_trained(dataset: Mapping[str, Any], input: str, kind: str, key: str, given: str | None) -> str | None:
    """`label_separator`, `delimiter` or `quote` of the corpus if it was a table of this kind; null where it says
    nothing. A file that is called .tsv has tabs."""
    was_csv = "delimiter" in dataset
    if given is not None or was_csv != (kind == "csv") or key == "delimiter" and ".tsv" in Path(input).suffixes:
        return given
    return dataset.get(key)
