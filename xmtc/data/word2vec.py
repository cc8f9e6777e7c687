"""Word vectors learnt from the corpus itself (Mikolov et al. 2013), for when no pre-trained ones are at hand.

With `labels` words and labels are embedded jointly: a document's labels stand between its words, as further words that
no text has, so that words predict the labels they occur with and words of the same labels move together (the joint
embedding that MATCH starts from, Zhang et al. 2021, with word2vec's own objective). Only the training part is read, of
it only the labels of documents that are trained on (not of those split off for validation), and only the words' vectors
are kept. gensim's Doc2Vec with labels as tags does not do this: there two wordings of one
label end up further apart than words of different labels.
"""

from __future__ import annotations

import hashlib
import itertools
import logging

import numpy as np
import torch
from torch import Tensor

from xmtc.bounds import Count, NotNegative
from xmtc.data.embedding import WordVectors, kept_in_store
from xmtc.data.store import Part
from xmtc.data.vocabulary import Vocabulary
from xmtc.errors import InputError

log = logging.getLogger(__name__)
WORDS = 10_000_000  # words to learn from: with 2 million the vectors of 900,000 words of text were useless, with 9 good
FEWEST, MOST = 2, 50  # epochs
PIECE = 5000  # words that the library is given at a time


class Word2Vec(WordVectors):
    """Skip-gram or CBOW with negative sampling over the training part, by gensim; kept in the store, so made once.

    scale: the vectors are scaled to this standard deviation. Words met fewer than `min_count` times start as noise of
    that size. epochs: null for as many as read ten million words, 2 to 50. labels: vectors of words and labels
    jointly, one label behind every `window` words. One worker makes the result repeatable; more are faster.
    """

    def __init__(
        self,
        size: Count = 300,
        trainable: bool = True,
        epochs: Count | None = None,
        window: Count = 5,
        min_count: Count = 5,
        skip_gram: bool = False,
        scale: NotNegative = 0.3,
        workers: Count = 2,
        labels: bool = False,
    ):
        super().__init__(size, trainable)
        self.epochs, self.window, self.min_count = epochs, window, min_count
        self.skip_gram, self.scale, self.workers, self.labels = skip_gram, scale, workers, labels

    def table(self, vocabulary: Vocabulary) -> Tensor:
        names = ("size", "epochs", "window", "min_count", "skip_gram", *["labels"] * self.labels)
        settings = {name: getattr(self, name) for name in names} | {"epochs": self._rounds(vocabulary)}
        if self.labels and vocabulary.trained is not None:
            settings["documents"] = hashlib.sha256(vocabulary.trained.astype(np.int64).tobytes()).hexdigest()
        kept = kept_in_store(vocabulary, "word2vec", settings, lambda: self._train(vocabulary))
        vectors = np.load(kept)[: vocabulary.size]
        known = vectors.any(axis=1)
        table = torch.empty(vocabulary.size, self.size).normal_(0, self.scale)
        table[torch.from_numpy(known)] = torch.from_numpy(vectors[known] * (self.scale / vectors[known].std()))
        return table

    def _rounds(self, vocabulary: Vocabulary) -> int:
        if self.epochs is not None:
            return self.epochs
        words = len(Part.load(vocabulary.folder.parent / "train").tokens)
        return min(max(FEWEST, -(-WORDS // max(words, 1))), MOST)

    def _train(self, vocabulary: Vocabulary) -> np.ndarray:
        """(V, E) float32; rows of zeros: met too rarely."""
        try:
            from gensim.models import Word2Vec as Model
        except ImportError as error:
            raise InputError("embedding=word2vec needs gensim: pip install 'xmtc[word2vec]'") from error
        size = len(np.load(vocabulary.folder / "document_frequency.npy", mmap_mode="r"))
        part = Part.load(vocabulary.folder.parent / "train")
        sentences = _Sentences(part, *((size, self.window, vocabulary.trained) if self.labels else ()))
        epochs = self._rounds(vocabulary)
        log.info("training word vectors on %d documents (%d epochs)", len(sentences), epochs)
        model = Model(
            vector_size=self.size, window=self.window, min_count=self.min_count, sg=int(self.skip_gram),
            negative=5, sample=1e-4, seed=0, workers=self.workers, epochs=epochs,
        )  # fmt: skip
        model.build_vocab(sentences)
        if not len(model.wv):
            raise InputError(f"embedding.min_count: no word is met {self.min_count} times in the training texts")
        model.train(sentences, total_examples=model.corpus_count, epochs=epochs)
        vectors = np.zeros((size, self.size), np.float32)
        keys = np.array(model.wv.index_to_key)
        vectors[keys[keys < size]] = model.wv.vectors[keys < size]
        vectors[vocabulary.unknown] = 0
        return vectors


class _Sentences:
    """Documents as lists of token ids, in pieces that the library takes whole. With `first_label` the labels of the
    document, one behind every `every` words, as the ids from there on; of the documents `trained` alone."""

    def __init__(self, part: Part, first_label: int | None = None, every: int = 5, trained: np.ndarray | None = None):
        self.part, self.first_label, self.every = part, first_label, every
        self.told = np.isin(np.arange(len(part)), trained) if trained is not None else np.ones(len(part), bool)

    def __len__(self) -> int:
        return len(self.part)

    def __iter__(self):
        for document, (start, stop) in enumerate(itertools.pairwise(self.part.token_offsets)):
            for place in range(start, stop, PIECE):
                words = self.part.tokens[place : min(place + PIECE, stop)].tolist()
                alone = self.first_label is None or not self.told[document]
                yield words if alone else self._with_labels(words, document)

    def _with_labels(self, words: list[int], document: int) -> list[int]:
        first, last = self.part.label_offsets[document : document + 2]
        labels = itertools.cycle((self.part.label_ids[first:last] + self.first_label).tolist())
        mixed = []
        for place in range(0, len(words), self.every):
            mixed += [*words[place : place + self.every], *itertools.islice(labels, 1)]
        return mixed
