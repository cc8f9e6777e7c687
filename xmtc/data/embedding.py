"""Initial word vectors: an embedding group of the configuration builds the `nn.Embedding` of an encoder."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from xmtc.data.vocabulary import Vocabulary


class WordVectors:
    """Base: `table` gives the initial vectors, `make` the module.

    size: E, numbers per word. trainable: whether training changes the table.
    """

    def __init__(self, size: int = 300, trainable: bool = True):
        self.size, self.trainable = size, trainable

    def table(self, vocabulary: Vocabulary) -> Tensor:
        """(V, E) float32."""
        raise NotImplementedError

    def make(self, vocabulary: Vocabulary, extra: int = 0, sparse: bool = True) -> nn.Embedding:
        """(V + extra, E) embedding, the row of padding zero and never updated; `extra` further rows (CLS tokens) start
        uniform(-1, 1).

        sparse: gradients hold only the rows of the batch, which the lazy optimiser needs.
        """
        table = self.table(vocabulary)
        if extra:
            table = torch.cat([table, torch.empty(extra, self.size).uniform_(-1, 1)])
        table[vocabulary.padding] = 0
        padding = vocabulary.padding
        return nn.Embedding.from_pretrained(table, freeze=not self.trainable, padding_idx=padding, sparse=sparse)


class Random(WordVectors):
    """Random start. uniform: U(-scale, scale) (the papers' unknown words, scale 1); normal: N(0, scale^2)."""

    def __init__(
        self,
        size: int = 300,
        trainable: bool = True,
        kind: Literal["uniform", "normal"] = "uniform",
        scale: float = 1.0,
    ):
        super().__init__(size, trainable)
        self.kind, self.scale = kind, scale

    def table(self, vocabulary: Vocabulary) -> Tensor:
        table = torch.empty(vocabulary.size, self.size)
        return table.uniform_(-self.scale, self.scale) if self.kind == "uniform" else table.normal_(0, self.scale)
