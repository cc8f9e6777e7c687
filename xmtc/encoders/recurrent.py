"""Words -> BiLSTM states, the front of MeSHProbeNet and AttentionXML.

As in their authors' code: dropout on the embedded words, a packed bidirectional LSTM whose initial states are learned
(zeros at the start, shared by all documents), none between its layers, dropout on its outputs.

Decisions:
* The batch is always cut to its longest text. Packing makes the states of a document independent of the padding.
* Packing needs the lengths on the CPU: one small copy a batch.
* On a CPU PyTorch's backward pass of a packed LSTM fills a gradient of the whole batch with zeros for each time step.
  There, while training, each direction reads the padded batch, the second one with every text turned round (the same
  states and gradients; a step of 64 texts of up to 256 words takes an eighth of the time: `bench recurrent`).
* An empty batch (a rank without documents at the end of an evaluation) gives features (0, 1, D).
* bf16: under autocast the LSTM runs in the autocast type, but for evaluation on a CPU, where PyTorch has no packed bf16
  LSTM: it is kept in float32.

Shapes: B documents, T tokens of the longest text, E word vector, D = 2 x hidden.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from xmtc.data.batch import Batch
from xmtc.data.embedding import WordVectors
from xmtc.data.vocabulary import Vocabulary


class BiLSTM(nn.Module):
    """(B, T, E) and lengths -> (B, T, 2 x hidden). `initial` (2, 2 x layers, 1, hidden): learned h0 and c0."""

    def __init__(self, size: int, hidden: int, layers: int):
        super().__init__()
        self.lstm = nn.LSTM(size, hidden, layers, batch_first=True, bidirectional=True)
        self.initial = nn.Parameter(torch.zeros(2, 2 * layers, 1, hidden))

    def forward(self, embedded_BTE: Tensor, lengths: Tensor) -> Tensor:
        """lengths: (B,) on the CPU, all at least 1; T must be their maximum."""
        start = self.initial.expand(-1, -1, len(lengths), -1).contiguous()
        if embedded_BTE.device.type == "cpu" and torch.is_grad_enabled():
            return self._padded(embedded_BTE, lengths, start)
        exact = embedded_BTE.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        with torch.autocast("cpu", enabled=False) if exact else contextlib.nullcontext():
            packed = pack_padded_sequence(embedded_BTE, lengths, batch_first=True, enforce_sorted=False)
            packed, _ = self.lstm(packed, (start[0], start[1]))
        return pad_packed_sequence(packed, batch_first=True)[0]

    def _padded(self, states_BTD: Tensor, lengths: Tensor, start: Tensor) -> Tensor:
        """The same, by two LSTMs a layer that read from a text's first and from its last word into the padding."""
        times = torch.arange(states_BTD.shape[1])
        real_BT = times < lengths[:, None]
        turned_BT = torch.where(real_BT, lengths[:, None] - 1 - times, times)
        for layer in range(self.lstm.num_layers):
            forth, back = (
                self._one_way(read, start[:, 2 * layer + way], layer, way)
                for way, read in enumerate((states_BTD, _turned(states_BTD, turned_BT)))
            )
            states_BTD = torch.cat([forth, _turned(back, turned_BT)], dim=-1)
        return states_BTD * real_BT[..., None]

    def _one_way(self, read_BTD: Tensor, start: Tensor, layer: int, way: int) -> Tensor:
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weights = [getattr(self.lstm, f"{kind}_l{layer}{'_reverse' * way}") for kind in kinds]
        # with biases, one layer, no dropout, training, one direction, batch first
        return torch.lstm(read_BTD, list(start[:, None]), weights, True, 1, 0.0, True, False, True)[0]


def _turned(states_BTD: Tensor, order_BT: Tensor) -> Tensor:
    return states_BTD.gather(1, order_BT[..., None].expand_as(states_BTD))


class RecurrentText(nn.Module):
    """Batch -> BiLSTM states (B, T, D) and mask (B, T), True at real tokens. `size` is D."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        embedding: WordVectors,
        hidden: int,
        layers: int,
        embedding_dropout: float,
        output_dropout: float,
    ):
        super().__init__()
        self.size = 2 * hidden
        self.embedding = embedding.make(vocabulary)
        self.embedding_dropout = nn.Dropout(embedding_dropout)
        self.bilstm = BiLSTM(embedding.size, hidden, layers)
        self.output_dropout = nn.Dropout(output_dropout)

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        tokens, lengths = batch.tokens, batch.lengths.cpu()
        if len(lengths) == 0:
            mask = torch.zeros(0, 1, dtype=torch.bool, device=tokens.device)
            return self.bilstm.initial.new_zeros(0, 1, self.size), mask
        longest = int(lengths.max())
        mask_BT = torch.arange(longest, device=tokens.device) < batch.lengths[:, None]
        embedded = self.embedding_dropout(self.embedding(tokens[:, :longest]))
        return self.output_dropout(self.bilstm(embedded, lengths)), mask_BT
