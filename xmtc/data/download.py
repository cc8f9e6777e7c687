"""One file over HTTP, however the network behaves: resumed, checked, retried, never half there under its name."""

from __future__ import annotations

import email.utils
import json
import logging
import os
import random
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import requests
import urllib3

from xmtc.data.checksums import sha256_of
from xmtc.data.files import locked, writing_to
from xmtc.errors import InputError
from xmtc.parsing import read_json

log = logging.getLogger(__name__)
CHUNK = 1 << 18
TELL = 10  # seconds between lines of progress
LONGEST_WAIT = 300  # seconds a server may ask us to wait before the next try
WAIT_AND_TRY = (429, 500, 502, 503, 504)


class Unavailable(Exception):
    """This address will not give the file; another may. Its message is the reason in a few words."""


class _TryAgain(Exception):
    """wait: seconds that the server asked for."""

    def __init__(self, reason: str, wait: float | None = None):
        super().__init__(reason)
        self.wait = wait


def fetch(
    url: str,
    target: Path,
    sha256: str | None = None,
    size: int | None = None,
    attempts: int = 6,
    timeout: float = 60,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Writes what `url` gives to `target`, by way of `target.part`, which a later call goes on with.

    One process at a time, the others wait and find it done. sha256, size: what it must be; a file that is something
    else is thrown away. attempts: tries in a row that bring no new byte. timeout: seconds without a byte after which
    the connection counts as dead. Proxies come from the environment (HTTPS_PROXY, NO_PROXY).
    Raises Unavailable; InputError if the disk is too small or cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with locked(target.with_name(f".{target.name}.lock")), writing_to(target.parent, f"downloading {url}", "data_dir"):
        if target.exists():
            return
        part, failures = target.with_name(f"{target.name}.part"), 0
        most = _size(part)
        with requests.Session() as session:
            while True:
                try:
                    _transfer(session, url, part, size, timeout, resume=sha256 is not None)
                    break
                except _TryAgain as problem:
                    failures = 1 if _size(part) > most else failures + 1
                    most = max(most, _size(part))
                    if failures >= attempts:
                        raise Unavailable(f"{problem} ({failures} times)") from None
                    wait = min(problem.wait or min(60, 2**failures) * random.uniform(0.5, 1), LONGEST_WAIT)
                    log.info("%s: %s; next try in %.0f s", url, problem, wait)
                    sleep(wait)
        _check(part, sha256)
        os.replace(part, target)
        _notes(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _notes(part: Path) -> Path:
    """Beside a part: of which version of which address it is."""
    return part.with_name(f"{part.name}.json")


def _transfer(session, url: str, part: Path, size: int | None, timeout: float, resume: bool) -> None:
    """Once, from where `part` ends. resume: go on even where the server does not say which version it has."""
    have, version = _size(part), _version(part, url)
    headers = {"Accept-Encoding": "identity"}
    if have and (version or resume):
        headers["Range"] = f"bytes={have}-"
        if version:
            headers["If-Range"] = version
    try:
        with session.get(url, headers=headers, stream=True, timeout=(min(timeout, 30), timeout)) as answer:
            start, total = _judge(answer, have, size, part)
            if total is not None:
                _require_space(part.parent, total - start)
            if start == 0:
                given = answer.headers.get("ETag", "")
                given = answer.headers.get("Last-Modified", "") if not given or given.startswith("W/") else given
                _notes(part).write_text(json.dumps({"url": url, "version": given}), encoding="utf-8")
            _write(answer, part, start, total, url)
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout) as error:
        raise _TryAgain(_reason(error)) from None
    except requests.exceptions.RequestException as error:
        raise Unavailable(_reason(error)) from None
    except urllib3.exceptions.HTTPError as error:
        raise _TryAgain(_reason(error)) from None
    if total is not None and _size(part) != total:
        raise _TryAgain(f"cut off after {_size(part):,} of {total:,} bytes")


def _version(part: Path, url: str) -> str:
    try:
        notes = read_json(_notes(part), dict)
    except InputError:
        return ""
    return str(notes.get("version", "")) if notes.get("url") == url else ""


def _judge(answer, have: int, size: int | None, part: Path) -> tuple[int, int | None]:
    """(first byte of the answer, size of the whole file if known)."""
    code = answer.status_code
    if code in WAIT_AND_TRY:
        raise _TryAgain(f"the server answers {code} {answer.reason}", _retry_after(answer.headers.get("Retry-After")))
    if code == 416:
        part.unlink(missing_ok=True)  # longer than the file: of another version
        raise _TryAgain("the part that was there does not fit the file")
    if code not in (200, 206):
        raise Unavailable(f"the server answers {code} {answer.reason}")
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise Unavailable("the server answers with a web page instead of the file")
    length = answer.headers.get("Content-Length", "")
    start, total = 0, int(length) if length.isdigit() else None
    if code == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        if not match or int(match[1]) != have:
            part.unlink(missing_ok=True)
            raise _TryAgain("the server answers with another piece than asked for")
        start, total = have, None if match[2] == "*" else int(match[2])
    if size is not None and total is not None and size != total:
        raise Unavailable(f"the file there has {total:,} bytes, expected {size:,}")
    return start, total if total is not None else size


def _retry_after(value: str | None) -> float | None:
    """Seconds, from a number or a date."""
    if not value:
        return None
    if value.isdigit():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise InputError(f"paths.data_dir: {folder} has {free:,} bytes free, {needed:,} more are needed")


def _write(answer, part: Path, start: int, total: int | None, url: str) -> None:
    name, written = Path(urlsplit(url).path).name or url, start
    begun = told = time.monotonic()
    with open(part, "ab" if start else "wb") as file:
        for piece in answer.raw.stream(CHUNK, decode_content=False):
            file.write(piece)
            written += len(piece)
            if (now := time.monotonic()) - told > TELL:
                told = now
                of = f" of {total / 2**20:,.0f}" if total else ""
                rate = (written - start) / 2**20 / (now - begun)
                log.info("%s: %.0f%s MiB, %.1f MiB/s", name, written / 2**20, of, rate)


def _check(part: Path, expected: str | None) -> None:
    if expected is None:
        return
    found = sha256_of(part)
    if found != expected:
        part.unlink()
        _notes(part).unlink(missing_ok=True)
        raise Unavailable(f"the file there is another one (sha256 {found[:12]}..., expected {expected[:12]}...)")


def _reason(error: Exception) -> str:
    """requests and urllib3 wrap causes in causes; the words of the innermost are the clearest."""
    while (inner := getattr(error, "reason", None) or (error.args and error.args[0])) and isinstance(inner, Exception):
        error = inner
    return " ".join(str(error).split())[:200] or type(error).__name__
