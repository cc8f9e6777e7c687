"""The folder of an evaluation, which `xmtc.report` and `xmtc.analyse` read as they read a run's."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import yaml

from xmtc.data.files import output_to
from xmtc.data.lists import Lists
from xmtc.data.sources.dialect import delimiter_of
from xmtc.errors import InputError
from xmtc.parsing import read_yaml
from xmtc.predicting.gold import Labelled
from xmtc.predicting.inputs import by_name
from xmtc.reporting.runs import read_run
from xmtc.sweeping.settings import AND
from xmtc.tagger import Tagger
from xmtc.training.provenance import provenance
from xmtc.training.results import write_json

LAST = "metrics.json"  # without it a folder counts as incomplete


@contextlib.contextmanager
def new_folder(output: str | None) -> Iterator[Path | None]:
    """A folder to write into, whose files are in `output` at the end; what fails or is interrupted leaves none there.

    InputError, before any work: `output` holds something, or cannot be written."""
    if output is None:
        yield None
        return
    target = Path(output)
    made, hidden = not target.exists(), target / ".unfinished"  # within: the folder may be a disk of its own
    if target.is_file() or target.is_dir() and any(target.iterdir()):
        raise InputError(f"output: {target} is there and not empty; choose another folder")
    try:
        with output_to(f"output={target}"):
            hidden.mkdir(parents=True)
        yield hidden
        with output_to(f"output={target}"):
            for file in sorted(hidden.iterdir(), key=lambda file: file.name == LAST):
                file.rename(target / file.name)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if made:
            with contextlib.suppress(OSError):  # it is not empty
                target.rmdir()


def write(
    folder: Path,
    result: dict,
    lists: Lists,
    model: Tagger,
    kept: np.ndarray,
    facts: dict,
    settings: dict,
    labelled: Labelled,
    raw: bool,
    device: str,
) -> None:
    """kept: labels that were ranked, as places in the model's. facts: of the documents, for the provenance. settings:
    of the evaluation, by which reports tell it from another of the same model on the same documents."""
    run = read_run(model.folder)
    born = run.facts
    head = f"{run.head} (raw)" if raw and model.has_head else run.head  # another ranking than the run's own
    birth = provenance({"encoder": run.encoder, "head": head, "recipe": run.recipe}, device) | facts
    command = shlex.join(["python", "-m", "xmtc.evaluate", *sys.argv[1:]])
    birth |= {
        "command": f"{born['command']}{AND}{command}" if born.get("command") else command,
        "seed": run.seed,
        "world_size": 1,
        "precision": "32-true",  # as xmtc.load loads
        "trained_on": born.get("dataset"),
        "trained_by": {key: born.get(key) for key in ("commit", "command", "dataset_sha256")},
    }
    dataset = {"name": facts["dataset"], "propensity": model.config["dataset"].get("propensity")}
    if labelled.kind != "text":
        dataset["text_column"] = list(labelled.columns.text)
    config = read_yaml(model.folder / "config.yaml", dict) | {"dataset": dataset, "evaluation": settings}
    rows = [model.labels[int(place)] for place in kept]
    table = "".join(f"{i}\t{row.id}\t{row.name}\t{row.frequency}\n" for i, row in enumerate(rows))
    own = model.folder / "overrides.yaml"
    overrides = own.read_text(encoding="utf-8") if own.is_file() else "[]\n"
    with output_to(f"output={folder.parent}"):
        lists.save(folder / "predictions.npz")
        (folder / "labels.tsv").write_text(table, encoding="utf-8")
        (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
        (folder / "overrides.yaml").write_text(overrides, encoding="utf-8")
        write_json(folder / LAST, result | {"provenance": birth})


def digest(labelled: Labelled, match: str, shared: list[str]) -> str:
    """SHA-256 of what is to be found: equal for two models whose scores may stand in one table. shared: the labels that
    alone are ranked, by their ids."""
    given = labelled.delimiter and delimiter_of(labelled.delimiter, "delimiter")
    delimiter = None if given == by_name(labelled.input) else given  # said or not, the file is read alike
    settings = [labelled.kind, labelled.columns.labels, labelled.separator, delimiter, match, shared]
    settings += [labelled.quote] if labelled.quote not in (None, '"') else []
    found = hashlib.sha256(json.dumps(settings).encode())
    for path in (labelled.input, labelled.labels):
        if path is not None:
            with open(path, "rb") as file:
                found.update(hashlib.file_digest(file, "sha256").digest())
    return found.hexdigest()
