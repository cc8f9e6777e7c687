"""A trained model for use: texts in, labels out. Made by `xmtc.load(RUN_DIR)`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from xmtc.calibration.file import Calibration, read_calibration
from xmtc.data.batch import Batch
from xmtc.data.reading import TextReader
from xmtc.errors import InputError
from xmtc.execution.topk import best
from xmtc.labels import LabelTable

log = logging.getLogger(__name__)
MOST = 100  # labels of a document that a threshold chooses from, as many as predictions.npz keeps
LOGITS = 1 << 26  # numbers in one (B, L) tensor: 256 MiB


@dataclass(frozen=True, slots=True)
class Prediction:
    """The labels of one text, best first. scores: probabilities. indices: places in the model's labels."""

    labels: list[str]
    names: list[str]
    scores: list[float]
    indices: list[int]


class Model:
    """Predicts. Safe to use from several threads; always in evaluation mode and without gradients.

    labels: L `Label`s (id, name, frequency), `labels.ids` and `labels.names` as lists. config: the run's, resolved.
    encoder, decoder, head, execution: the parts, for analyses. calibration: what `xmtc.calibrate` fitted, or None;
    set it to None to get the model's own sigmoid.
    """

    def __init__(
        self, folder: Path, config: dict, labels: LabelTable, reader: TextReader, parts: nn.ModuleDict, execution
    ):
        self.folder, self.config, self.labels, self.reader = folder, config, labels, reader
        self.encoder, self.decoder, self.head = (parts[name] for name in ("encoder", "decoder", "head"))
        self.parts, self.execution = parts, execution
        self.calibration: Calibration | None = read_calibration(folder, labels)

    @property
    def num_labels(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        return next(self.parts.parameters()).device

    @cached_property
    def batch_size(self) -> int:
        """Documents at a time: as in the run's evaluation, fewer where a (B, L) tensor would exceed 256 MiB."""
        wanted = self.config.get("data", {}).get("evaluation_batch_size") or 64
        return max(1, min(wanted, LOGITS // self.num_labels))

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
        chose (`micro-F1`, `precision=0.9`, ...); a document may then get none. raw: the ranking without the
        correlation head, its scores never calibrated. Raises InputError for a k, a threshold or a text that cannot be
        used.
        """
        least = self.threshold(threshold)
        if k is None and least is None:
            raise InputError("k: expected how many labels at most, or a threshold")
        scores, indices = self.predict_batch(texts, MOST if k is None else k, raw, batch_size)
        return self.answers(scores, indices, least, raw)

    def predict_batch(
        self, texts: Sequence[str], k: int, raw: bool = False, batch_size: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits (B, k) float32 and label indices (B, k) int64, best first; k is cut to L."""
        ranking = self._raw if raw else self.execution.topk
        return self._ranked(texts, k, batch_size, lambda encoded, k: (ranking(encoded, k),))[0]

    def both(
        self, texts: Sequence[str], k: int = 5, batch_size: int | None = None
    ) -> tuple[list[Prediction], list[Prediction]]:
        """The raw and the enhanced ranking of each text. Costs one pass, with all L logits at once."""

        def rank(encoded, k):
            raw, enhanced = self.execution.logits(encoded)
            return best(raw, k), best(enhanced, k)

        raw, enhanced = self._ranked(texts, k, batch_size, rank)
        return self.answers(*raw, raw=True), self.answers(*enhanced)

    def answers(
        self, logits: np.ndarray, indices: np.ndarray, threshold: float | None = None, raw: bool = False
    ) -> list[Prediction]:
        """Predictions from what `predict_batch` gave: probabilities, and labels below the threshold left out."""
        scores = self.probabilities(logits, indices, raw)
        keep = np.ones(scores.shape, bool) if threshold is None else scores >= threshold
        answers = []
        for row_scores, row_indices, row_keep in zip(scores, indices, keep, strict=True):
            chosen = row_indices[row_keep].tolist()
            labels = [self.labels[i] for i in chosen]
            answers.append(
                Prediction(
                    [label.id for label in labels],
                    [label.name for label in labels],
                    row_scores[row_keep].tolist(),
                    chosen,
                )
            )
        return answers

    def probabilities(self, logits: np.ndarray, indices: np.ndarray, raw: bool = False) -> np.ndarray:
        """(B, k) probabilities of logits: calibrated where there is a calibration and the ranking is not the raw one."""
        if self.calibration is not None and not raw:
            return self.calibration(logits, indices)
        return torch.sigmoid(torch.from_numpy(np.asarray(logits))).numpy()

    def threshold(self, given: float | str | None) -> float | None:
        """A threshold as a number. A name is looked up among those that `xmtc.calibrate` chose."""
        if given is None:
            return None
        if isinstance(given, str):
            known = self.calibration.thresholds if self.calibration else {}
            if given not in known:
                raise InputError(
                    f"threshold: {given!r} is not known; {'choose from ' + ', '.join(known) if known else 'none is'}"
                    f"{'' if known else f': run python -m xmtc.calibrate {self.folder}'}"
                )
            return known[given]
        if isinstance(given, bool) or not 0 <= given <= 1:
            raise InputError(f"threshold: expected a probability from 0 to 1, got {given}")
        return float(given)

    def encode(self, texts: Sequence[str]) -> Batch:
        """The texts as one batch on the model's device."""
        return self.reader.batch(_checked(texts)).to(self.device)

    def _raw(self, encoded, k):
        return best(self.execution.logits(encoded)[0], k)

    def _ranked(
        self, texts: Sequence[str], k: int, batch_size: int | None, rank
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Runs `rank(encoded, k)`, which gives one or more rankings of a batch, over all texts."""
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise InputError(f"k: expected a whole number of at least 1, got {k!r}")
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size: expected at least 1, got {batch_size}")
        texts, k = _checked(texts), min(k, self.num_labels)
        documents = self.reader.documents(texts)
        lists: list[tuple[np.ndarray, np.ndarray]] = []
        with torch.inference_mode():
            for rows in self._batches(documents, batch_size or self.batch_size):
                rankings = rank(self.encoder(documents[rows].to(self.device)), k)
                while len(lists) < len(rankings):
                    lists.append((np.zeros((len(texts), k), np.float32), np.zeros((len(texts), k), np.int64)))
                for (scores, labels), (new_scores, new_labels) in zip(lists, rankings, strict=True):
                    scores[rows], labels[rows] = new_scores.float().cpu().numpy(), new_labels.cpu().numpy()
        empty = np.zeros((0, k), np.float32), np.zeros((0, k), np.int64)
        return lists or [empty, empty]

    def _batches(self, documents, size: int):
        """Positions of similar length together. Where the encoder reads padding, texts longer than the usual width
        share a batch only with texts of exactly their length: an answer must not depend on its neighbours."""
        lengths = documents.lengths()
        order = np.argsort(lengths, kind="stable") if self.encoder.layout == "padded" else np.arange(len(lengths))
        cuts = np.arange(0, len(order), size)
        if self.encoder.reads_padding:
            widths = np.maximum(lengths[order], self.reader.width)
            starts = np.flatnonzero(np.diff(widths, prepend=-1))
            ends = np.append(starts[1:], len(order))
            cuts = np.concatenate([np.arange(a, b, size) for a, b in zip(starts, ends)] or [cuts])
        return np.split(order, cuts[1:]) if len(order) else []


def _checked(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, (str, bytes)):
        raise InputError("texts: expected a list of texts, got one text: write [text]")
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"texts[{i}]: expected a text, got {type(text).__name__}")
    return texts
