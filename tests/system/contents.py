"""What a run leaves, without its clocks, and where two runs differ."""

import csv

import numpy as np
import torch


def contents(folder):
    with open(folder / "curves.csv") as file:
        curves = [{key: value for key, value in row.items() if key != "seconds"} for row in csv.DictReader(file)]
    found = {f"curves.csv row {number}": row for number, row in enumerate(curves)}
    best, last = (torch.load(folder / "checkpoints" / f"{n}.ckpt", weights_only=True) for n in ("best", "last"))
    found |= {
        "best.ckpt": best,
        "last.ckpt": {key: last[key] for key in ("state_dict", "optimizer_states", "execution")},
    }
    for name in ("predictions.npz", "predictions_validation.npz"):
        with np.load(folder / name) as file:
            found[name] = {key: (file[key].dtype.str, file[key].shape, file[key].tobytes()) for key in file}
    return found


def difference(ours, theirs, where="run"):
    """Path of the first value that is not the same to the bit; '' if there is none."""
    if isinstance(ours, torch.Tensor):
        return "" if ours.dtype == theirs.dtype and torch.equal(ours, theirs) else where
    if isinstance(ours, (list, tuple)):
        ours, theirs = dict(enumerate(ours)), dict(enumerate(theirs))
    if isinstance(ours, dict):
        if ours.keys() != theirs.keys():
            return f"{where}: {ours.keys() ^ theirs.keys()}"
        return next((found for key in ours if (found := difference(ours[key], theirs[key], f"{where}/{key}"))), "")
    return "" if ours == theirs else where
