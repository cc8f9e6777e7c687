"""LSAN, the label-specific attention network (Xiao et al., EMNLP 2019).

    words -> BiLSTM -> H (B,T,2h)
    (a) self attention:  A = softmax_t(W2 tanh(W1 h_t)), one map a label;        Ms = A H            (B,L,2h)
    (b) label attention: c_l . h_t of each direction, no softmax;                Ml = [Cf Hf, Cb Hb]  (B,L,2h)
    fusion: a = sigmoid(w1 Ms), b = sigmoid(w2 Ml), a <- a/(a+b);  M = a Ms + (1-a) Ml
    mean of M over the labels -> Linear to the labels

Decisions, as in the authors' code: label vectors c_l are the mean word vectors of the labels' names and are not trained
(a label whose name has no known word, and every label with `label_names=false`, starts at random); the mean over labels
before the last layer, which the paper does not show; dropout 0.3 on the word vectors.
Departures: padding is masked in both attentions (theirs reads it), the LSTM's initial states are learned instead of
drawn anew for every batch, dropout is off at test time (their code never calls eval), the loss is the recipe's.

Shapes: B documents, T tokens, L labels, h LSTM units a direction. Memory O(B L T + B L h): for hundreds of labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from xmtc.bounds import Count, Share
from xmtc.data.batch import Batch, Labels
from xmtc.data.embedding import WordVectors
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.label_names import name_vectors
from xmtc.encoders.recurrent import RecurrentText
from xmtc.errors import InputError


class LSAN(Encoder):
    """features: (B, 2 x hidden). hidden must be the size of the word vectors where label names are used."""

    by_label = ("second.weight", "second.bias", "label_vectors")

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        embedding: WordVectors,
        num_labels: int,
        hidden: Count = 300,
        attention: Count = 200,
        embedding_dropout: Share = 0.3,
        label_names: bool = True,
    ):
        super().__init__()
        if label_names and embedding.size != hidden:
            raise InputError(
                f"encoder.hidden={hidden}: label vectors are word vectors, of embedding.size={embedding.size}, which "
                "must be the same; or set encoder.label_names=false"
            )
        self.text, self.vocabulary, self.label_names = text, vocabulary, label_names
        self.reader = RecurrentText(vocabulary, embedding, hidden, 1, embedding_dropout, 0.0)
        self.first = nn.Linear(2 * hidden, attention)
        self.second = nn.Linear(attention, num_labels)
        self.self_gate, self.label_gate = nn.Linear(2 * hidden, 1), nn.Linear(2 * hidden, 1)
        self.register_buffer("label_vectors", torch.empty(num_labels, hidden).uniform_(-1, 1) / hidden**0.5)

    def prepare(self, labels: Labels, names: Sequence[str]) -> None:
        if self.label_names:
            vectors, found = name_vectors(names, self.text, self.vocabulary, self.reader.embedding.weight.detach())
            self.label_vectors[found] = vectors[found].to(self.label_vectors)

    def forward(self, batch: Batch) -> Encoded:
        states_BTD, mask_BT = self.reader(batch)
        scores_BLT = self.second(torch.tanh(self.first(states_BTD))).transpose(1, 2)
        scores_BLT = scores_BLT.masked_fill(~mask_BT[:, None], float("-inf"))
        weights_BLT = torch.softmax(scores_BLT, -1, dtype=torch.promote_types(scores_BLT.dtype, torch.float32))
        own_BLD = weights_BLT.to(states_BTD.dtype) @ states_BTD
        states_BTD = states_BTD * mask_BT[:, :, None]
        theirs_BLD = torch.cat([self._by_label(half) for half in states_BTD.chunk(2, dim=-1)], dim=-1)
        own, theirs = torch.sigmoid(self.self_gate(own_BLD)), torch.sigmoid(self.label_gate(theirs_BLD))
        share = own / (own + theirs)
        return Encoded((share * own_BLD + (1 - share) * theirs_BLD).mean(1))

    def _by_label(self, states_BTh: Tensor) -> Tensor:
        return (self.label_vectors.to(states_BTh.dtype) @ states_BTh.transpose(1, 2)) @ states_BTh

    def make_decoder(self, num_labels: int) -> LinearDecoder:
        return LinearDecoder(self.reader.size, num_labels)
