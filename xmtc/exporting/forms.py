"""Each encoder as a graph of plain tensor operations: what its own forward computes, in a form ONNX can hold.

The encoders themselves use what a graph cannot: distinct words of a batch, packed sequences, sizes read from values.
A form computes the same from what the caller has, checked against the encoder in `onnx.py` at every export.

Inputs: `tokens` (B, T) int64 and `lengths` (B,) int64; for bags `words` (B, W) int64, a row's distinct words, and
`counts` (B, W) float32, zero where a row has fewer. An encoder of another class is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.encoders.attentionxml import AttentionXML
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.bertxml import BertXML
from xmtc.encoders.bow import BagOfWords
from xmtc.encoders.match import MATCH
from xmtc.encoders.meshprobenet import MeSHProbeNet
from xmtc.encoders.recurrent import RecurrentText
from xmtc.encoders.xmlcnn import XMLCNN
from xmtc.errors import InputError

Form = Callable[[Encoder, Tensor, Tensor], Encoded]


def xmlcnn(encoder: XMLCNN, tokens_BT: Tensor, lengths_B: Tensor) -> Encoded:
    """Conv1d over the word vectors; padding is convolved over, as in the encoder, so `lengths` is not read."""
    embedded_BET = encoder.embedding(tokens_BT).transpose(1, 2)
    branches = []
    for weight_FWE, bias in zip(encoder.convolutions, encoder.biases, strict=True):
        width = weight_FWE.shape[1]
        convolved_BFT = F.conv1d(embedded_BET, weight_FWE.transpose(1, 2), bias, padding=width - 1)
        branches.append(_max_over_bins(F.relu(convolved_BFT), tokens_BT.shape[1] + width - 1, encoder.bins))
    pooled = torch.cat(branches, dim=1).flatten(1)
    return Encoded(encoder.norm(F.relu(encoder.bottleneck(pooled))))


def _max_over_bins(x_BFT: Tensor, length: int, count: int) -> Tensor:
    """(B, F, bins). Bins overlap and differ in length by one: each is read as `longest` places, its last repeated."""
    bins = torch.arange(count)[:, None]
    stops = ((bins + 1) * length + count - 1) // count
    longest = length // count + 2
    places = torch.minimum(bins * length // count + torch.arange(longest), stops - 1)
    return x_BFT[:, :, places].amax(-1)


def bertxml(encoder: BertXML, tokens_BT: Tensor, lengths_B: Tensor) -> Encoded:
    positions = torch.arange(tokens_BT.shape[1] + encoder.num_cls)
    mask_BT = positions < lengths_B[:, None] + encoder.num_cls
    hidden_BTD = encoder.norm(encoder._embed(tokens_BT) + encoder.positions(positions))
    *layers, last = encoder.layers
    for layer in layers:
        hidden_BTD = layer(hidden_BTD, mask_BT)
    flat = F.elu(last(hidden_BTD, mask_BT, queries=encoder.num_cls).flatten(1))
    return Encoded(F.elu(encoder.pooler(flat)))


def meshprobenet(encoder: MeSHProbeNet, tokens_BT: Tensor, lengths_B: Tensor) -> Encoded:
    states_BTD, mask_BT = _recurrent(encoder.reader, tokens_BT, lengths_B)
    features = (encoder._attend(states_BTD, mask_BT) @ states_BTD).flatten(1)
    return Encoded(features if encoder.bottleneck is None else F.elu(encoder.bottleneck(features)))


def attentionxml(encoder: AttentionXML, tokens_BT: Tensor, lengths_B: Tensor) -> Encoded:
    states_BTD, mask_BT = _recurrent(encoder.reader, tokens_BT, lengths_B)
    return Encoded(states_BTD, mask=mask_BT)


def _recurrent(reader: RecurrentText, tokens_BT: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """BiLSTM states by ONNX's own operator, which takes the lengths: no packing."""
    mask_BT = torch.arange(tokens_BT.shape[1]) < lengths_B[:, None]
    lstm, (first, cell) = reader.bilstm.lstm, reader.bilstm.initial
    x_TBE, lengths = reader.embedding(tokens_BT).transpose(0, 1), lengths_B.to(torch.int32)
    for layer in range(lstm.num_layers):
        x_TBE = _bilstm_layer(lstm, layer, first, cell, x_TBE, lengths)
    return x_TBE.transpose(0, 1), mask_BT


def _bilstm_layer(lstm: nn.LSTM, layer: int, first: Tensor, cell: Tensor, x_TBE: Tensor, lengths: Tensor) -> Tensor:
    size, (T, B) = lstm.hidden_size, x_TBE.shape[:2]

    def both(name: str) -> Tensor:
        """(2, ...): forward and backward. PyTorch's gates stand as i f g o, ONNX's as i o f g."""
        stacked = torch.stack([getattr(lstm, f"{name}_l{layer}{way}") for way in ("", "_reverse")])
        i, f, g, o = stacked.unflatten(1, (4, size)).unbind(1)
        return torch.cat([i, o, f, g], dim=1)

    start = [state[2 * layer : 2 * layer + 2].expand(-1, B, -1) for state in (first, cell)]
    states_TxBH = torch.onnx.ops.symbolic(
        "LSTM",
        [
            x_TBE,
            both("weight_ih"),
            both("weight_hh"),
            torch.cat([both("bias_ih"), both("bias_hh")], 1),
            lengths,
            *start,
        ],
        {"hidden_size": size, "direction": "bidirectional"},
        dtype=x_TBE.dtype,
        shape=(T, 2, B, size),
    )
    return states_TxBH.transpose(1, 2).flatten(2)


def bag_of_words(encoder: BagOfWords, words_BW: Tensor, counts_BW: Tensor) -> Encoded:
    words_BW = torch.where(words_BW < len(encoder.idf), words_BW, encoder.unknown)
    weights_BW = (1 + counts_BW.clamp(min=1).log()) * encoder.idf[words_BW] * (counts_BW > 0)
    weights_BW = weights_BW / weights_BW.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12)
    hidden = F.relu((weights_BW[:, None] @ encoder.embedding(words_BW)).squeeze(1))
    if encoder.layer is not None:
        hidden = hidden + F.relu(encoder.layer(hidden))
    return Encoded(hidden)


FORMS: dict[type, Form] = {
    XMLCNN: xmlcnn,
    BertXML: bertxml,
    MATCH: bertxml,
    MeSHProbeNet: meshprobenet,
    AttentionXML: attentionxml,
    BagOfWords: bag_of_words,
}


def form_of(encoder: Encoder) -> Form:
    """InputError: there is none for this class. Subclasses may compute something else and have none either."""
    try:
        return FORMS[type(encoder)]
    except KeyError:
        known = ", ".join(sorted(kind.__name__ for kind in FORMS))
        raise InputError(
            f"format=onnx: no form of {type(encoder).__name__} is known; there is one of {known}"
        ) from None


class Graph(nn.Module):
    """Encoder, decoder, head and top-k as one function: (B, k) logits, best first, and (B, k) label indices."""

    def __init__(self, model, k: int):
        super().__init__()
        self.form = form_of(model.encoder)
        self.encoder, self.decoder, self.head = model.encoder, model.decoder, model.head
        self.k = k

    def forward(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        logits_BL = self.head(self.decoder(self.form(self.encoder, tokens, lengths)))
        scores, labels = torch.topk(logits_BL, self.k, dim=1)
        return scores, labels
