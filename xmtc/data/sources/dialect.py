"""How a CSV is written: what stands between columns and around cells; of a corpus and of documents to be answered."""

from __future__ import annotations

import csv
from typing import Any

from xmtc.errors import InputError


def delimiter_of(given: str, key: str) -> str:
    """One character; "tab" for a tab. InputError: anything else, which names `key`."""
    delimiter = "\t" if given in ("tab", "\\t") else given
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise InputError(f"{key}={given!r}: expected one character or 'tab'")
    return delimiter


def dialect(delimiter: str, quote: str, key: str) -> dict[str, Any]:
    """How `csv.reader` reads: strictly. InputError: `quote` is neither one character nor "none"; names `key`."""
    if quote == "none":
        return {"delimiter": delimiter, "quoting": csv.QUOTE_NONE, "strict": True}
    if len(quote) != 1 or quote in f"{delimiter} \r\n":
        raise InputError(f"{key}={quote!r}: expected one character, not that between columns, or 'none'")
    return {"delimiter": delimiter, "quotechar": quote, "strict": True}


def malformed(error: csv.Error, key: str) -> str:
    return f"malformed CSV ({error}); where cells are not quoted, {key}=none"
