"""LEAM, the label-embedding attentive model (Wang et al., ACL 2018), for several labels a document.

    G = cosine(word v_t, label c_l)  (B,T,L)
    u = ReLU(conv over time of G, 2r+1 words + b_l)        one filter, the same for every label (paper, eq. 4)
    weights = softmax_t(max_l u)                           z = sum_t weights_t v_t
    classifier f: Linear E -> 300, ReLU, dropout, Linear -> L;   logits = f(z)
    regulariser: f(c_l) should answer l

Decisions: 55 words as in the authors' configuration (their code has a filter from every label to every label instead);
label vectors start as the mean word vectors of their names and are trained. The single-label softmax becomes
independent sigmoids, in the regulariser too: the mean over labels of the binary cross-entropy of f(c_l), summed over L
outputs, times `regulariser`. Padding is masked before the convolution, the softmax and the sum.

Shapes: B documents, T tokens, E word vector, L labels. Memory O(B T L): for hundreds of labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from xmtc.bounds import Count, NotNegative, Share
from xmtc.data.batch import Batch, Labels
from xmtc.data.embedding import WordVectors
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.given import GivenDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.label_names import name_vectors
from xmtc.encoders.losses import binary_cross_entropy
from xmtc.errors import InputError


class LEAM(Encoder):
    """features: (B, L) logits; attention (B, T). ngram: words under the filter, odd. hidden: of the classifier."""

    by_label = ("labels", "bias", "classifier.3.weight", "classifier.3.bias")

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        embedding: WordVectors,
        num_labels: int,
        ngram: Count = 55,
        hidden: Count = 300,
        dropout: Share = 0.5,
        regulariser: NotNegative = 1.0,
        label_names: bool = True,
    ):
        super().__init__()
        if ngram % 2 == 0:
            raise InputError(f"encoder.ngram: expected an odd number of words, got {ngram}")
        self.text, self.vocabulary, self.label_names, self.regulariser = text, vocabulary, label_names, regulariser
        self.embedding = embedding.make(vocabulary)
        self.labels = nn.Parameter(torch.empty(num_labels, embedding.size).uniform_(-1, 1))
        self.filter = nn.Parameter(torch.full((ngram,), 1.0 / ngram))
        self.bias = nn.Parameter(torch.full((num_labels,), 0.01))  # above 0: a ReLU that starts at 0 learns nothing
        self.classifier = nn.Sequential(
            nn.Linear(embedding.size, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, num_labels)
        )

    @torch.no_grad()
    def prepare(self, labels: Labels, names: Sequence[str]) -> None:
        if self.label_names:
            vectors, found = name_vectors(names, self.text, self.vocabulary, self.embedding.weight)
            self.labels[found] = vectors[found]

    def forward(self, batch: Batch) -> Encoded:
        longest = max(int(batch.lengths.max()) if len(batch) else 1, 1)
        mask_BT = torch.arange(longest, device=batch.tokens.device) < batch.lengths[:, None]
        vectors_BTE = self.embedding(batch.tokens[:, :longest]) * mask_BT[:, :, None]
        cosine_BTL = F.normalize(vectors_BTE, dim=-1) @ F.normalize(self.labels, dim=-1).t()
        near_BLT = self._over_time(cosine_BTL.transpose(1, 2))
        scores_BT = F.relu(near_BLT + self.bias[:, None]).amax(1).masked_fill(~mask_BT, float("-inf"))
        weights_BT = torch.softmax(scores_BT, -1, dtype=torch.promote_types(scores_BT.dtype, torch.float32))
        weights_BT = weights_BT.to(vectors_BTE.dtype)
        encoded = Encoded(
            self.classifier((weights_BT[:, None] @ vectors_BTE).squeeze(1)), attention=weights_BT.detach()
        )
        if self.training and self.regulariser:
            encoded.auxiliary["label_names"] = self.regulariser * self._own_labels()
        return encoded

    def _over_time(self, values_BLT):
        """The one filter over every (document, label) row."""
        B, L, T = values_BLT.shape
        return F.conv1d(values_BLT.reshape(B * L, 1, T), self.filter[None, None], padding="same").view(B, L, T)

    def _own_labels(self):
        L = len(self.labels)
        each = torch.arange(L, device=self.labels.device)
        return binary_cross_entropy(self.classifier(self.labels), Labels(each, torch.arange(L + 1, device=each.device)))

    def make_decoder(self, num_labels: int) -> GivenDecoder:
        return GivenDecoder(num_labels)
