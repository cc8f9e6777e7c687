"""BertXML: a 3-layer transformer over words, trained from scratch, read at 5 [CLS] positions (CorNet, KDD 2020; MATCH).

    5 CLS + words (B,5+T,300) + positions -> 2 layers over all positions -> 1 layer whose queries are the CLS alone
    -> flatten (B,1500) -> ELU -> pooler Linear 1500 (512 on Wiki-500K) -> ELU -> Linear to the labels

`variant=authors` repeats CorNet's code, which differs from what "BERT" suggests; its printed numbers come from it:
* no layer normalisation anywhere, ReLU in the feed-forward layers;
* Xavier-uniform on every weight, the word and position tables included, zero biases. The word vectors of `embedding`
  are lost, so only its size is used, and the table is trained even where the dataset's recipe freezes it (a frozen
  random table would teach nothing);
* the CLS are rows V..V+4 of the word table; its gradient is dense (all rows move under Adam).
`variant=fixed` is what was probably meant: layer normalisation after the embedding and after every sub-layer (BERT's
places), GELU, the word vectors kept (frozen if `embedding.trainable=false`), the padding row zero, sparse gradient;
the CLS are a parameter of their own.

Departures: padding is masked by a boolean mask instead of adding -10000 (equal: both weights are exactly zero), and
the batch is cut to its longest text, which changes nothing because padding is never attended to. MATCH's encoder is
this one with its own sizes (layers counts the last one).

Shapes: B documents, T tokens, C = 5 CLS, D hidden = size of the word vectors, Q query positions.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.bounds import Count, Share
from xmtc.data.batch import Batch
from xmtc.data.embedding import WordVectors
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.dropout import cheap_dropout
from xmtc.errors import InputError


class Layer(nn.Module):
    """Post-norm transformer layer; `norm=False` leaves the normalisations out. Cost of attention 4BQTD."""

    def __init__(self, size: int, heads: int, feedforward: int, dropout: float, norm: bool):
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))
        self.up, self.down = nn.Linear(size, feedforward), nn.Linear(feedforward, size)
        self.activation = F.gelu if norm else F.relu
        self.norms = nn.ModuleList(nn.LayerNorm(size, eps=1e-12) if norm else nn.Identity() for _ in range(2))

    def forward(self, hidden_BTD: Tensor, mask_BT: Tensor, queries: int | None = None) -> Tensor:
        """(B, Q, D) of the first `queries` positions (all by default); mask: True at positions that may be read."""
        hidden_BQD = hidden_BTD[:, :queries]
        query, key, value = self.query(hidden_BQD), self.key(hidden_BTD), self.value(hidden_BTD)
        query, key, value = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key, value))
        dropout = self.dropout if self.training else 0.0
        read = F.scaled_dot_product_attention(query, key, value, attn_mask=mask_BT[:, None, None], dropout_p=dropout)
        hidden_BQD = self.norms[0](hidden_BQD + self._drop(self.out(read.transpose(1, 2).flatten(2))))
        return self.norms[1](hidden_BQD + self._drop(self.down(self.activation(self.up(hidden_BQD)))))

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)


class BertXML(Encoder):
    """features: (B, bottleneck), by default (B, cls x D). max_length: the longest text, CLS not counted."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        embedding: WordVectors,
        variant: Literal["authors", "fixed"] = "authors",
        layers: Count = 3,
        heads: Count = 2,
        feedforward: Count = 600,
        cls: Count = 5,
        bottleneck: Count | None = None,
        dropout: Share = 0.1,
        max_length: Count = 500,
    ):
        super().__init__()
        size = embedding.size
        if size % heads:
            raise InputError(f"encoder.heads={heads} does not divide the word vectors' size: embedding.size={size}")
        if text is not None and (text.length is None or text.length > max_length):
            raise InputError(f"encoder.text.length={text.length} must be at most encoder.max_length={max_length}")
        self.text, self.num_cls, self.max_length = text, cls, max_length
        self.authors = variant == "authors"
        if self.authors:
            self.embedding = nn.Embedding(vocabulary.size + cls, size)
            self.by_word = ("embedding.weight",)
            self.register_buffer("cls_ids", torch.arange(vocabulary.size, vocabulary.size + cls), persistent=False)
        else:
            self.embedding = embedding.make(vocabulary)
            self.cls = nn.Parameter(torch.empty(cls, size))
            nn.init.xavier_uniform_(self.cls)
        self.positions = nn.Embedding(cls + max_length, size)
        self.norm = nn.Identity() if self.authors else nn.LayerNorm(size, eps=1e-12)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(Layer(size, heads, feedforward, dropout, not self.authors) for _ in range(layers))
        self.size = bottleneck or cls * size
        self.pooler = nn.Linear(cls * size, self.size)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding) and (self.authors or module is not self.embedding):
                nn.init.xavier_uniform_(module.weight)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, batch: Batch) -> Encoded:
        longest = int(batch.lengths.max()) if len(batch) else batch.tokens.shape[1]
        if longest > self.max_length:
            raise InputError(f"a text has {longest} tokens, more than encoder.max_length={self.max_length}: raise it")
        positions = torch.arange(longest + self.num_cls, device=batch.tokens.device)
        mask_BT = positions < batch.lengths[:, None] + self.num_cls
        hidden_BTD = self._embed(batch.tokens[:, :longest]) + self.positions(positions)
        hidden_BTD = self.dropout(self.norm(hidden_BTD))
        *layers, last = self.layers
        with cheap_dropout(hidden_BTD.device):
            for layer in layers:
                hidden_BTD = layer(hidden_BTD, mask_BT)
            flat = F.elu(last(hidden_BTD, mask_BT, queries=self.num_cls).flatten(1))
        return Encoded(F.elu(self.pooler(flat)))

    def _embed(self, tokens: Tensor) -> Tensor:
        """(B, C + T, D) vectors of the CLS and the words."""
        if self.authors:
            return self.embedding(torch.cat([self.cls_ids.expand(len(tokens), -1), tokens], dim=1))
        return torch.cat([self.cls.expand(len(tokens), -1, -1), self.embedding(tokens)], dim=1)

    def make_decoder(self, num_labels: int) -> LinearDecoder:
        return LinearDecoder(self.size, num_labels)
