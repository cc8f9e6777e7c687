"""Damages files that a command reads, one at a time, and looks at what comes of it.

    python -m tests.faults.damage --cases 1000 [--seed 0] [--what store best ...] [--log FILE]

Each case harms one region of one file (flipped bits, zeros, noise, bytes lost or doubled, cut, gone) and reads it as a
command does. Right is the answer of the undamaged file, or an InputError of one line; another answer or any other
exception is a failure. Cases follow from seed and number: with --log, those that FILE holds are not done again.
The last line is JSON.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import random
import shutil
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

import xmtc
from tests.faults.log import Log, asked, first_line
from xmtc.calibrate import calibrate
from xmtc.data.lists import read_lists
from xmtc.data.preparation import prepare
from xmtc.data.store_writer import StoreWriter
from xmtc.data.text import Words
from xmtc.data.unpack import unpack
from xmtc.errors import InputError
from xmtc.export import main as export
from xmtc.job import continued
from xmtc.testing.corpora import Listed, random_documents
from xmtc.training.kept import newest

REGIONS = 16
KINDS = ("flip", "flip", "flips", "zeros", "noise", "lost", "doubled", "swapped", "appended", "cut", "gone")
TRAINING = (
    "dataset=toy", "dataset.source.train=80", "dataset.source.validation=20", "dataset.source.test=21", "logger=csv",
    "prepare_workers=1", "encoder=bow", "head=lcenet", "encoder.embedding.size=8", "head.rank=4", "data.batch_size=16",
    "recipe.max_epochs=2", "checkpoints.steps=1",
)  # fmt: skip
TEXTS = ["g0c1w1 g0c2w0 n3", "g3c0w1 n1 n1 n2", ""]


@dataclass
class Subject:
    """files: what is damaged, one at a time. read: gives the answer, which must be among `right`.

    folder: put back as it was after a case that changed more than the one file (null: only the file).
    """

    files: list[Path]
    read: Callable[[], object]
    folder: Path | None = None
    right: tuple = ()


def harm(content: bytes, kind: str, region: int, choose: random.Random) -> bytes | None:
    """The damaged content; None: the file is gone. It differs from `content`, unless that is empty."""
    if kind == "gone" or not content:
        return None
    start, stop = (len(content) * edge // REGIONS for edge in (region, region + 1))
    place = choose.randrange(start, max(stop, start + 1))
    count = min(choose.choice((1, 4, 16, 64)), len(content) - place)
    harmed = bytearray(content)
    if kind == "flip":
        harmed[place] ^= 1 << choose.randrange(8)
    elif kind == "flips":
        for _ in range(8):
            harmed[choose.randrange(start, max(stop, start + 1))] ^= 1 << choose.randrange(8)
    elif kind == "zeros":
        harmed[place : place + count] = bytes(count)
    elif kind == "noise":
        harmed[place : place + count] = choose.randbytes(count)
    elif kind == "lost":
        del harmed[place : place + count]
    elif kind == "doubled":
        harmed[place:place] = harmed[place : place + count]
    elif kind == "swapped":
        other = choose.randrange(len(content))
        harmed[place], harmed[other] = harmed[other], harmed[place]
    elif kind == "appended":
        harmed += choose.randbytes(count)
    else:
        del harmed[place:]
    return bytes(harmed) if harmed != content else harm(content, "flip", region, choose)


def subjects(base: Path) -> dict[str, Subject]:
    """What there is to damage, made in `base`: a trained and calibrated run, its export, a store, archives."""
    run, cache = base / "run", base / "cache"
    xmtc.run([*TRAINING, f"paths.cache_dir={base / 'toy'}", f"hydra.run.dir={run}"])
    calibrate(run)
    exported = base / "exported"
    with contextlib.redirect_stdout(io.StringIO()):
        export([str(run), "format=safetensors", f"output={exported}"])
    parts = {"train": random_documents(60, 0), "validation": random_documents(9, 1), "test": random_documents(20, 2)}
    corpus = Listed(names={"l1": "one", "l2": "two"}, **parts)

    def stored(cache: Path = cache) -> dict:
        store = prepare(corpus, "small", Words(), cache, workers=1)
        names = ("tokens", "token_offsets", "label_ids", "label_offsets")
        arrays = {(part, name): getattr(held, name).tolist() for part, held in store.parts.items() for name in names}
        texts = (store.labels, store.label_names, store.unseen_labels, store.vocabulary.words(), store.meta)
        facts = (store.label_frequency.tolist(), store.vocabulary.document_frequency.tolist())
        return arrays | {
            "texts": texts,
            "facts": facts,
            "special": (store.vocabulary.padding, store.vocabulary.unknown),
        }

    def predicted(folder: Path) -> list:
        return xmtc.load(folder).predict(TEXTS, k=7)

    def lists(name: str) -> tuple:
        held = read_lists(run / name)
        return (
            held.labels.tolist(),
            held.scores.tolist(),
            held.gold.ids.tolist(),
            held.gold.offsets.tolist(),
            held.unseen,
        )

    def checkpoint(path: Path) -> object:
        return _plain(torch.load(path, weights_only=True))

    archives = list(_archives(base))

    def unpacked(path: Path) -> dict:
        with tempfile.TemporaryDirectory() as folder:
            unpack(path, Path(folder))
            return {str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}

    half = _half_prepared(base, corpus, base / "half")
    stored()
    (store,) = (path for path in cache.glob("small-*") if path.is_dir())

    def prepared_again() -> dict:
        for path in half.parent.glob("small-*"):
            shutil.rmtree(path)
        return stored(half.parent)

    at = run / "checkpoints"
    inputs = [run / name for name in ("config.yaml", "labels.tsv", "calibration.json", "checksums")]
    found = {
        "store": Subject(_files(store), stored, store),
        "half-prepared": Subject(_files(half), prepared_again, half),
        "best": Subject([at / "best.ckpt", at / "best.ckpt", at / "hashes"], lambda: predicted(run)),
        "last": Subject([at / "last.ckpt", at / "previous.ckpt", at / "hashes"], lambda: checkpoint(newest(at))),
        "run": Subject([*inputs, *_files(run / "text")], lambda: predicted(run)),
        "resume": Subject([run / "overrides.yaml", run / "checksums"], lambda: continued([f"resume={run}"])),
        "export": Subject(_files(exported), lambda: predicted(exported)),
        "predictions": Subject([run / "predictions.npz"], lambda: lists("predictions.npz")),
        "archive": Subject(archives, lambda: [unpacked(path) for path in archives]),
    }
    for subject in found.values():
        subject.right = (subject.read(),)
    found["last"].right += (checkpoint(at / "previous.ckpt"),)
    uncalibrated = base / "uncalibrated"  # without its calibration a run answers with its own sigmoid
    shutil.copytree(run, uncalibrated, ignore=shutil.ignore_patterns("calibration.json"))
    found["run"].right += (predicted(uncalibrated),)
    (exported / "calibration.json").rename(base / "aside")
    found["export"].right += (predicted(exported),)
    (base / "aside").rename(exported / "calibration.json")
    shutil.copytree(_spare(half), half)
    return found


def _plain(value: object) -> object:
    """With bytes in place of tensors, so that == compares all of it."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _spare(folder: Path) -> Path:
    return folder.parent.parent / f"as-it-was-{folder.name}"


