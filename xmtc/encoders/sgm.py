"""SGM, the sequence generation model (Yang et al., COLING 2018): labels one after another, most frequent first.

    words -> BiLSTM -> states h_t (B,T,D)
    step i:  LSTM fed with the label before -> s_i;  attention of s_i over h_t -> context
             softmax over labels not emitted yet and the end of tanh(W [context ; s_i])        `label_sequence.py`
    global embedding: a step is fed (1 - g) e + g e', e the label before, e' all labels by their probabilities there,
             g = sigmoid(W [e ; e'])                       global_embedding=false: Seq2Seq with attention, fed e alone

Trained by the likelihood of the true labels in that order and the end after them (sum over steps, mean over documents).
Read greedily, one sequence a document. The sequence says which labels and in which order, not how probable each label
is by itself. Its label logits say the same: above 0 for the emitted labels, falling in the order of emission; below 0
for all others, by their best probability over the steps (`SequenceDecoder.greedy`). Rankings and the threshold 0
(0.5 of what is stored) mean what they mean elsewhere; the size of a logit does not, so calibrate before reading it.

Decisions: as in the authors' code the attention is a bilinear product (the paper's: additive, B T D numbers a step), a
step is not fed the context of the one before, and dropout is on a step's answer and between the decoder's layers; as
in the paper emitted labels are masked in training too. The order is by frequency in training, then by label id; of a
document with more than `most` labels the rarest are left out. Departures: the decoder starts from the last states of
the BiLSTM's top layer and an empty memory; dropout is also on the word vectors, and not between the BiLSTM's layers;
no beam. The recipe's own loss on the logits is off (`logit_loss`). A correlation head is trained by it, so give it a
weight with one; then training decodes greedily too, and gradients flow through the probabilities, not the choices.

Seq2Set (Yang et al., ACL 2019) is not here: in its authors' code the stage before reinforcement is
global_embedding=false, and what makes it a set, the reward, is not built.

Shapes: B documents, T words, D = 2 hidden, L labels. Memory B L numbers a step: for some thousand labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xmtc.bounds import Count, NotNegative, Share
from xmtc.data.batch import Batch, Labels
from xmtc.data.embedding import WordVectors
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.given import GivenDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.label_sequence import SequenceDecoder, Source, label_sequences
from xmtc.encoders.recurrent import RecurrentText


class SGM(Encoder):
    """features: (B, L) logits; in training without `logit_loss`, where nobody reads them, zeros.

    hidden: of each LSTM direction; the decoder has twice as many. layers: of both. label_size: of a label's vector.
    most: labels of a document. A step of the decoder costs 2BTD + 2BLD.
    """

    by_label = ("decoder.labels.weight", "decoder.output.weight", "decoder.output.bias")
    of_corpus = ("frequency_rank",)

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        embedding: WordVectors,
        num_labels: int,
        hidden: Count = 256,
        layers: Count = 2,
        label_size: Count = 256,
        global_embedding: bool = True,
        most: Count = 25,
        embedding_dropout: Share = 0.2,
        dropout: Share = 0.5,
        logit_loss: NotNegative = 0.0,
    ):
        super().__init__()
        self.text, self.num_labels, self.most, self.logit_loss = text, num_labels, most, logit_loss
        self.reader = RecurrentText(vocabulary, embedding, hidden, layers, embedding_dropout, 0.0)
        self.decoder = SequenceDecoder(num_labels, 2 * hidden, label_size, layers, global_embedding, dropout)
        self.register_buffer("frequency_rank", torch.arange(num_labels))

    def prepare(self, labels: Labels, names: Sequence[str]) -> None:
        order = torch.bincount(labels.ids, minlength=self.num_labels).argsort(descending=True, stable=True)
        self.frequency_rank[order] = torch.arange(self.num_labels)

    def forward(self, batch: Batch) -> Encoded:
        if len(batch) == 0:
            return Encoded(self.decoder.start.new_zeros(0, self.num_labels))
        source = self._read(batch)
        if not self.training:
            return Encoded(self.decoder.greedy(source, self.most))
        if self.logit_loss:
            features_BL = self.decoder.greedy(source, self.most)
        else:
            features_BL = source.first.new_zeros(len(batch), self.num_labels, dtype=torch.float32)
        sequences_BS, steps_B = label_sequences(batch.labels, self.frequency_rank, self.most)
        loss = -self.decoder.log_likelihood(source, sequences_BS, steps_B).mean()
        return Encoded(features_BL, auxiliary={"sequence": loss}, main_weight=self.logit_loss)

    def _read(self, batch: Batch) -> Source:
        """The decoder starts where both directions of the BiLSTM have read the whole text."""
        states_BTD, mask_BT = self.reader(batch)
        forth, back = states_BTD.chunk(2, dim=-1)
        each = torch.arange(len(batch), device=states_BTD.device)
        return Source(states_BTD, mask_BT, torch.cat([forth[each, batch.lengths - 1], back[:, 0]], -1))

    def make_decoder(self, num_labels: int) -> GivenDecoder:
        return GivenDecoder(num_labels)
