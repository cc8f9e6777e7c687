"""Star-Transformer (Guo et al., NAACL 2019): words that see their neighbours, and one relay that sees them all.

    words (B,T,D) + positions = E;  H = E, s = mean of E
    a cycle:  h_i = LayerNorm(ReLU(attention of h_i over [h_i-1, h_i, h_i+1, e_i, s]))     satellites, in a ring
              s = LayerNorm(ReLU(attention of s over [s, all h]))                          relay
    features (s + max over i of h_i) / 2

Attention has several heads, scale 1/sqrt(d), an output projection, no residual connection: h_i and s are among what
they read. A cycle costs 11 B T D^2 multiplications, linear in T, where a transformer's attention is quadratic.

Decisions where the paper leaves it open: weights of a cycle are its own; the position table, the mean of relay and
maximum, and dropout on embeddings and features are those of the authors' library (fastNLP); the text is a ring, its
first word beside its last, as the paper draws it (their library has zeros beyond the ends, a leaky ReLU, and normalises
before the ring's attention alone); 300 hidden units, 6 heads, 2 cycles. Padding is neither read nor pooled.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.bounds import Count, Share
from xmtc.data.batch import Batch
from xmtc.data.embedding import WordVectors
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.errors import InputError


class Attention(nn.Module):
    """The four maps of one attention, (..., D) -> (..., heads, d), and back."""

    def __init__(self, size: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(size, size) for _ in range(4))

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))


class Cycle(nn.Module):
    def __init__(self, size: int, heads: int):
        super().__init__()
        self.ring, self.star = Attention(size, heads), Attention(size, heads)
        self.ring_norm, self.star_norm = nn.LayerNorm(size), nn.LayerNorm(size)

    def forward(self, h_BTD: Tensor, s_BD: Tensor, e_BTD: Tensor, mask_BT: Tensor, ring: tuple[Tensor, Tensor]):
        h_BTD = self.ring_norm(F.relu(self._satellites(h_BTD, s_BD, e_BTD, ring)))
        return h_BTD, self.star_norm(F.relu(self._relay(h_BTD, s_BD, mask_BT)))

    def _satellites(self, h_BTD: Tensor, s_BD: Tensor, e_BTD: Tensor, ring: tuple[Tensor, Tensor]) -> Tensor:
        """Each over five places, one after the other: no tensor of (B, T, 5, D)."""
        part = self.ring
        query = part.split(part.query(h_BTD)) / math.sqrt(h_BTD.shape[-1] // part.heads)

        def places(project: nn.Linear) -> list[Tensor]:
            own_BTD = project(h_BTD)
            beside = [own_BTD.gather(1, place_BT[:, :, None].expand_as(own_BTD)) for place_BT in ring]
            return [part.split(x) for x in (own_BTD, *beside, project(e_BTD), project(s_BD)[:, None])]

        scores_BTH5 = torch.stack([(query * key).sum(-1) for key in places(part.key)], dim=-1)
        weights = _softmax(scores_BTH5).unbind(-1)
        read = sum(w[..., None] * value for w, value in zip(weights, places(part.value), strict=True))
        return part.out(read.flatten(-2))

    def _relay(self, h_BTD: Tensor, s_BD: Tensor, mask_BT: Tensor) -> Tensor:
        part, read_BSD = self.star, torch.cat([s_BD[:, None], h_BTD], dim=1)
        query_BHd, key, value = part.split(part.query(s_BD)), part.split(part.key(read_BSD)), part.value(read_BSD)
        scores_BHS = torch.einsum("bhd,bshd->bhs", query_BHd, key) / math.sqrt(query_BHd.shape[-1])
        mask_BS = F.pad(mask_BT, (1, 0), value=True)
        weights_BHS = _softmax(scores_BHS.masked_fill(~mask_BS[:, None], float("-inf")))
        return part.out(torch.einsum("bhs,bshd->bhd", weights_BHS, part.split(value)).flatten(1))


class StarTransformer(Encoder):
    """features: (B, D), D the size of the word vectors. heads: a divisor of it. cycles: T of the paper. max_length:
    rows of the position table, at least the longest text; positions=false: none, and texts of any length."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        embedding: WordVectors,
        heads: Count = 6,
        cycles: Count = 2,
        positions: bool = True,
        dropout: Share = 0.1,
        max_length: Count = 500,
    ):
        super().__init__()
        if embedding.size % heads:
            size = embedding.size
            raise InputError(f"encoder.heads={heads} does not divide the word vectors' size: embedding.size={size}")
        if positions and text is not None and (text.length is None or text.length > max_length):
            raise InputError(f"encoder.text.length={text.length} must be at most encoder.max_length={max_length}")
        self.text, self.max_length = text, max_length
        self.embedding = embedding.make(vocabulary)
        self.positions = nn.Parameter(torch.empty(max_length, embedding.size)) if positions else None
        if positions:
            nn.init.xavier_uniform_(self.positions)
        self.cycles = nn.ModuleList(Cycle(embedding.size, heads) for _ in range(cycles))
        self.dropout = nn.Dropout(dropout)

    def forward(self, batch: Batch) -> Encoded:
        longest = max(int(batch.lengths.max()) if len(batch) else 1, 1)
        lengths_B, places_T = batch.lengths.clamp(min=1), torch.arange(longest, device=batch.tokens.device)
        mask_BT = places_T < lengths_B[:, None]
        e_BTD = self.embedding(batch.tokens[:, :longest])
        if self.positions is not None:
            if longest > self.max_length:
                most = f"encoder.max_length={self.max_length}"
                raise InputError(f"a text has {longest} tokens, more than {most}: raise it")
            e_BTD = e_BTD + self.positions[:longest]
        e_BTD = self.dropout(e_BTD) * mask_BT[:, :, None]
        ring = ((places_T - 1) % lengths_B[:, None], (places_T + 1) % lengths_B[:, None])
        h_BTD, s_BD = e_BTD, e_BTD.sum(1) / lengths_B[:, None]
        for cycle in self.cycles:
            h_BTD, s_BD = cycle(h_BTD, s_BD, e_BTD, mask_BT, ring)
        longest_BD = h_BTD.masked_fill(~mask_BT[:, :, None], float("-inf")).amax(1)
        return Encoded(self.dropout((s_BD + longest_BD) / 2))

    def make_decoder(self, num_labels: int) -> LinearDecoder:
        return LinearDecoder(self.embedding.embedding_dim, num_labels)


def _softmax(scores: Tensor) -> Tensor:
    """Over the last dimension, in float32 at least."""
    return torch.softmax(scores, -1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(scores.dtype)
