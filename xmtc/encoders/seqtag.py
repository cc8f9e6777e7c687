"""SeqTag_BERT, LACO's sequence-tagging baseline: joint input, a BiLSTM and a CRF over the labels.

    joint input of text and labels -> H_Y (B,n,D) -> BiLSTM over the labels, in the order of their ids -> 2 emissions
    -> linear chain of the tags absent/present

Trained by the chain's likelihood of the true tags (sum over labels, mean over documents). A label's logit is the log
odds of its marginal probability under the chain, so rankings and thresholds are those of every other system.
Departure: LACO takes the best path (Viterbi) as the answer; here a label is answered when its marginal exceeds the
threshold. The size of the BiLSTM is not in the paper: 256 units a direction. The recipe's own loss on the logits is off
(`logit_loss`); a correlation head is trained by it, so give it a weight with one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from xmtc.bounds import Count, Natural, NotNegative, Share
from xmtc.data.batch import Batch, Labels
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.given import GivenDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.crf import BinaryChain
from xmtc.encoders.joint import JointInput
from xmtc.encoders.pretrained import Backbone


class SeqTag(Encoder):
    """features: (B, L) log odds. length: positions of an input, labels counted. hidden: of each LSTM direction."""

    by_label = ("input.vectors",)

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        num_labels: int,
        name: str = "minilm",
        pretrained: bool = True,
        length: Count = 320,
        hidden: Count = 256,
        dropout: Share = 0.1,
        logit_loss: NotNegative = 0.0,
        label_names: bool = False,
        lr_factor: float = 0.05,
        layer_decay: float = 1.0,
        freeze: int | Literal["none", "embeddings", "all"] = "none",
        lora: Natural = 0,
        checkpointing: bool = False,
        attention: str | None = None,
        offline: bool = False,
    ):
        super().__init__()
        self.text, self.vocabulary, self.num_labels = text, vocabulary, num_labels
        self.logit_loss, self.label_names = logit_loss, label_names
        backbone = Backbone(
            vocabulary, name, pretrained, False, lr_factor, layer_decay, freeze, lora, checkpointing, attention, offline
        )
        self.input = JointInput(backbone, num_labels, length)
        self.lstm = nn.LSTM(backbone.size, hidden, batch_first=True, bidirectional=True)
        self.dropout, self.emissions = nn.Dropout(dropout), nn.Linear(2 * hidden, 2)
        self.chain = BinaryChain()

    def prepare(self, labels: Labels, names: Sequence[str]) -> None:
        if self.label_names:
            self.input.start_as(names, self.vocabulary.folder / "tokenizer.json")

    def forward(self, batch: Batch) -> Encoded:
        if len(batch) == 0:
            return Encoded(self.input.vectors.new_zeros(0, self.num_labels))
        labels_BnD = self.input(batch).labels
        emissions = self.emissions(self.dropout(self.lstm(labels_BnD)[0])).float().to(self.chain.start.dtype)
        encoded = Encoded(self.chain.log_odds(emissions), main_weight=self.logit_loss)
        if self.training:
            tags = torch.zeros(emissions.shape[:2], dtype=torch.int64, device=emissions.device)
            tags[batch.labels.rows(), batch.labels.ids] = 1
            encoded.auxiliary["chain"] = self.chain.negative_log_likelihood(emissions, tags).mean()
        return encoded

    def make_decoder(self, num_labels: int) -> GivenDecoder:
        return GivenDecoder(num_labels)
