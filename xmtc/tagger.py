"""What every loaded model offers: texts in, labels with probabilities out. `Model` and `Ensemble` rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path

import numpy as np
import torch

from xmtc.calibration.file import Calibration, read_calibration
from xmtc.errors import InputError
from xmtc.given import listed
from xmtc.labels import LabelTable

MOST = 100  # labels of a document that a threshold chooses from, as many as predictions.npz keeps
Ranking = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The labels of one text, best first. scores: probabilities. indices: places in the model's labels."""

    labels: list[str]
    names: list[str]
    scores: list[float]
    indices: list[int]


class Tagger:
    """Base. Safe to use from several threads.

    folder: the run directory. config: the run's, resolved. labels: L `Label`s (id, name, frequency), `labels.ids` and
    `labels.names` as lists. batch_size: documents at a time. calibration: what `xmtc.calibrate` fitted, or None; set it
    to None to get the model's own sigmoid. has_head: whether the enhanced ranking can differ from the raw one.
    """

    batch_size: int
    has_head: bool = False

    def __init__(self, folder: Path, config: dict, labels: LabelTable):
        self.folder, self.config, self.labels = folder, config, labels
        self.calibration: Calibration | None = read_calibration(folder, labels)

    @property
    def num_labels(self) -> int:
        return len(self.labels)

    def predict_batch(self, texts: Sequence[str], k: int, raw: bool = False, batch_size: int | None = None) -> Ranking:
        """Logits (B, k) float32 and label indices (B, k) int64, best first; k is cut to L."""
        raise NotImplementedError

    def _both(self, texts: Sequence[str], k: int, batch_size: int | None) -> tuple[Ranking, Ranking]:
        raise NotImplementedError

    def predict(
        self,
        texts: Sequence[str],
        k: int | None = 5,
        threshold: float | str | None = None,
        raw: bool = False,
        batch_size: int | None = None,
    ) -> list[Prediction]:
        """One prediction a text, in order, whatever the batch size.

        k: at most so many labels (more than L gives all L); None: as many as reach the threshold, at most 100.
        threshold: only labels whose probability is at least this; or the name of a threshold that `xmtc.calibrate`
        chose (`micro-F1`, `precision-0.9`, ...); a document may then get none. raw: the ranking without the
        correlation head, its scores never calibrated. Raises InputError for a k, a threshold or a text that cannot be
        used.
        """
        least = self.threshold(threshold)
        if k is None and least is None:
            raise InputError("k: expected how many labels at most, or a threshold")
        scores, indices = self.predict_batch(texts, MOST if k is None else k, raw, batch_size)
        return self.answers(scores, indices, least, raw)

    def both(
        self, texts: Sequence[str], k: int = 5, batch_size: int | None = None
    ) -> tuple[list[Prediction], list[Prediction]]:
        """The raw and the enhanced ranking of each text. Costs one pass, with all L logits at once."""
        raw, enhanced = self._both(texts, k, batch_size)
        return self.answers(*raw, raw=True), self.answers(*enhanced)

    def answers(
        self, logits: np.ndarray, indices: np.ndarray, threshold: float | None = None, raw: bool = False
    ) -> list[Prediction]:
        """Predictions from what `predict_batch` gave: probabilities, and labels below the threshold left out."""
        scores = self.probabilities(logits, indices, raw)
        keep = np.ones(scores.shape, bool) if threshold is None else scores >= np.float32(threshold)
        answers = []
        for row_scores, row_indices, row_keep in zip(scores, indices, keep, strict=True):
            chosen = row_indices[row_keep].tolist()
            labels = [self.labels[i] for i in chosen]
            ids, names = [label.id for label in labels], [label.name for label in labels]
            answers.append(Prediction(ids, names, row_scores[row_keep].tolist(), chosen))
        return answers

    def probabilities(self, logits: np.ndarray, indices: np.ndarray, raw: bool = False) -> np.ndarray:
        """(B, k) probabilities: calibrated where there is a calibration and the ranking is not the raw one."""
        if self.calibration is not None and not raw:
            return self.calibration(logits, indices)
        return torch.sigmoid(torch.from_numpy(np.asarray(logits))).numpy()

    def threshold(self, given: float | str | None) -> float | None:
        """A threshold as a number. A name is looked up among those that `xmtc.calibrate` chose."""
        if given is None:
            return None
        if isinstance(given, str):
            known = self.calibration.thresholds if self.calibration else {}
            if not known:
                raise InputError(f"threshold: {given!r} is not known; run python -m xmtc.calibrate {self.folder}")
            if given not in known:
                raise InputError(f"threshold: {given!r} is not known; choose from {', '.join(known)}")
            return known[given]
        if isinstance(given, bool) or not isinstance(given, Real) or not 0 <= given <= 1:
            raise InputError(f"threshold: expected a probability from 0 to 1, got {given!r}")
        return float(given)


def check_texts(texts: Sequence[str]) -> list[str]:
    """The texts as a list. InputError: one text instead of several, or what is no text."""
    found = listed(texts, "texts", "texts")
    for i, text in enumerate(found):
        if not isinstance(text, str):
            raise InputError(f"texts[{i}]: expected a text, got {type(text).__name__}")
    return found
