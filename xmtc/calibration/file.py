"""`calibration.json` in a run directory: how a logit becomes a probability that means something, and named thresholds.

    {"format": 1, "method": "isotonic", "by": "bins", "bins": ["head", "torso", "tail"],
     "maps": [{"logits": [...], "probabilities": [...]}, ...],      one a bin, or one for all
     "thresholds": {"micro-F1": 0.41, "precision-0.9": 0.73, ...}, "report": {...}}

A map is a piecewise linear function of the logit (isotonic) or {"temperature": T}: sigmoid(logit / T).
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xmtc.data.files import replaced, writing_to
from xmtc.errors import InputError
from xmtc.labels import LabelTable
from xmtc.metrics.frequency_bins import frequency_bins

FORMAT = 1
NAME = "calibration.json"
LARGEST = 16.0  # logit; a float32 probability cannot tell larger ones from 1
LEAST = 1e-6  # no map claims certainty


@dataclass
class Calibration:
    """Called with logits (B, k) and label indices (B, k), gives probabilities (B, k) float32.

    maps: one a frequency bin, or one for all. thresholds: by name. report: what fitting measured.
    """

    method: str
    by: str
    maps: list[dict[str, Any]]
    bins: list[str] = field(default_factory=list)
    thresholds: dict[str, float] = field(default_factory=dict)
    report: dict[str, Any] = field(default_factory=dict)
    bin_of_label: np.ndarray | None = None

    def __call__(self, logits: np.ndarray, indices: np.ndarray) -> np.ndarray:
        logits = np.clip(np.asarray(logits, np.float64), -LARGEST, LARGEST)
        if self.bin_of_label is None:
            return _mapped(self.maps[0], logits)
        bins = self.bin_of_label[indices]
        probabilities = np.zeros(logits.shape, np.float32)
        for i, one in enumerate(self.maps):
            probabilities[bins == i] = _mapped(one, logits[bins == i])
        return probabilities

    def save(self, folder: Path) -> Path:
        content = {"format": FORMAT} | {k: v for k, v in asdict(self).items() if k != "bin_of_label"}
        content["checksum"] = _checksum(content)
        with writing_to(folder, "keeping the calibration", "runs"), replaced(folder / NAME) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        return folder / NAME


def _checksum(content: dict) -> int:
    """Of all else: a digit that a disk has changed would be another probability."""
    return zlib.crc32(json.dumps({k: v for k, v in content.items() if k != "checksum"}, sort_keys=True).encode())


def _mapped(one: dict, logits: np.ndarray) -> np.ndarray:
    if "temperature" in one:
        value = 1 / (1 + np.exp(-logits / one["temperature"]))
    else:
        value = np.interp(logits, one["logits"], one["probabilities"])
    return np.clip(value, LEAST, 1 - LEAST).astype(np.float32)


def bins_of_labels(labels: LabelTable) -> tuple[list[str], np.ndarray]:
    """Names of the frequency bins and the bin of every label (L,)."""
    names, bins = frequency_bins(torch.from_numpy(labels.frequency))
    return names, bins[:-1].numpy()


def read_calibration(folder: Path, labels: LabelTable) -> Calibration | None:
    """What `xmtc.calibrate` left in a run directory, or None. InputError if it cannot be read."""
    path = folder / NAME
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise InputError(f"{path}: of another version; run xmtc.calibrate again")
        if "checksum" in content and content["checksum"] != _checksum({"format": FORMAT} | content):
            raise ValueError("changed or damaged since it was written: another checksum")
        content.pop("checksum", None)
        calibration = Calibration(**content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not readable ({error}); delete it or run xmtc.calibrate again") from None
    if calibration.by == "bins":
        calibration.bin_of_label = bins_of_labels(labels)[1]
    return calibration
