"""Initial word vectors: an embedding group of the configuration builds the `nn.Embedding` of an encoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from xmtc.bounds import Count, NotNegative
from xmtc.config.check import import_target
from xmtc.config.make import make
from xmtc.data.checksums import damaged, list_files
from xmtc.data.files import locked, replaced, save, writing_to
from xmtc.data.vocabulary import Vocabulary


def rows_once(embedding: nn.Embedding, words: Tensor) -> Tensor:
    """`embedding(words)` for words (U,) that are ascending and each there once: a sparse gradient says so, so that
    nobody has to look for words that occur twice, which a GPU would have to be waited for."""
    if embedding.sparse and embedding.weight.requires_grad and torch.is_grad_enabled():
        return _RowsOnce.apply(embedding.weight, words, embedding.padding_idx)
    return embedding(words)


class _RowsOnce(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, words: Tensor, padding: int | None) -> Tensor:
        ctx.save_for_backward(words)
        ctx.shape, ctx.padding = weight.shape, padding
        return weight.index_select(0, words)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (words,) = ctx.saved_tensors
        if ctx.padding is not None:
            grad = grad.masked_fill((words == ctx.padding).unsqueeze(1), 0)
        made = torch.sparse_coo_tensor(words[None], grad, ctx.shape, is_coalesced=True, check_invariants=False)
        return made, None, None


class WordVectors:
    """Base: `table` gives the initial vectors, `make` the module.

    size: E, numbers per word. trainable: whether training changes the table.
    """

    def __init__(self, size: Count = 300, trainable: bool = True):
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


def vectors_of(node: dict) -> dict[str, WordVectors]:
    """The word vectors among the arguments of an encoder's node, made, by their key. None of them is read or learnt."""
    found = {}
    for key, value in node.items():
        target = isinstance(value, dict) and import_target(value.get("_target_"), f"encoder.{key}")
        if isinstance(target, type) and issubclass(target, WordVectors):
            found[key] = make(value)
    return found


def kept_in_store(vocabulary: Vocabulary, kind: str, settings: dict, compute: Callable[[], np.ndarray]) -> Path:
    """The file of the store that holds the vectors of these settings, what `compute` answers unless it is there, whole.
    One process makes it; the others of a run wait for it."""
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]
    path = vocabulary.folder.parent / "vectors" / f"{kind}-{key}.npy"

    def is_there() -> bool:
        return path.exists() and damaged(path.parent, [path.name]) is None

    if not is_there():
        with writing_to(path.parent, "keeping word vectors"):
            path.parent.mkdir(exist_ok=True)
            with locked(path.with_suffix(".lock")):
                if not is_there():
                    vectors = compute()
                    with replaced(path) as temporary:
                        save(temporary, vectors)
                    list_files(path.parent, [path.name])
    return path


class Random(WordVectors):
    """Random start. uniform: U(-scale, scale) (the papers' unknown words, scale 1); normal: N(0, scale^2)."""

    def __init__(
        self,
        size: Count = 300,
        trainable: bool = True,
        kind: Literal["uniform", "normal"] = "uniform",
        scale: NotNegative = 1.0,
    ):
        super().__init__(size, trainable)
        self.kind, self.scale = kind, scale

    def table(self, vocabulary: Vocabulary) -> Tensor:
        table = torch.empty(vocabulary.size, self.size)
        return table.uniform_(-self.scale, self.scale) if self.kind == "uniform" else table.normal_(0, self.scale)
