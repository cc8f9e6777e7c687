"""An ensemble's folder from those of its members: see `xmtc.ensemble`."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml

from xmtc.calibration.file import NAME as CALIBRATION
from xmtc.calibration.fit import hits_of
from xmtc.data.checksums import NAME as CHECKSUMS
from xmtc.data.checksums import list_files
from xmtc.data.files import replace_text, writing_to
from xmtc.data.lists import Lists
from xmtc.data.reading import recorded_documents
from xmtc.errors import InputError
from xmtc.fusion.fuse import METHODS, choose_weights, fuse, member_values, ndcg5, pooled
from xmtc.fusion.members import FORMAT, common_labels, stored
from xmtc.given import listed, path_of, whole
from xmtc.labels import LabelTable
from xmtc.metrics.label_sets import best_threshold
from xmtc.parsing import read_json, read_yaml
from xmtc.predicting.evaluation import scores_of
from xmtc.reporting.runs import Run, read_run
from xmtc.tagger import MOST

KS = (1, 3, 5)
DEPTH, DOCUMENTS = 20, 20_000  # labels a member and validation documents that choosing looks at
NEEDED = ("config.yaml", "overrides.yaml", "labels.tsv", "metrics.json", "calibration.json", "ensemble.json",
          "predictions.npz", "predictions_validation.npz", "text", "checkpoints/best.ckpt", "checkpoints/hashes",
          CHECKSUMS)  # fmt: skip


LISTED = ("config.yaml", "labels.tsv", "ensemble.json")


def make_ensemble(
    runs: Sequence[str | Path], output: str | Path, method: str, train_documents: int | None, copy: bool
) -> dict:
    """See `xmtc.ensemble.ensemble`."""
    folders = [path_of(run, "runs") for run in listed(runs, "runs", "folders")]
    target = path_of(output, "output")
    _check(folders, target, method)
    tables = [LabelTable(folder / "labels.tsv") for folder in folders]
    rows = common_labels(tables)
    ids, frequency = [row[0] for row in rows], torch.tensor([row[2] for row in rows])
    validation = stored(folders, tables, ids, "predictions_validation.npz")
    chosen, weights, candidates = _choose(method, validation)
    parts = {"validation": ("predictions_validation.npz", validation)}
    if all((folder / "predictions.npz").exists() for folder in folders):
        parts["test"] = ("predictions.npz", stored(folders, tables, ids, "predictions.npz"))
    config = _config(folders)
    documents = _train_documents(folders, train_documents)
    said = [] if method == "auto" else ["--method", method]
    said += [] if train_documents is None else ["--train-documents", str(train_documents)]
    result: dict = {"test": None}
    lists: dict[str, Lists] = {}
    for part, (name, members) in parts.items():
        labels, scores = fuse(chosen, weights, [m.labels for m in members], [m.scores for m in members],
                              min(MOST, len(ids)))  # fmt: skip
        lists[name] = fused = Lists(labels, scores, members[0].gold, members[0].unseen)
        if part == "validation":
            threshold = best_threshold(torch.from_numpy(scores), torch.from_numpy(labels), fused.gold)
        result[part] = scores_of(fused, frequency, documents, KS, threshold, config)
    result |= {"threshold": threshold, "provenance": _provenance(folders, config, chosen, said)}
    places = [target / "members" / f"{i}" if copy else folder for i, folder in enumerate(folders, start=1)]
    facts = {"format": FORMAT, "method": chosen, "weights": list(map(float, weights)),
             "members": _seen_from(target, places), "validation nDCG@5": candidates}  # fmt: skip
    names = {"encoder": result["provenance"]["encoder"], "head": chosen, "recipe": None}
    with writing_to(target, "keeping the ensemble", None):
        target.mkdir(parents=True, exist_ok=True)
        for name in (CHECKSUMS, CALIBRATION, "metrics.json", "predictions.npz"):  # of an earlier ensemble there
            (target / name).unlink(missing_ok=True)
        replace_text(target / "ensemble.json", json.dumps(facts, indent=1))  # first: the folder is ours
        for name, fused in lists.items():
            fused.save(target / name)
        replace_text(target / "labels.tsv", "".join(f"{i}\t{a}\t{b}\t{c}\n" for i, (a, b, c) in enumerate(rows)))
        (target / "text").mkdir(exist_ok=True)  # as a run records it, for whom this ensemble is a member or is scored
        replace_text(target / "text" / "meta.json", json.dumps({"num_documents": documents}))
        replace_text(target / "config.yaml", yaml.safe_dump({"dataset": config["dataset"], "names": names}))
        replace_text(target / "overrides.yaml", "[]\n")
        if copy:
            shutil.rmtree(target / "members", ignore_errors=True)  # of an earlier ensemble there
            for folder, place in zip(folders, places, strict=True):
                _copy(folder, place)
        replace_text(target / "metrics.json", json.dumps(result, indent=1))
        list_files(target, LISTED)
    return result


def _check(folders: list[Path], target: Path, method: str) -> None:
    if len(folders) < 2:
        raise InputError(f"an ensemble needs two runs at least, got {len(folders)}")
    if method not in ("auto", *METHODS):
        raise InputError(f"method={method}: unknown choice; choose from auto, {', '.join(METHODS)}")
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such run directory")
        if folder.resolve() == target.resolve():
            raise InputError(f"output: {target} is one of the members")
        if folder.resolve().is_relative_to(target.resolve() / "members"):
            raise InputError(f"output: {folder} is a copy that an ensemble keeps in {target}; name the run itself")
    if target.exists() and not target.is_dir():
        raise InputError(f"output: {target} is a file")
    if target.is_dir() and any(target.iterdir()) and not (target / "ensemble.json").exists():
        raise InputError(f"output: {target} is there and is no ensemble; choose another folder")


def _choose(method: str, validation: list[Lists]) -> tuple[str, np.ndarray, dict]:
    """Method, weights, and nDCG@5 on validation of every method and member."""
    few = slice(0, DOCUMENTS)
    labels = [own.labels[few, :DEPTH] for own in validation]
    hits = [hits_of(own)[few, :DEPTH].astype(np.float32) for own in validation]
    candidates, hit = pooled(labels, hits)
    hit = hit.max(axis=0) > 0
    gold = validation[0].gold.offsets.diff().numpy()[few]
    pool = pooled(labels, [own.scores[few, :DEPTH] for own in validation])[1]
    ranks = pooled(labels, [member_values("rank", own, own) for own in labels])[1]
    equal = np.full(len(labels), 1 / len(labels))
    weights = {"mean": equal, "rank": equal}
    if method in ("auto", "weighted"):
        weights["weighted"] = choose_weights(pool, candidates, hit, gold)
    scores = {
        name: ndcg5(
            np.tensordot(w.astype(np.float32), ranks if name == "rank" else pool, axes=1), candidates, hit, gold
        )
        for name, w in weights.items()
    }
    best = max(scores, key=scores.get) if method == "auto" else method
    alone = {f"member {m + 1}": ndcg5(pool[m], candidates, hit, gold) for m in range(len(labels))}
    return best, weights[best], scores | alone


def _config(folders: list[Path]) -> dict:
    """The dataset's settings, from the first member that has a configuration."""
    for folder in folders:
        path = folder / "config.yaml"
        if path.exists():
            config = read_yaml(path)
            if isinstance(config, dict) and isinstance(config.get("dataset"), dict):
                return config
    return {"dataset": {"name": "unknown"}}