def _half_prepared(base: Path, corpus: Listed, cache: Path) -> Path:
    """Shards that a process left that was interrupted before it wrote its last file."""
    last, StoreWriter._write_label_table = StoreWriter._write_label_table, _interrupted
    try:
        prepare(corpus, "small", Words(), cache, workers=1)
    except KeyboardInterrupt:
        pass
    finally:
        StoreWriter._write_label_table = last
    (work,) = cache.glob(".*-work")
    shutil.copytree(work, _spare(work))
    return work


def _interrupted(_: StoreWriter) -> None:
    raise KeyboardInterrupt


def _archives(base: Path) -> Iterator[Path]:
    """A plain .tar is none of them: it has no checksum of what it holds, only the download's SHA-256 can tell."""
    choose = random.Random(0)
    files = [(f"c/{name}", choose.randbytes(200) + name.encode() * 300) for name in ("train.txt", "d/test.txt")]
    with zipfile.ZipFile(base / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    yield base / "a.zip"
    for ending in ("gz", "xz", "bz2"):
        with tarfile.open(base / f"a.tar.{ending}", f"w:{ending}") as archive:
            for name, data in files:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        yield base / f"a.tar.{ending}"


def case(found: dict[str, Subject], seed: int, number: int) -> dict:
    """Does one case and puts everything back; answers with what is logged of it."""
    choose = random.Random(f"{seed}/{number}")
    name = sorted(found)[number % len(found)]
    subject, turn = found[name], number // len(found)
    path = subject.files[turn % len(subject.files)]
    kind, region = choose.choice(KINDS), turn // len(subject.files) % REGIONS
    content = path.read_bytes()
    harmed = harm(content, kind, region, choose)
    path.unlink() if harmed is None else path.write_bytes(harmed)
    said = ""
    try:
        outcome = "same" if subject.read() in subject.right else "WRONG"
    except InputError as error:
        said = str(error)
        outcome = "recognised" if "\n" not in said else "MANY LINES"
    except BaseException as error:
        outcome, said = "TRACEBACK", first_line(error)
    finally:
        if subject.folder is not None:
            shutil.rmtree(subject.folder, ignore_errors=True)
            shutil.copytree(_spare(subject.folder), subject.folder)
        path.write_bytes(content)
    return {"what": name, "file": path.name, "kind": kind, "region": region, "outcome": outcome, "said": said[:200]}


def main(argv: list[str] | None = None) -> dict:
    parser = asked(__doc__, 1000)
    parser.add_argument("--what", nargs="+")
    options = parser.parse_args(argv)
    logging.disable(logging.WARNING)
    outcomes: Counter = Counter()
    with tempfile.TemporaryDirectory() as name, warnings.catch_warnings(), Log(options.log, options.seed) as log:
        warnings.simplefilter("ignore")  # of zipfile, on damaged names
        found = subjects(Path(name))
        for subject in found.values():
            if subject.folder is not None and not _spare(subject.folder).exists():
                shutil.copytree(subject.folder, _spare(subject.folder))
        chosen = {key: found[key] for key in options.what or found}
        for number in range(log.done, options.cases):
            done = case(chosen, options.seed, number)
            log.write(number, done)
            outcomes[done["outcome"]] += 1
            if done["outcome"].isupper():
                print(json.dumps(done), flush=True)
    logging.disable(logging.NOTSET)
    result = {
        "cases": sum(outcomes.values()),
        "failures": sum(n for o, n in outcomes.items() if o.isupper()),
    } | outcomes
    print(json.dumps(result))
    return result


if __name__ == "__main__":
    sys.exit(bool(main()["failures"]))
