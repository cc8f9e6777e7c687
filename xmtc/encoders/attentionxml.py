"""AttentionXML, flat (You et al., NeurIPS 2019), in the sizes of CorNet's code.

    words (B,T,300) -> BiLSTM, 1 layer -> h (B,T,D), D = 2 x hidden        here
    label queries -> softmax over time -> context -> shared MLP -> logit   `decoders/label_attention.py`

Decisions, as in the authors' code: dropout 0.2 on the word vectors and 0.5 on the LSTM's outputs, none in the MLP;
Xavier-uniform queries and MLP weights. A label's query is its only weight of its own.

Departures: `label_bias` (off) adds one bias a label, so that logits can start at the labels' prior log odds.
The label trees of FastAttentionXML are not built: Wiki-500K is reached by scoring the labels slice by slice, and
refused when all of them at once would need attention tensors over `max_attention_gib`.

Shapes: B documents, T tokens of the longest text, D = 2 x hidden.
"""

from __future__ import annotations

from collections.abc import Sequence

from xmtc.bounds import Count, Positive, Share
from xmtc.data.batch import Batch
from xmtc.data.embedding import WordVectors
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.label_attention import LabelAttentionDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.recurrent import RecurrentText


class AttentionXML(Encoder):
    """features: (B, T, D) with mask (B, T). mlp: sizes of the hidden layers of the MLP that all labels share."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        embedding: WordVectors,
        hidden: Count = 256,
        layers: Count = 1,
        mlp: Sequence[Count] = (256,),
        embedding_dropout: Share = 0.2,
        dropout: Share = 0.5,
        label_bias: bool = False,
        max_attention_gib: Positive = 64,
    ):
        super().__init__()
        self.text = text
        self.reader = RecurrentText(vocabulary, embedding, hidden, layers, embedding_dropout, dropout)
        self.decoder_settings = {"mlp": tuple(mlp), "label_bias": label_bias, "max_attention_gib": max_attention_gib}

    def forward(self, batch: Batch) -> Encoded:
        states_BTD, mask_BT = self.reader(batch)
        return Encoded(states_BTD, mask=mask_BT)

    def make_decoder(self, num_labels: int) -> LabelAttentionDecoder:
        return LabelAttentionDecoder(self.reader.size, num_labels, **self.decoder_settings)
