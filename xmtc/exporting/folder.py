"""The folder an export fills: complete or absent, and never somebody else's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xmtc
from xmtc.data.checksums import list_files
from xmtc.data.files import output_to
from xmtc.errors import InputError

FORMAT = 1
FACTS = "export.json"


@contextmanager
def filled(target: Path) -> Iterator[Path]:
    """A folder to write into that takes the target's place at the end. An earlier export there is replaced; InputError
    for a folder of anything else."""
    if target.exists() and not (target / FACTS).is_file() and any(target.iterdir() if target.is_dir() else [target]):
        raise InputError(f"output={target}: is there and is no export of ours; name another folder")
    temporary = target.with_name(f".{target.name}.tmp")
    try:
        with output_to(f"output={target}"):
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
            list_files(temporary)
            for file in temporary.rglob("*"):  # some libraries write for their owner alone
                if file.is_file():
                    shutil.copymode(temporary / FACTS, file)
            if target.exists():
                shutil.rmtree(target)
            temporary.rename(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def copy_run(run: Path, folder: Path) -> None:
    """What a run needs beside its weights: configuration, labels, text; calibration and metrics where there are."""
    for name in ("config.yaml", "labels.tsv", "calibration.json", "metrics.json"):
        if (run / name).is_file():
            shutil.copyfile(run / name, folder / name)
    shutil.copytree(run / "text", folder / "text")


def bytes_of(path: Path) -> int:
    """Of a graph, with the files beside it that a large one's tensors lie in."""
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def write_facts(folder: Path, kind: str, facts: dict) -> None:
    content = {"format": FORMAT, "kind": kind, "xmtc": xmtc.__version__} | facts
    (folder / FACTS).write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
