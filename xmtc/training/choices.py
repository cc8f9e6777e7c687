"""What a run that goes on keeps: its corpus, its words, and in `choices.json` what it has chosen for itself.

`execution=auto` decides by the machine's memory. On another machine, or in a container with another limit, it would
decide otherwise, and the rest of the run would differ from what it was in its last digits.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from xmtc.config.check import check_node
from xmtc.data.checksums import forget, list_files, require_whole
from xmtc.data.files import replace_text
from xmtc.data.store import Store
from xmtc.errors import InputError
from xmtc.execution.auto import CHOICES, node_of
from xmtc.execution.base import Execution
from xmtc.parsing import read_json, read_yaml
from xmtc.training.results import monitor

log = logging.getLogger(__name__)
FILE = "choices.json"


def with_choices(config: dict, folder: Path) -> dict:
    """The configuration, with what the run in `folder` has chosen in the place of what would choose. InputError: the
    file is damaged. A run from before there was one chooses again."""
    path = folder / FILE
    if not path.exists():
        return config
    require_whole(folder, [FILE])
    content = read_json(path)
    try:
        execution = content["execution"]
        known = execution["_target_"] in CHOICES  # nothing else is made from a file that no person wrote
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not readable ({type(error).__name__}: {str(error)[:100]})") from None
    if not known:
        raise InputError(f"{path}: expected one of {', '.join(CHOICES)}, got {str(execution['_target_'])[:100]}")
    check_node(execution, "execution")
    log.info("execution: %s, as this run has chosen before", execution["_target_"].rpartition(".")[2].lower())
    return config | {"execution": execution}


def refuse_other_corpus(folder: Path, store: Store) -> None:
    """InputError: the run in `folder` was trained on other documents, labels or words than the store holds."""
    path = folder / "text" / "meta.json"
    before = read_json(path, dict).get("dataset_sha256") if path.is_file() else None
    if before not in (None, store.meta["dataset_sha256"]):  # a run from before this was written down says nothing
        raise InputError(
            f"resume: the corpus is not the one that {folder} was trained on (its files have changed); "
            f"init_from={folder} starts a new run from its weights"
        )
    words = folder / "text" / "vocabulary.txt"
    if words.is_file() and words.read_bytes() != (store.folder / "text" / words.name).read_bytes():
        raise InputError(
            f"resume: {folder} was trained on other words (this version splits texts in another way); "
            f"init_from={folder} starts a new run from its weights"
        )


def refuse_other_monitor(folder: Path, config: dict) -> None:
    """InputError: the run in `folder` has chosen its weights by another metric so far, whose scores say nothing of
    this one's."""
    before, now = (monitor(each).removeprefix("val/") for each in (read_yaml(folder / "config.yaml", dict), config))
    if before != now:
        raise InputError(
            f"recipe.validation.monitor={now}: so far the run has chosen its weights by {before};"
            f" go on with recipe.validation.monitor={before}"
        )


@rank_zero_only
def keep_words(folder: Path, words: Sequence[str], config: dict) -> None:
    """Writes down what the run is: overrides.yaml and config.yaml. Of one that goes on with other words: what it is
    from now on, for whoever resumes, repeats or compares it."""
    words = list({word.partition("=")[0].lstrip("+"): word for word in words}.values())
    saved = folder / "overrides.yaml"
    if saved.is_file() and config["resume"] and read_yaml(saved, list) == words:
        return
    forget(folder, ["overrides.yaml", "config.yaml"])  # listed again when the run ends
    replace_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(config | {"resume": None})))
    replace_text(saved, OmegaConf.to_yaml(OmegaConf.create(words)))


@rank_zero_only
def keep_choices(config: dict, execution: Execution, folder: Path) -> None:
    """Writes down what the configuration has left to the run. execution: what became of config["execution"]."""
    node = node_of(execution)
    if node is None or node["_target_"] == config["execution"]["_target_"]:
        return  # it was no choice
    replace_text(folder / FILE, json.dumps({"format": 1, "execution": node}))
    list_files(folder, [FILE])
