"""The members of an ensemble: their stored lists under common labels, and their models for new texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from xmtc.calibration.fit import logits_of
from xmtc.data.lists import Lists, read_lists, sorted_labels
from xmtc.errors import InputError
from xmtc.fusion.fuse import fuse
from xmtc.given import whole
from xmtc.labels import LabelTable
from xmtc.parsing import read_json
from xmtc.tagger import MOST, Ranking, Tagger, check_texts

FORMAT = 1


def common_labels(tables: Sequence[LabelTable]) -> list[tuple[str, str, int]]:
    """(id, name, frequency) of every label of any member, sorted by id; what the first member says of it counts."""
    known: dict[str, tuple[str, str, int]] = {}
    for table in tables:
        for label in table:
            known.setdefault(label.id, (label.id, label.name, label.frequency))
    return [known[label] for label in sorted(known)]


def stored(folders: Sequence[Path], tables: Sequence[LabelTable], ids: list[str], name: str) -> list[Lists]:
    """The members' lists in the file `name`, labels as places in `ids`. InputError: their true labels differ."""
    place = {label: i for i, label in enumerate(ids)}
    lists = []
    unseen: dict[str, int] = {}
    for folder, table in zip(folders, tables, strict=True):
        own = read_lists(folder / name)
        if own.labels.max(initial=-1) >= len(table):
            raise InputError(f"{folder / name}: label {own.labels.max()} is not in labels.tsv, which has {len(table)}")
        gold_ids = own.gold.ids.numpy()
        if gold_ids.max(initial=-1) >= len(table) + len(own.unseen):
            raise InputError(f"{folder / name}: true label {gold_ids.max()} is in neither labels.tsv nor unseen_labels")
        to_common = np.array([place[label] for label in table.ids] + [-1], np.int64)  # the last: padding
        own.labels = to_common[own.labels.clip(-1)]
        far = [place[label] if label in place else len(ids) + unseen.setdefault(label, len(unseen))
               for label in own.unseen]  # fmt: skip
        known = np.concatenate([to_common[:-1], np.array(far, np.int64)])
        own.gold = sorted_labels(known[gold_ids], own.gold.offsets.numpy())
        lists.append(own)
    for folder, own in zip(folders[1:], lists[1:], strict=True):
        same = len(own) == len(lists[0]) and torch.equal(own.gold.offsets, lists[0].gold.offsets)
        if not same or not torch.equal(own.gold.ids, lists[0].gold.ids):
            raise InputError(f"{folder / name}: not the documents of {folders[0] / name}: their true labels differ")
    for own in lists:
        own.unseen = list(unseen)
    return lists


class Ensemble(Tagger):
    """Several models as one. Its scores are fused ones, whose logits `predict_batch` gives.

    Each member's 100 best labels of a text are fused, as in the stored lists from which it was made; where more labels
    are asked for, as many of each member.
    """

    def __init__(self, folder: Path, config: dict, labels: LabelTable, members: Sequence[Tagger], facts: dict):
        super().__init__(folder, config, labels)
        self.members, self.method, self.weights = list(members), facts["method"], facts["weights"]
        self.batch_size = min(member.batch_size for member in self.members)
        self.has_head = any(member.has_head for member in self.members)
        self._places = [np.array([labels.index[label] for label in member.labels.ids]) for member in self.members]

    def predict_batch(self, texts: Sequence[str], k: int, raw: bool = False, batch_size: int | None = None) -> Ranking:
        texts, k = check_texts(texts), whole(k, "k")
        each = max(k, MOST)
        return self._fused([member.predict_batch(texts, each, raw, batch_size) for member in self.members], k)

    def _both(self, texts, k, batch_size):
        texts, k = check_texts(texts), whole(k, "k")
        pairs = [member._both(texts, max(k, MOST), batch_size) for member in self.members]
        raw, enhanced = (self._fused([pair[i] for pair in pairs], k) for i in (0, 1))
        return raw, enhanced

    def _fused(self, rankings: Sequence[Ranking], k: int) -> Ranking:
        lists = [place[indices] for place, (_, indices) in zip(self._places, rankings, strict=True)]
        scores = [torch.sigmoid(torch.from_numpy(logits)).numpy() for logits, _ in rankings]
        deepest = min(k, max(own.shape[1] for own in lists))  # every document has so many
        labels, fused = fuse(self.method, self.weights, lists, scores, deepest)
        return logits_of(fused).astype(np.float32), labels


def load_ensemble(folder: Path, device, execution: str | None) -> Ensemble:
    """The ensemble in `folder`, which `xmtc.ensemble` made. InputError: a member that has no model."""
    from xmtc.loading import load

    path = folder / "ensemble.json"
    facts = read_json(path, dict)
    try:
        if facts["format"] != FORMAT:
            raise InputError(f"{path}: of another version; make the ensemble again")
        places = [folder / member for member in facts["members"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: not readable ({error})") from None
    members = []
    for place in places:
        try:
            members.append(load(place, device, execution))
        except InputError as error:
            raise InputError(f"{folder}: a member cannot be used on new texts: {error}") from None
    config = members[0].config
    return Ensemble(folder, config, LabelTable(folder / "labels.tsv"), members, facts)
