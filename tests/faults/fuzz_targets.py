"""What is fuzzed: for each target how inputs are drawn, and the code of a command that reads them."""

from __future__ import annotations

import gzip
import io
import lzma
import random
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st

import xmtc
from tests.faults.fuzz_server import server
from xmtc.calibration.file import read_calibration
from xmtc.config import checked_command_line
from xmtc.config.settings import read_settings
from xmtc.data.binary_vectors import binary_rows
from xmtc.data.lists import ARRAYS, Lists, read_lists
from xmtc.data.preparation import prepare
from xmtc.data.sources.corpus import LAYOUTS
from xmtc.data.sources.pecos import read_csr
from xmtc.data.sources.tables import CsvSource, JsonlSource
from xmtc.data.store import Store
from xmtc.data.text import Words
from xmtc.data.unpack import unpack
from xmtc.data.word_rows import word_rows
from xmtc.exporting.folder import copy_run
from xmtc.exporting.weights import export_weights
from xmtc.job import continued
from xmtc.labels import LabelTable
from xmtc.loading import _weights
from xmtc.predicting.inputs import Columns, rows
from xmtc.reporting.runs import read_run
from xmtc.serving.settings import Settings
from xmtc.testing.corpora import Listed, random_documents
from xmtc.testing.formats import numbered_documents, write_corpus

TOKENS = [
    b"", b"\n", b"\r\n", b"\t", b" ", b",", b";", b":", b'"', b"'", b"\\", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xc3",
    b"\xe2\x80\xa8", b"0", b"-1", b"1.5", b"1e999", b"9" * 25, b"nan", b"null", b"true", b"[]", b"{}", b"[", b"]", b"{",
    b"}", b"[" * 2000, b'{"a":' * 1000, b'"\\ud800"', b"a" * 5000, b"\n" * 50, b"<PAD>", b"2147483648", b"- ", b"? ",
    b"&a", b"*a", b"!!python/object:os.system", b"${", b"}", b"_target_: os.system",
]  # fmt: skip
EDITS = st.lists(
    st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(TOKENS) | st.binary(max_size=6)),
    min_size=1, max_size=4,
)  # fmt: skip
NUMBERS = st.sampled_from([-(2**63), -1, 0, 1, 2, 7, 2**31, 2**62]) | st.integers(-5, 50)
ARRAYS_DRAWN = st.tuples(
    st.lists(NUMBERS, max_size=12),
    st.sampled_from(["<i8", "<i4", "<u8", "<f4", "<f8", "<U3", "|S4", "<c8", "|b1", "<M8[s]"]),
    st.sampled_from([(-1,), (-1, 1), (-1, 2), (1, -1), ()]),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["g0", "l1", "", "a b"])
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@dataclass
class Target:
    """inputs: a strategy. read: what a command does with one. share: of all inputs, by what one costs. draw: the same
    inputs from plain random numbers, where there is a way: most of the time of a cheap target is Hypothesis' own."""

    inputs: st.SearchStrategy
    read: Callable[[object], object]
    share: float
    draw: Callable[[random.Random], object] | None = None


def edits_drawn(choose: random.Random) -> list[tuple[float, int, bytes]]:
    """As from EDITS."""

    def token() -> bytes:
        return choose.choice(TOKENS) if choose.random() < 0.5 else choose.randbytes(choose.randrange(7))

    return [(choose.random(), choose.randrange(13), token()) for _ in range(choose.randrange(1, 5))]


