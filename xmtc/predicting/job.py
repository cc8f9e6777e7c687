"""One command of `xmtc.predict`: its parameters are the keys of `conf/command/predict.yaml`."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Literal

from xmtc.bounds import Count
from xmtc.errors import InputError
from xmtc.predicting.answers import Kept, Printed
from xmtc.predicting.as_trained import as_trained, columns_as_trained
from xmtc.predicting.inputs import FORMATS, Row, format_of, rows

log = logging.getLogger("xmtc.predict")
BLOCK = 1024  # documents read before the model runs, so that similar lengths share a batch
CHARACTERS = 4_000_000  # and characters, whichever comes first
TELL = 10  # seconds between lines of progress
COMPLAINTS = 20  # that are logged one by one


def predict_file(
    checkpoint: str,
    input: str,
    output: str | None = None,
    k: int | None = 5,
    threshold: float | str | None = None,
    on_error: Literal["fail", "skip"] = "fail",
    format: Literal["auto", "text", "jsonl", "csv", "parquet"] = "auto",
    text_column: str | Sequence[str] | None = None,
    id_column: str | None = None,
    metadata_columns: Sequence[str] | None = None,
    delimiter: str | None = None,
    quote: str | None = None,
    batch_size: Count | None = None,
    raw: bool = False,
    calibrated: bool = True,
    device: str = "cpu",
    execution: str | None = None,
) -> int:
    """Answers every document of the input, in order, one JSON object a line; returns how many.

    Memory: one block of documents. A document that cannot be read ends the command (`on_error=fail`) or is answered
    with no labels and an `error` (`skip`). InputError: one line for anything that cannot be used.
    """
    job = {name: value for name, value in locals().items() if name != "output"}
    kind = format_of(input, format)
    if input != "-" and not Path(input).exists():
        raise InputError(f"input: there is no file {input}")
    if input != "-" and output and Path(output).exists() and os.path.samefile(input, output):
        raise InputError(f"output: {output} is the input, which the answers would replace")
    tables = FORMATS[2:]
    for key, value, kinds in (
        ("text_column", text_column, tables), ("id_column", id_column, tables),
        ("metadata_columns", metadata_columns, tables), ("delimiter", delimiter, ["csv"]), ("quote", quote, ["csv"]),
    ):  # fmt: skip
        if value is not None and kind not in kinds:
            raise InputError(f"{key}: {input} is read as {kind}, which has none; set format to {' or '.join(kinds)}")
    kept = Kept(Path(output), job | _stamps(checkpoint, input), input != "-") if output else Printed()
    import xmtc  # imports torch: what is wrong with the files has been said by now

    model = xmtc.load(checkpoint, device, execution)
    if not calibrated:
        model.calibration = None
    least = model.threshold(threshold)
    if k is None and least is None:
        raise InputError("k: expected how many labels at most, or a threshold")
    if k is not None and k < 1:
        raise InputError(f"k: expected at least 1, got {k}")
    if k is not None and k > model.num_labels:
        log.warning("k=%d: the model has %d labels, all of them are answered", k, model.num_labels)
    corpus = model.config["dataset"]
    columns = columns_as_trained(corpus, text_column, metadata_columns, id_column)
    delimiter = as_trained(corpus, input, kind, "delimiter", delimiter)
    quote = as_trained(corpus, input, kind, "quote", quote)
    if kept.done:
        log.info("%s: going on after %d documents", kept.partial, kept.done)
    source = rows(input, kind, columns, delimiter, quote)
    stream = islice(source, kept.done, None)
    answered, failed, begun, told = 0, 0, time.monotonic(), time.monotonic()
    try:
        for block, broken in _blocks(stream, on_error, (batch_size or model.batch_size) if input == "-" else BLOCK):
            good = [row.text for row in block if row.error is None]
            answers = iter(model.predict(good, k, least, raw, batch_size))
            kept.write(_line(row, None if row.error else next(answers), id_column) for row in block)
            for row in block:
                failed += row.error is not None
                if row.error is not None and failed <= COMPLAINTS:
                    log.warning("%s", row.error)
            answered += len(block)
            if broken is not None:
                raise InputError(f"{broken.error}; on_error=skip answers the others")
            if (now := time.monotonic()) - told > TELL:
                told = now
                log.info("%d documents, %s documents/s", answered, _rate(answered, now - begun))
    finally:
        source.close()
        kept.close()
    kept.finish()
    if failed:
        log.warning("%d of %d documents could not be read", failed, answered)
    seconds = time.monotonic() - begun
    told = "1 document" if answered == 1 else f"{answered} documents"
    log.info("%s answered in %.1f s, %s documents/s", told, seconds, _rate(answered, seconds))
    return answered


def _rate(documents: int, seconds: float) -> str:
    rate = documents / max(seconds, 1e-9)
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def _blocks(stream: Iterator[Row], on_error: str, size: int) -> Iterator[tuple[list[Row], Row | None]]:
    """Blocks of rows, and the row that ends the command, if there is one, with what came before it."""
    block: list[Row] = []
    characters = 0
    for row in stream:
        if row.error is not None and on_error == "fail":
            yield block, row
            return
        block.append(row)
        characters += len(row.text)
        if len(block) >= size or characters >= CHARACTERS:
            yield block, None
            block, characters = [], 0
    if block:
        yield block, None


def _line(row: Row, answer, id_column: str | None) -> str:
    content = {} if id_column is None else {"id": row.id}
    if answer is None:
        content |= {"labels": [], "names": [], "scores": [], "error": row.error}
    else:
        content |= {"labels": answer.labels, "names": answer.names, "scores": list(map(_digits, answer.scores))}
    return json.dumps(content, ensure_ascii=False, default=str)


def _digits(score: float) -> float:
    """Seven places, as many as a float32 has, and five digits of what is small: most labels of many are."""
    return round(score, 7) if score > 1e-3 else float(f"{score:.5g}")


def _stamps(checkpoint: str, input: str) -> dict:
    """What tells that model and input are still the same when a command is repeated."""
    stamps = {}
    places = {
        "model": [
            Path(checkpoint) / name for name in ("checkpoints/best.ckpt", "model.safetensors", "ensemble.json", ".")
        ],
        "calibration": [Path(checkpoint) / "calibration.json"],
        "input file": [Path(input)],
    }
    for what, paths in places.items():
        found = next((path for path in paths if path.is_file()), None)
        status = found.stat() if found else None
        stamps[what] = [status.st_size, status.st_mtime_ns] if status else None
    return stamps
