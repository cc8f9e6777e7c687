"""`init_from`: the best weights of another run, labels and words matched by name."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from xmtc.data.checksums import require_whole
from xmtc.data.store import _lines
from xmtc.data.vocabulary import PADDING
from xmtc.encoders.pretrained import LORA_SCALE
from xmtc.errors import InputError
from xmtc.execution.base import row_names
from xmtc.heads.block import FullBlock
from xmtc.labels import LabelTable
from xmtc.parsing import read_json
from xmtc.sweeping.settings import AND
from xmtc.training.kept import is_whole
from xmtc.training.results import write_json

BASE = ".base_layer."  # what peft puts into the names of the weights that it adapts
ORIGIN = "started_from.json"
TOLD = ("commit", "dirty", "command", "seed", "dataset_sha256", "started_from")

log = logging.getLogger(__name__)


def start_from(run: Path, built) -> None:
    """Copies what fits: label rows of decoder and blocks by label id, rows of word tables by word, all else by name and
    shape. What does not fit keeps its initial value and is logged. A head that the other run had not stays as made.
    Low-rank updates (`encoder.lora`) that have no like here are added to the weights that they update.

    InputError: nothing fits, or what the other run left cannot be used."""
    checkpoint = run / "checkpoints" / "best.ckpt"
    if not checkpoint.exists():
        raise InputError(f"init_from: {run} has no checkpoints/best.ckpt")
    if not is_whole(checkpoint):
        raise InputError(
            f"init_from: {checkpoint} is damaged (its checksum is not in {checkpoint.with_name('hashes')})"
        )
    require_whole(run, ["labels.tsv", "text/vocabulary.txt"])
    theirs = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    module, store = built.module, built.store
    labels = _matches(LabelTable(run / "labels.tsv").ids, store.labels, "label")
    words, counts = None, (0, 0)
    if (run / "text" / "vocabulary.txt").exists() and (store.folder / "text" / "vocabulary.txt").exists():
        their_words, our_words = _lines(run / "text" / "vocabulary.txt"), store.vocabulary.words()
        words, counts = _matches(their_words, our_words, "word"), (len(their_words), len(our_words))
    by_label = row_names(module.decoder, module.head) | {f"encoder.{name}" for name in module.encoder.by_label}
    own = {f"encoder.{name}" for name in module.encoder.of_corpus}
    full = [i for i, block in enumerate(module.head.blocks) if isinstance(block, FullBlock)]
    square = {f"head.blocks.{i}.weight" for i in full}  # labels by labels
    tables = {
        f"{name}.weight"
        for name, part in module.named_modules()
        if words and isinstance(part, torch.nn.Embedding) and part.padding_idx == PADDING
    } | {f"encoder.{name}" for name in module.encoder.by_word if words}
    left, ours = [], module.state_dict()
    theirs = _without_adapters(theirs, ours)
    with torch.no_grad():
        for full_name, mine in ours.items():
            name = full_name.replace(BASE, ".")
            rows = labels if name in by_label else None
            if name in own:
                continue
            if name not in theirs:
                left.append(name)
            elif name in square and theirs[name].ndim == 2:
                mine[labels[1][:, None], labels[1]] = theirs[name][labels[0][:, None], labels[0]].to(mine)
            elif name in tables and theirs[name].shape[1:] == mine.shape[1:]:
                kept = (words[0] < len(theirs[name])) & (words[1] < len(mine))  # tables may leave out rare words
                mine[words[1][kept]] = theirs[name][words[0][kept]].to(mine)
                if len(theirs[name]) - counts[0] == len(mine) - counts[1] > 0:  # rows behind the words, as of [CLS]
                    mine[counts[1] :] = theirs[name][counts[0] :].to(mine)
            elif rows is not None and theirs[name].shape[1:] == mine.shape[1:]:
                mine[rows[1]] = theirs[name][rows[0]].to(mine)
            elif theirs[name].shape == mine.shape:
                mine.copy_(theirs[name])
            else:
                left.append(name)
    taken = {name.replace(BASE, ".") for name in ours} - own - set(left)
    if not taken:
        raise InputError(f"init_from: nothing of {run} fits this model; another encoder, or other sizes?")
    if not any(name.startswith("encoder.") for name in taken):
        log.warning("init_from %s: no weights of the encoder fit; it starts as made", run)
    log.info("init_from %s: %d labels matched; kept as made: %s", run, len(labels[0]), ", ".join(left) or "nothing")


def _without_adapters(theirs: dict, ours: dict) -> dict:
    """Their tensors under the names that they have without peft. A pair A, B of low-rank updates stays if ours has such
    a pair; else W becomes W + scale B A."""
    found = {name.replace(BASE, "."): value for name, value in theirs.items()}
    for name in [name for name in theirs if ".lora_A." in name]:
        place, other = name.partition(".lora_A.")[0], name.replace(".lora_A.", ".lora_B.")
        if all(key in ours and ours[key].shape == theirs[key].shape for key in (name, other)):
            continue
        down, up = found.pop(name), found.pop(other)
        weight = found[f"{place}.weight"]
        if weight.shape != (len(up), down.shape[1]):
            raise InputError(f"init_from: the updates of {place} do not fit its weights; keep that run's encoder.lora")
        found[f"{place}.weight"] = weight + LORA_SCALE * up @ down
    return found


@rank_zero_only
def keep_origin(run: Path, folder: Path) -> None:
    """Writes down in `folder` what metrics.json of `run` says of its own origin; nothing of a run that did not end."""
    path = run / "metrics.json"
    theirs = read_json(path, dict).get("provenance") if path.is_file() else None
    found = {key: theirs[key] for key in TOLD if key in theirs} if isinstance(theirs, dict) else {}
    write_json(folder / ORIGIN, found)


def with_origin(born: dict, folder: Path) -> dict:
    """The provenance, with that of the run before it: both commands, one after the other, make the same weights."""
    path = folder / ORIGIN
    before = read_json(path, dict) if path.is_file() else {}
    if before.get("command"):
        born = born | {"command": f"{before['command']}{AND}{born['command']}"}
    return born | {"started_from": before or None}


def _matches(theirs: list[str], ours: list[str], what: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Row numbers in both of the names they share."""
    place = {name: i for i, name in enumerate(theirs)}
    pairs = [(place[name], i) for i, name in enumerate(ours) if name in place]
    if not pairs:
        raise InputError(f"init_from: the two runs have no {what} in common")
    return torch.tensor(pairs).unbind(1)
