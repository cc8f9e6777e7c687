"""MeSHProbeNet without journals, the base model of CorNet (Xun et al., KDD 2020) from Xun et al., Bioinformatics 2019.

    words (B,T,300) -> BiLSTM, 2 layers -> h (B,T,600) -> probes: 5 softmaxes over time -> 5 weighted sums of h
    -> flatten (B,3000) [-> Linear 512, ELU on Wiki-500K] -> Linear to the labels

Decisions, all as in CorNet's code: dropout 0.2 on the word vectors (the paper does not mention it) and 0.5 on the
LSTM's outputs, none after the probes; Xavier-uniform probes, bottleneck and output weights, PyTorch's defaults
elsewhere; probes without bias, padding masked before the softmax.

Departures from the original MeSHProbeNet, shared with CorNet: no journal, smaller layers, padding masked (the original
masks nothing), learned probes (the original's are uninitialised memory), binary cross-entropy.
`meshprobenet_large` (CorNet table 5) is hidden 400, 10 probes, 3 layers; its printed sizes do not fit the text, the
text is followed.

Shapes: B documents, T tokens, S probes, D = 2 x hidden.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.bounds import Count, Share
from xmtc.data.batch import Batch
from xmtc.data.embedding import WordVectors
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.recurrent import RecurrentText


class MeSHProbeNet(Encoder):
    """features: (B, probes x 2 x hidden), or (B, bottleneck); attention: mean of the probes' (B, T)."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        embedding: WordVectors,
        hidden: Count = 300,
        layers: Count = 2,
        probes: Count = 5,
        bottleneck: Count | None = None,
        embedding_dropout: Share = 0.2,
        dropout: Share = 0.5,
    ):
        super().__init__()
        self.text = text
        self.reader = RecurrentText(vocabulary, embedding, hidden, layers, embedding_dropout, dropout)
        self.probes = nn.Linear(self.reader.size, probes, bias=False)
        nn.init.xavier_uniform_(self.probes.weight)
        self.size = probes * self.reader.size
        self.bottleneck = None
        if bottleneck is not None:
            self.bottleneck = nn.Linear(self.size, bottleneck)
            nn.init.xavier_uniform_(self.bottleneck.weight)
            self.size = bottleneck

    def forward(self, batch: Batch) -> Encoded:
        states_BTD, mask_BT = self.reader(batch)
        attention_BST = self._attend(states_BTD, mask_BT)
        features = (attention_BST.to(states_BTD.dtype) @ states_BTD).flatten(1)
        if self.bottleneck is not None:
            features = F.elu(self.bottleneck(features))
        return Encoded(features, attention=attention_BST.detach().mean(1))

    def _attend(self, states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        scores_BST = self.probes(states_BTD).transpose(1, 2).masked_fill(~mask_BT[:, None], float("-inf"))
        return torch.softmax(scores_BST, dim=-1, dtype=torch.promote_types(scores_BST.dtype, torch.float32))

    def make_decoder(self, num_labels: int) -> LinearDecoder:
        return LinearDecoder(self.size, num_labels)
