"""A fitted system for use: texts in, labels out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xmtc.data.reading import TextReader
from xmtc.fitted.base import FittedModel
from xmtc.given import whole
from xmtc.labels import LabelTable
from xmtc.tagger import Ranking, Tagger, check_texts


class FittedTagger(Tagger):
    """What `xmtc.load` answers for such a run. There is no head, so the raw ranking is the ranking."""

    batch_size = 256

    def __init__(self, folder: Path, config: dict, labels: LabelTable, reader: TextReader, model: FittedModel):
        super().__init__(folder, config, labels)
        self.reader, self.fitted = reader, model

    def predict_batch(self, texts: Sequence[str], k: int, raw: bool = False, batch_size: int | None = None) -> Ranking:
        k = min(whole(k, "k"), self.num_labels)
        size = self.batch_size if batch_size is None else whole(batch_size, "batch_size")
        documents = self.reader.documents(check_texts(texts))
        scores, labels = np.zeros((len(documents), k), np.float32), np.zeros((len(documents), k), np.int64)
        for start in range(0, len(documents), size):
            rows = np.arange(start, min(start + size, len(documents)))
            features = self.fitted.features(documents, rows, self.reader.vocabulary)
            scores[rows], labels[rows] = self.fitted.topk(features, k)
        return scores, labels

    def _both(self, texts: Sequence[str], k: int, batch_size: int | None) -> tuple[Ranking, Ranking]:
        ranking = self.predict_batch(texts, k, batch_size=batch_size)
        return ranking, ranking