def _name(folders: list[Path]) -> str:
    """What it is made of, so that reports tell ensembles apart: of each member encoder-head and what was set for it,
    else its folder's name."""
    runs = [read_run(folder) for folder in folders]
    names = [run.folder.name if "?" in (run.encoder, run.head) else _member(run) for run in runs]
    return "+".join(name if n == 1 else f"{n}x{name}" for name, n in Counter(names).items())


def _member(run: Run) -> str:
    """`br-none(bigrams=True,data.fraction=0.25)`; without its data, whose hash the ensemble has."""
    told = sorted(key for key in run.typed if key in run.settings and key != "seed" and not key.startswith("dataset."))
    words = [f"{key.removeprefix('encoder.').removeprefix('head.')}={run.settings[key]}" for key in told]
    if "recipe" in run.typed:
        words.append(f"recipe={run.recipe}")
    return f"{run.encoder}-{run.head}" + (f"({','.join(words)})" if words else "")


def _train_documents(folders: list[Path], given: int | None) -> int:
    if given is not None:
        return whole(given, "train_documents")
    count = next(filter(None, map(recorded_documents, folders)), None)
    if count is None:
        raise InputError("no member has recorded how many training documents there were: give --train-documents")
    return count


def _provenance(folders: list[Path], config: dict, chosen: str, said: list[str]) -> dict:
    from xmtc.training.provenance import provenance

    birth = provenance({"encoder": _name(folders), "head": chosen, "recipe": None, "embedding": None})
    birth["command"] = shlex.join(["python", "-m", "xmtc.ensemble", *map(str, folders), *said])
    members = []
    for folder in folders:
        path = folder / "metrics.json"
        born = read_json(path, dict).get("provenance") if path.exists() else None
        members.append(born if isinstance(born, dict) else None)
    digests = {str(member.get("dataset_sha256")) for member in members if member and member.get("dataset_sha256")}
    seeds = {member.get("seed") if member else None for member in members}
    return birth | {
        "dataset": config["dataset"].get("name"),
        "dataset_sha256": digests.pop() if len(digests) == 1 else None,
        "seed": seeds.pop() if len(seeds) == 1 else None,
        "world_size": 1,
        "resumed_from_step": None,
        "members": members,
    }


def _seen_from(target: Path, places: list[Path]) -> list[str]:
    return [os.path.relpath(place.resolve(), target.resolve()) for place in places]


def _copy(folder: Path, place: Path) -> None:
    """A member with all that it needs; one that is an ensemble keeps copies of its own members."""
    for name in NEEDED:
        source = folder / name
        if source.is_dir():
            shutil.copytree(source, place / name, dirs_exist_ok=True)
        elif source.exists():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place / name)
    if (place / "ensemble.json").exists():
        facts = read_json(place / "ensemble.json", dict)
        for i, member in enumerate(facts["members"], start=1):
            _copy(folder / member, place / "members" / f"{i}")
        facts["members"] = [f"members/{i + 1}" for i in range(len(facts["members"]))]
        replace_text(place / "ensemble.json", json.dumps(facts, indent=1))
        list_files(place, LISTED)
