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
from xmtc.parsing import read_json

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
        with writing_to(folder, "keeping the calibration", None), replaced(folder / NAME) as temporary:
            temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        return folder / NAME


def _checksum(content: dict) -> int:
    """Of all else: a digit that a disk has changed would be another probability."""
    return zlib.crc32(json.dumps({k: v for k, v in content.items() if k != "checksum"}, sort_keys=True).encode())


def _mapped(one: dict, logits: np.ndarray) -> np.ndarray:
    if "temperature" in one:
        value = 1 / (1 + np.exp(np.clip(-logits / one["temperature"], -700, 700)))
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
        content = read_json(path, dict)
        if content.get("format") != FORMAT:
            raise InputError(f"{path}: of another version")
        if "checksum" in content and content["checksum"] != _checksum(content):
            raise InputError(f"{path}: changed or damaged since it was written: another checksum")
        content = {key: value for key, value in content.items() if key not in ("format", "checksum")}
        names, bin_of_label = bins_of_labels(labels)
        if reason := _unusable(content, names):
            raise InputError(f"{path}: not readable as a calibration ({reason})")
    except InputError as error:
        raise InputError(f"{error}; delete it or run xmtc.calibrate again") from None
    return Calibration(**content, bin_of_label=bin_of_label if content["by"] == "bins" else None)


def _unusable(content: dict, names: list[str]) -> str | None:
    """What is wrong with a calibration that a person may have written, or None. names: of the labels' bins."""
    if wrong := set(content) ^ {"method", "by", "maps", "bins", "thresholds", "report"}:
        return f"missing or unknown: {', '.join(sorted(wrong))}"
    if content["by"] not in ("global", "bins"):
        return f"by: expected global or bins, found {content['by']!r:.40}"
    expected = len(names) if content["by"] == "bins" else 1
    if not isinstance(content["maps"], list) or len(content["maps"]) != expected:
        return f"maps: expected a list of {expected}"
    if not all(map(_is_map, content["maps"])):
        return 'maps: expected {"temperature": T} or {"logits": rising, "probabilities": as many}, finite'
    for key in ("thresholds", "report"):
        if not isinstance(content[key], dict):
            return f"{key}: expected an object"
    if not _finite(list(content["thresholds"].values())):
        return "thresholds: expected finite numbers"
    return None


def _is_map(one: Any) -> bool:
    if not isinstance(one, dict):
        return False
    if set(one) == {"temperature"}:
        return _finite([one["temperature"]]) and one["temperature"] > 0
    if set(one) != {"logits", "probabilities"}:
        return False
    x, y = one["logits"], one["probabilities"]
    return bool(x) and _finite(x) and _finite(y) and len(x) == len(y) and x == sorted(x)


def _finite(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(
        isinstance(n, int | float) and not isinstance(n, bool) and abs(n) < 1e300 for n in numbers
    )
