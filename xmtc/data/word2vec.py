"""Word vectors learnt from the corpus itself (Mikolov et al. 2013), for when no pre-trained ones are at hand."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from xmtc.data.embedding import WordVectors
from xmtc.data.files import locked, save, writing_to
from xmtc.data.store import Part
from xmtc.data.vocabulary import Vocabulary
from xmtc.errors import InputError

log = logging.getLogger(__name__)


class Word2Vec(WordVectors):
    """Skip-gram or CBOW with negative sampling over the training part, by gensim; kept in the store, so made once.

    scale: the vectors are scaled to this standard deviation. Words met fewer than `min_count` times start as noise of
    that size. One worker makes the result repeatable; more are faster.
    """

    def __init__(
        self,
        size: int = 300,
        trainable: bool = True,
        epochs: int = 2,
        window: int = 5,
        min_count: int = 5,
        skip_gram: bool = False,
        scale: float = 0.3,
        workers: int = 2,
    ):
        super().__init__(size, trainable)
        self.epochs, self.window, self.min_count = epochs, window, min_count
        self.skip_gram, self.scale, self.workers = skip_gram, scale, workers

    def table(self, vocabulary: Vocabulary) -> Tensor:
        names = ("size", "epochs", "window", "min_count", "skip_gram")
        key = hashlib.sha256(json.dumps({name: getattr(self, name) for name in names}).encode()).hexdigest()[:12]
        path = vocabulary.folder.parent / "vectors" / f"word2vec-{key}.npy"
        if not path.exists():
            with writing_to(path.parent, "keeping word vectors"):
                path.parent.mkdir(exist_ok=True)
                with locked(path.with_suffix(".lock")):  # processes of one run wait for the first
                    if not path.exists():
                        self._train(vocabulary, path)
        vectors = np.load(path)[: vocabulary.size]
        known = vectors.any(axis=1)
        table = torch.empty(vocabulary.size, self.size).normal_(0, self.scale)
        table[torch.from_numpy(known)] = torch.from_numpy(vectors[known] * (self.scale / vectors[known].std()))
        return table

    def _train(self, vocabulary: Vocabulary, path: Path) -> None:
        try:
            from gensim.models import Word2Vec as Model
        except ImportError as error:
            raise InputError("embedding=word2vec needs gensim: pip install 'xmtc[word2vec]'") from error
        sentences = _Sentences(Part.load(vocabulary.folder.parent / "train"))
        log.info("training word vectors on %d documents (%d epochs)", len(sentences), self.epochs)
        model = Model(
            vector_size=self.size, window=self.window, min_count=self.min_count, sg=int(self.skip_gram),
            negative=5, sample=1e-4, seed=0, workers=self.workers, epochs=self.epochs,
        )  # fmt: skip
        model.build_vocab(sentences)
        if not len(model.wv):
            raise InputError(f"embedding.min_count: no word is met {self.min_count} times in the training texts")
        model.train(sentences, total_examples=model.corpus_count, epochs=self.epochs)
        size = len(np.load(vocabulary.folder / "document_frequency.npy", mmap_mode="r"))
        vectors = np.zeros((size, self.size), np.float32)
        vectors[np.array(model.wv.index_to_key)] = model.wv.vectors
        vectors[vocabulary.unknown] = 0
        temporary = path.with_name(f".{path.stem}-{os.getpid()}.npy")
        try:
            save(temporary, vectors)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


class _Sentences:
    """Documents as lists of token ids, in pieces that the library takes whole."""

    def __init__(self, part: Part, piece: int = 5000):
        self.part, self.piece = part, piece

    def __len__(self) -> int:
        return len(self.part)

    def __iter__(self):
        for start, stop in zip(self.part.token_offsets[:-1], self.part.token_offsets[1:], strict=True):
            for place in range(start, stop, self.piece):
                yield self.part.tokens[place : min(place + self.piece, stop)].tolist()
