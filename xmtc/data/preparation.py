"""From a corpus to a store, once: tokens, vocabulary by document frequency, labels as CSR.

The store's folder is named by a hash of what it is made of (file contents, reading options, tokenisation, format), so a
changed corpus or setting gets a new one and two runs share what is the same. It is written beside its place and renamed
when complete; a lock makes a second process wait and then use it. What a process that was killed or interrupted has
tokenised stays in a hidden folder and is used by the next.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
from collections import Counter
from pathlib import Path

from xmtc.data.checksums import damaged, sha256_of
from xmtc.data.files import locked, writing_to
from xmtc.data.sources.base import Source
from xmtc.data.store import FORMAT, Store
from xmtc.data.store_writer import StoreWriter, digest_of
from xmtc.data.text import Text
from xmtc.errors import InputError
from xmtc.parsing import parse_json, read_json
from xmtc.shortage import in_one_line, is_shortage

log = logging.getLogger(__name__)
MANY = 100  # files, of which only a hash of their hashes is kept
PASSING = (errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # what says nothing about the file that was to be read


def prepare(source: Source, name: str, text: Text, cache: Path, workers: int | None = None) -> Store:
    """The store of this corpus under `cache`, made if it is not there. workers: processes, null for one per core.

    Raises InputError for anything wrong with the corpus, or when the disk is full; then nothing is left behind. A store
    that is there is used even where the cache cannot be written.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # would wait for its parent's lock for ever
        raise RuntimeError("xmtc was called while a process of its own imported the script: guard it by __name__")
    source, cache = source.reader(), Path(cache)
    content, place = _place(source, name, text, cache)
    if not _usable(place):
        with writing_to(cache, f"preparing {name}"), in_one_line(f"preparing {name}"):
            cache.mkdir(parents=True, exist_ok=True)
            with locked(cache / f".{place.name}.lock"):
                if not _usable(place):
                    _make(place, source, name, text, content, workers)
    elif _shards(place).exists():  # of a process that was killed once the store was whole, or that is about to end
        with contextlib.suppress(OSError), locked(cache / f".{place.name}.lock"):
            shutil.rmtree(_shards(place), ignore_errors=True)
    store = Store(place)
    log.info(store.meta["report"])
    if doubt := store.meta.get("doubt"):  # a store of an earlier version says nothing of it
        log.warning("%s: %s", name, doubt)
    return store


def is_prepared(source: Source, name: str, text: Text, cache: Path) -> bool:
    """Whether `prepare` would find a store. InputError: there is no such corpus. Costs the hashes of its files, which
    are remembered."""
    return (_place(source.reader(), name, text, Path(cache))[1] / "meta.json").is_file()


def dataset_sha256(source: Source, cache: Path) -> str:
    """What `metrics.json` and every table call the corpus. InputError: there is none. Costs the hashes of its files,
    which are remembered under `cache`."""
    source = source.reader()
    source.check()
    return digest_of(_content(source, Path(cache)))


def _place(source: Source, name: str, text: Text, cache: Path) -> tuple[dict, Path]:
    """What the corpus is, and the folder of its store."""
    source.check()
    content = _content(source, cache)
    key = {"format": FORMAT, "text": text.key(), **content}
    if names := _hashes(source.name_files(), cache):
        key["names"] = names
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode())
    return content, cache / f"{name}-{digest.hexdigest()[:16]}"


def _shards(place: Path) -> Path:
    """Where the shards of a store lie while it is made."""
    return place.with_name(f".{place.name}-work")


def _usable(place: Path) -> bool:
    """Whether a whole store of this version is there. Cost: reads all of it, 1.7 GB/s a core."""
    try:
        meta = parse_json((place / "meta.json").read_bytes(), place / "meta.json")
        if not isinstance(meta, dict) or meta.get("format") != FORMAT:
            return False
        if (name := damaged(place)) is not None:
            log.warning("%s: %s is damaged (its checksum is not the one it was written with)", place, name)
        return name is None
    except InputError:
        return False
    except OSError as error:
        if error.errno in PASSING:
            raise InputError(f"{place}: cannot be read ({error.strerror}); it stays as it is") from None
        return False


def _make(place: Path, source: Source, name: str, text: Text, content: dict, workers: int | None) -> None:
    work, new = _shards(place), place.with_name(f".{place.name}-new")
    for left in place.parent.glob(f".{place.name}-*"):  # of a process that was killed: the lock is ours
        if left != work:
            shutil.rmtree(left, ignore_errors=True)
    if place.exists():
        log.warning("%s is incomplete, damaged or of another version and is made again", place)
        shutil.rmtree(place)
    log.info("%s %s into %s", "going on preparing" if work.exists() else "preparing", name, place)
    try:
        StoreWriter(new, work, source, text, content, workers).write()
        os.replace(new, place)
    except Exception as error:  # not KeyboardInterrupt: what is done is kept for the next time
        if not is_shortage(error):
            shutil.rmtree(work, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(new, ignore_errors=True)
    shutil.rmtree(work, ignore_errors=True)


def _content(source: Source, cache: Path) -> dict:
    """What the corpus is: reading options and a sha256 of each file."""
    files = _hashes(source.files(), cache)
    if len(files) > MANY:  # a file a document
        together = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
        files = {f"{len(files)} files": together}
    return {"source": type(source).__name__, "options": source.fingerprint(), "files": files}


def _hashes(paths: list[Path], cache: Path) -> dict[str, str]:
    """name -> sha256, remembered by size and times of change: that of the content, which anybody can set (a clock that
    was set back, an archive that keeps its files' dates), and that of the file, which nobody can."""
    known_path = cache / "hashes.json"
    try:
        known = read_json(known_path, dict)
    except InputError:
        known = {}
    files, new, met = {}, False, Counter()
    for path in paths:
        status = path.stat()  # the source has opened it
        stamp = f"{path.resolve()}:{status.st_size}:{status.st_mtime_ns}:{status.st_ctime_ns}"
        if stamp not in known:
            known[stamp] = sha256_of(path)
            new = True
        met[path.name] += 1
        files[path.name if met[path.name] == 1 else f"{path.name}#{met[path.name]}"] = known[stamp]
    temporary = known_path.with_suffix(f".{os.getpid()}")
    try:
        if new:
            cache.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(known, indent=0), encoding="utf-8")
            os.replace(temporary, known_path)
    except OSError:  # only a convenience: the store itself will tell what is wrong
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return files