def edited(content: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """`content` with pieces cut out and others put in."""
    for place, length, token in edits:
        at = int(place * len(content))
        content = content[:at] + token + content[at + length :]
    return content


@contextmanager
def instead(path: Path, content: bytes) -> Iterator[None]:
    """The file with other content, for a while."""
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(kept)


def in_files(paths: list[Path], read: Callable[[], object], share: float) -> Target:
    """Edits of one of these files, which is then read."""
    contents = [path.read_bytes() for path in paths]

    def run(value: tuple) -> None:
        number, edits = value
        with instead(paths[number], edited(contents[number], edits)):
            read()

    def draw(choose: random.Random) -> tuple:
        return choose.randrange(len(paths)), edits_drawn(choose)

    return Target(st.tuples(st.integers(0, len(paths) - 1), EDITS), run, share, draw)


def targets(base: Path) -> dict[str, Target]:
    """Every target; what they need is made in `base` first."""
    run = base / "run"
    xmtc.run([
        "dataset=toy", "dataset.source.train=60", "dataset.source.validation=12", "dataset.source.test=12",
        "logger=csv", "prepare_workers=1", "encoder=bow", "head=lcenet", "encoder.embedding.size=4", "head.rank=2",
        "recipe.max_epochs=1", f"paths.cache_dir={base / 'toy'}", f"hydra.run.dir={run}",
    ])  # fmt: skip
    (run / "checksums").unlink()  # else nothing behind it would see a damaged file
    (run / "checkpoints" / "hashes").unlink()
    found = _readers(base) | _tables(base) | _files_of_a_run(base, run) | _command_lines()
    found["http"] = Target(*server(run), share=12)
    return found


def _read_all(source) -> None:
    for part in source.parts():
        for text, labels in source.documents(part):
            assert isinstance(text, str) and all(isinstance(label, str) for label in labels), (text, labels)
    names, parents = source.label_names(), source.label_parents()
    assert all(isinstance(name, str) for name in names.values()), names
    assert all(isinstance(above, str) for several in parents.values() for above in several), parents
    source.fingerprint(), source.files(), source.name_files()


def _readers(base: Path) -> dict[str, Target]:
    parts = {part: numbered_documents(5, seed) for seed, part in enumerate(("train", "validation", "test"))}
    found = {}
    for layout, kind in LAYOUTS.items():
        folder = base / layout
        write_corpus(folder, layout, parts)
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if layout == "folder":  # beside it, what is optional
            (folder / "labels.tsv").write_text("0\tzero\n1\tone\n")
            (folder / "label_parents.tsv").write_text("0\t1\n")
            paths += [folder / "labels.tsv", folder / "label_parents.tsv"]
        found[f"read {layout}"] = in_files(paths, lambda kind=kind, folder=folder: _read_all(kind(str(folder))), 6)

    def compressed(value: tuple) -> None:
        pack, before, after = value
        path = base / "folder" / "train_texts.txt"
        content = edited(pack(edited(path.read_bytes(), before)), after)
        other = path.with_name(f"train_texts.txt.{'gz' if pack is gzip.compress else 'xz'}")
        path.rename(base / "aside")
        other.write_bytes(content)
        try:
            _read_all(LAYOUTS["folder"](str(base / "folder")))
        finally:
            other.unlink()
            (base / "aside").rename(path)

    def draw(choose: random.Random) -> tuple:
        return choose.choice(packs), edits_drawn(choose), edits_drawn(choose) if choose.random() < 0.5 else []

    packs = [gzip.compress, lzma.compress]
    strategy = st.tuples(st.sampled_from(packs), EDITS, st.just([]) | EDITS)
    found["read compressed"] = Target(strategy, compressed, 4, draw)

    def matrix(arrays: dict) -> None:
        _write_npz(base / "m.npz", arrays | {"format": ([], "<i8", (-1,))} if len(arrays) % 2 else arrays)
        with open(base / "m.npz", "r+b"):
            read_csr(base / "m.npz")

    names = st.sampled_from(["indices", "indptr", "data", "shape", "format"])
    found["sparse matrix"] = Target(st.dictionaries(names, ARRAYS_DRAWN, max_size=5), matrix, 3)
    return found


def _write_npz(path: Path, arrays: dict) -> None:
    """Arrays as drawn; those that NumPy cannot make stay away."""
    made = {}
    for name, (numbers, kind, shape) in arrays.items():
        try:
            made[name] = np.array(numbers or [0]).astype(kind).reshape(shape) if numbers else np.zeros(0, kind)
        except (ValueError, OverflowError, TypeError):
            continue
    if "format" in arrays:
        made["format"] = np.array(b"csr")
    np.savez(path, **made)


def _tables(base: Path) -> dict[str, Target]:
    folder = base / "tables"
    folder.mkdir()
    for part in ("train", "test"):
        (folder / f"{part}.csv").write_text('text,labels\n"a, b",x;y\nc,z\n"d\ne",\n')
        (folder / f"{part}.jsonl").write_text('{"text": "a b", "labels": ["x", 1]}\n{"text": "c", "labels": "x y"}\n')
    found = {
        "read csv": in_files(sorted(folder.glob("*.csv")), lambda: _read_all(CsvSource(str(folder))), 6),
        "read jsonl": in_files(sorted(folder.glob("*.jsonl")), lambda: _read_all(JsonlSource(str(folder))), 6),
    }
    columns = Columns(["text"], "id")
    for ending, content in {
        "txt": b"one\ntwo words\n\n",
        "jsonl": b'{"text": "a", "id": 3}\n{"text": null, "id": "x"}\n',
        "csv": b'id,text\n1,"a ""b"""\n2,c\n',
    }.items():
        path = base / f"input.{ending}"
        path.write_bytes(content)
        kind = {"txt": "text"}.get(ending, ending)
        read = lambda path=path, kind=kind: list(rows(str(path), kind, columns))  # noqa: E731
        found[f"predict {ending}"] = in_files([path], read, 4)
    vectors = base / "vectors.txt"
    vectors.write_bytes(b"2 3\nw1 0.1 2 -3e-2\nw2 . 1 2 3\n")
    found["vectors"] = in_files([vectors], lambda: list(word_rows(vectors, {b"w1", b"w2"})), 4)
    binary = base / "vectors.bin"
    binary.write_bytes(
        b"2 3\n" + b"".join(word + b" " + np.arange(3, dtype="<f4").tobytes() for word in (b"w1", b"w2"))
    )
    found["binary vectors"] = in_files([binary], lambda: list(binary_rows(binary, {b"w1", b"w2"})), 4)
    found |= _archives(base)
    return found


def _archives(base: Path) -> dict[str, Target]:
    files = {"c/train.txt": b"one\ntwo\n" * 20, "c/sub/test.txt": b""}
    paths = [base / f"a.{ending}" for ending in ("zip", "tar", "tar.gz", "tar.xz")]
    with zipfile.ZipFile(paths[0], "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    for path in paths[1:]:
        with tarfile.open(path, "w:" + ("" if path.suffix == ".tar" else path.suffix[1:])) as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    target = base / "unpacked" / "here"
    target.parent.mkdir()

    def read() -> None:
        shutil.rmtree(target, ignore_errors=True)
        for path in paths:
            if path.stat().st_size != sizes[path] or path.read_bytes() != contents[path]:
                unpack(path, target)
        assert [path.name for path in target.parent.iterdir()] in ([], ["here"])

    contents = {path: path.read_bytes() for path in paths}
    sizes = {path: len(content) for path, content in contents.items()}
    return {"archive": in_files(paths, read, 4)}


def _files_of_a_run(base: Path, run: Path) -> dict[str, Target]:
    parts = {"train": random_documents(8, 0), "test": random_documents(3, 2)}
    store = prepare(Listed(**parts), "s", Words(), base / "stores", workers=1).folder
    (store / "checksums").unlink()
    exported = base / "exported"
    exported.mkdir()
    model = xmtc.load(run)
    export_weights(model, exported)
    exported.joinpath("text").exists() or copy_run(run, exported)

    def opened() -> None:
        held = Store(store)
        for part in held.parts.values():
            part.tokens[part.token_offsets[0] : part.token_offsets[-1]].sum()

    def predicted() -> None:
        xmtc.load(run).predict(["g0c1w1 n3", ""], k=3)

    def lists(value: tuple) -> None:
        arrays, unseen = value
        _write_npz(base / "l.npz", arrays | ({"unseen_labels": ([], "<U3", (-1,))} if unseen else {}))
        held = read_lists(base / "l.npz")
        assert isinstance(held, Lists) and len(held.gold.offsets) == len(held) + 1

    def checkpoint(value: object) -> None:
        torch.save(value, run / "x.ckpt")
        _weights(run / "x.ckpt")

    table = LabelTable(run / "labels.tsv")
    (run / "calibration.json").write_text(
        '{"format": 1, "method": "isotonic", "by": "bins", "bins": ["head", "torso", "tail"], "maps": '
        '[{"logits": [-1, 2], "probabilities": [0.1, 0.9]}, {"temperature": 1.5}, {"temperature": 2}],'
        ' "thresholds": {"micro-F1": 0.4}, "report": {}}'
    )

    def calibrated() -> None:
        if (held := read_calibration(run, table)) is not None:
            held(np.zeros((2, 3), np.float32), np.array([[0, 1, 2], [5, 6, 7]]))
            assert all(isinstance(value, int | float) for value in held.thresholds.values())

    def labels() -> None:
        held = LabelTable(run / "labels.tsv")
        held.ids, held.names, held.frequency, held[:3]

    texts = [run / "config.yaml", *sorted((run / "text").iterdir()), run / "labels.tsv"]
    best, weights = run / "checkpoints" / "best.ckpt", exported / "model.safetensors"
    whole = [path for path in store.rglob("*") if path.is_file()]
    npz = run / "predictions.npz"
    return {
        "store": in_files(sorted(whole), opened, 4),
        "predictions": in_files([npz], lambda: read_lists(npz), 3),
        "arrays": Target(
            st.tuples(st.dictionaries(st.sampled_from(ARRAYS[:4]), ARRAYS_DRAWN, max_size=4), st.booleans()), lists, 4
        ),  # fmt: skip
        "checkpoint": in_files([best], lambda: _weights(best), 2),
        "checkpoint content": Target(JSON, checkpoint, 1),
        "safetensors": in_files([weights], lambda: _weights(weights), 3),
        "run": in_files(texts, predicted, 0.7),
        "labels": in_files([run / "labels.tsv"], labels, 4),
        "calibration": in_files([run / "calibration.json"], calibrated, 4),
        "resume": in_files([run / "overrides.yaml"], lambda: continued([f"resume={run}"]), 2),
        "report": in_files(
            [run / n for n in ("config.yaml", "overrides.yaml", "metrics.json", "curves.csv")],
            lambda: read_run(run).curve(),
            2,
        ),  # fmt: skip
    }


KEYS = st.sampled_from([
    "encoder", "head", "dataset", "recipe", "execution", "trainer", "embedding", "seed", "head.rank", "encoder.filters",
    "data.batch_size", "data.limit", "recipe.max_epochs", "trainer.max_epochs", "dataset.path", "paths.cache_dir",
    "recipe.optimizer.lr", "recipe.objective", "head._target_", "encoder.embedding", "hydra.run.dir", "+new", "~head",
    "+encoder.x", "checkpoints.minutes", "dataset.source.train", "head.blocks", "encoder.text", "test", "resume",
    "logger", "debug", "experiment", "row", "text", "text.length", "hydra/launcher", "++head.rank", "recipe.averaging",
]) | st.text(max_size=12)  # fmt: skip
VALUES = st.one_of(
    st.sampled_from([
        "", "null", "true", "1", "0", "-1", "1e9", "nan", "inf", "[]", "{}", "[1,2]", "{a: 1}", "a,b", "${seed}",
        "${nothing}", "${oc.env:NOTHING}", "???", "none", "lcenet", "bow", "toy", "xmlcnn", "'", '"', "[", "{", "\\",
        "range(3)", "glob(*)", "choice(1,2)", "${paper:rank}", "99999999999999999999", "../../etc", "os.system",
        "xmtc.heads.none.NoHead", "${head}", "a=b", "$", "{_target_: os.system}", "\x00", "é", "\ud800",
    ]),
    st.text(max_size=10),
    st.integers().map(str),
    st.floats().map(str),
)  # fmt: skip
WORDS = st.lists(st.tuples(KEYS, VALUES).map("=".join) | st.text(max_size=12), min_size=1, max_size=3)


def _command_lines() -> dict[str, Target]:
    keys = st.sampled_from([*vars(Settings()), "x", "-port", ""]) | st.text(max_size=6)
    words = st.lists(st.tuples(keys, VALUES).map("=".join), max_size=3)

    def config(words: list[str]) -> None:
        with checked_command_line([word for word in words if not word.startswith("-")] or words):
            pass

    return {"config": Target(WORDS, config, 1.2), "settings": Target(words, lambda w: read_settings(Settings, w), 3)}
