"""A trained model for use: texts in, labels out. Made by `xmtc.load(RUN_DIR)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from xmtc.data.batch import Batch
from xmtc.data.collate import Documents
from xmtc.data.reading import TextReader
from xmtc.encoders.base import Encoded
from xmtc.execution.base import Execution
from xmtc.execution.topk import best
from xmtc.given import whole
from xmtc.labels import LabelTable
from xmtc.tagger import Prediction, Ranking, Tagger, check_texts

__all__ = ["Model", "Prediction"]
LOGITS = 1 << 26  # numbers in one (B, L) tensor: 256 MiB


class Model(Tagger):
    """One run's model; always in evaluation mode and without gradients.

    encoder, decoder, head, execution, reader: its parts, for analyses.
    """

    def __init__(
        self,
        folder: Path,
        config: dict,
        labels: LabelTable,
        reader: TextReader,
        parts: nn.ModuleDict,
        execution: Execution,
    ) -> None:
        super().__init__(folder, config, labels)
        self.reader, self.parts, self.execution = reader, parts, execution
        self.encoder, self.decoder, self.head = (parts[name] for name in ("encoder", "decoder", "head"))
        self.has_head = len(self.head.blocks) > 0

    @property
    def device(self) -> torch.device:
        return next(self.parts.parameters()).device

    @cached_property
    def batch_size(self) -> int:  # type: ignore[override]  # made when first asked for
        """As in the run's evaluation, fewer where a (B, L) tensor would exceed 256 MiB."""
        wanted = self.config.get("data", {}).get("evaluation_batch_size") or 64
        return max(1, min(wanted, LOGITS // self.num_labels))

    def predict_batch(self, texts: Sequence[str], k: int, raw: bool = False, batch_size: int | None = None) -> Ranking:
        def rank(encoded: Encoded, k: int) -> tuple:
            return (best(self.execution.logits(encoded)[0], k) if raw else self.execution.topk(encoded, k),)

        return self._ranked(texts, k, batch_size, rank, 1)[0]

    def _both(self, texts: Sequence[str], k: int, batch_size: int | None) -> tuple[Ranking, Ranking]:
        def rank(encoded: Encoded, k: int) -> tuple:
            raw, enhanced = self.execution.logits(encoded)
            return best(raw, k), best(enhanced, k)

        raw, enhanced = self._ranked(texts, k, batch_size, rank, 2)
        return raw, enhanced

    def encode(self, texts: Sequence[str]) -> Batch:
        """The texts as one batch on the model's device."""
        return self.reader.batch(check_texts(texts)).to(self.device)

    def _ranked(
        self, texts: Sequence[str], k: int, batch_size: int | None, rank: Callable, count: int
    ) -> list[Ranking]:
        """Runs `rank(encoded, k)`, which gives `count` rankings of a batch, over all texts."""
        k = min(whole(k, "k"), self.num_labels)
        size = self.batch_size if batch_size is None else whole(batch_size, "batch_size")
        documents = self.reader.documents(check_texts(texts))
        shape = (len(documents), k)
        lists: list[Ranking] = [(np.zeros(shape, np.float32), np.zeros(shape, np.int64)) for _ in range(count)]
        with torch.inference_mode():
            for rows in self._batches(documents, size):
                rankings = rank(self.encoder(documents[rows].to(self.device)), k)
                for (scores, labels), (new_scores, new_labels) in zip(lists, rankings, strict=True):
                    scores[rows], labels[rows] = new_scores.float().cpu().numpy(), new_labels.cpu().numpy()
        return lists

    def _batches(self, documents: Documents, size: int) -> Iterable[np.ndarray]:
        """Positions of similar length together. Where the encoder reads padding, texts longer than the usual width
        share a batch only with texts of exactly their length: an answer must not depend on its neighbours."""
        if not len(documents):
            return []
        if self.encoder.layout == "bag":
            return np.split(np.arange(len(documents)), np.arange(size, len(documents), size))
        lengths = documents.lengths()
        order = np.argsort(lengths, kind="stable")
        if not self.encoder.reads_padding:
            return np.split(order, np.arange(size, len(order), size))
        widths = np.maximum(lengths[order], self.reader.width)
        starts = np.flatnonzero(np.diff(widths, prepend=-1))
        ends: np.ndarray = np.append(starts[1:], len(order))
        cuts = np.concatenate([np.arange(start, end, size) for start, end in zip(starts, ends, strict=True)])
        return np.split(order, cuts[1:])
