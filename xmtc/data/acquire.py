"""From a dataset's name to its folder: downloaded, unpacked, and in place only when it is whole."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from xmtc.data.cards import Card, Origin
from xmtc.data.download import Unavailable, fetch
from xmtc.data.files import locked, writing_to
from xmtc.data.sources.base import Source
from xmtc.data.sources.corpus import LAYOUTS, CorpusSource
from xmtc.data.sources.subset import SubsetSource
from xmtc.data.unpack import unpack
from xmtc.errors import InputError

log = logging.getLogger(__name__)
IN_A_BROWSER = ("drive.google.com", "docs.google.com", "drive.usercontent.google.com")
ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tar.bz2")


def corpus_of(source: Source) -> CorpusSource | None:
    """The named corpus behind a source, if there is one."""
    if isinstance(source, SubsetSource):
        source = source.whole
    return source if isinstance(source, CorpusSource) else None


def acquire(corpus: CorpusSource, card: Card, offline: bool = False, **options) -> Path:
    """The corpus' folder, downloaded from the first of the card's origins that gives it if it is not there.

    offline: touch no network; an archive that somebody put into the folder `NAME.download` beside is still unpacked.
    options: for `fetch`. One process at a time. InputError says what was tried and what is left to do by hand.
    """
    folder, drop = corpus.path, corpus.path.with_name(f"{corpus.path.name}.download")
    if corpus.layout():
        return folder
    with writing_to(folder.parent, f"downloading {corpus.name}", "data_dir"):
        drop.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock")):
            if not corpus.layout():
                if folder.is_dir() and any(folder.iterdir()):
                    raise InputError(f"{folder}: holds files in none of the layouts {', '.join(corpus.layouts)}; "
                                     "move them away or add what is missing")  # fmt: skip
                _get(corpus, card, drop, offline, options)
    shutil.rmtree(drop, ignore_errors=True)
    log.info("%s is in %s (%s)", corpus.name, folder, corpus.layout())
    return folder


def _get(corpus: CorpusSource, card: Card, drop: Path, offline: bool, options: dict) -> None:
    origins = card.places()
    given = sorted(path for path in drop.iterdir() if path.name.endswith(ENDINGS) and not path.name.startswith("."))
    if given:
        known = next((o for o in origins if _name(o.url) == given[0].name), None)
        folders = {known.folder} if known else {origin.folder for origin in origins}
        _publish(given[0], folders.pop() if len(folders) == 1 else None, corpus)
        _also(origins if known is None else [known], corpus.path, offline, options)
        return
    tried = []
    for origin in origins:
        if urlsplit(origin.url).hostname in IN_A_BROWSER:
            continue
        if offline:
            tried.append(f"{origin.url}: not tried, offline=true")
            continue
        archive = drop / _name(origin.url)
        try:
            log.info("downloading %s from %s", corpus.name, origin.url)
            fetch(origin.url, archive, origin.sha256, origin.bytes, **options)
        except Unavailable as reason:
            log.warning("%s: %s", origin.url, reason)
            tried.append(f"{origin.url}: {reason}")
            continue
        _publish(archive, origin.folder, corpus)
        _also([origin], corpus.path, offline, options)
        return
    raise InputError(_by_hand(corpus, card, drop, tried))


def _name(url: str) -> str:
    return Path(urlsplit(url).path).name or "archive"


def _publish(archive: Path, wanted: str | None, corpus: CorpusSource) -> None:
    """Unpacks beside the corpus' place and moves the folder that holds a corpus there."""
    beside = corpus.path.with_name(f".{corpus.path.name}-unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        unpack(archive, beside)
        folders = [beside, *sorted(path for path in beside.rglob("*") if path.is_dir())]
        found = [f for f in folders if any(LAYOUTS[layout].present(f) for layout in corpus.layouts)]
        if wanted is not None:
            found = [f for f in found if f.name == wanted] or found
        if len(found) != 1:
            named = ", ".join(str(f.relative_to(beside)) for f in found[:5]) or "none"
            raise InputError(
                f"{archive}: expected one folder in a layout of {', '.join(corpus.layouts)}, found {named}"
            )
        if corpus.path.is_dir():
            corpus.path.rmdir()  # empty
        os.replace(found[0], corpus.path)
        archive.unlink()
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _also(origins: list[Origin], folder: Path, offline: bool, options: dict) -> None:
    """Names and hierarchies of labels: the corpus is usable without them."""
    for url in dict.fromkeys(url for origin in origins for url in origin.also):
        try:
            if offline:
                raise Unavailable("not tried, offline=true")
            fetch(url, folder / _name(url), **options)
        except Unavailable as reason:
            log.warning("%s: %s; the labels stay without what it says of them", url, reason)


def _by_hand(corpus: CorpusSource, card: Card, drop: Path, tried: list[str]) -> str:
    steps = []
    browser = [o.url for o in card.places() if urlsplit(o.url).hostname in IN_A_BROWSER]
    if browser:
        steps.append(
            f"open {' or '.join(browser)} in a browser (Google asks for a confirmation that no program can give), "
            f"save the archive into {drop} and run python -m xmtc.data download {corpus.name} again"
        )
    if card.obtain:
        steps.append(f"{card.obtain}, and put its files into {corpus.path}")
    failed = f"could not be downloaded ({'; '.join(tried)})" if tried else "cannot be downloaded by a program"
    steps = "; or ".join(steps) or "put its files there"
    return f"{corpus.path}: no such corpus folder, and {corpus.name} {failed}; by hand: {steps}"
