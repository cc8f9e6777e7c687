"""The BiLSTM of MeSHProbeNet and AttentionXML on a CPU, forward and backward: padded both ways against packed."""

from __future__ import annotations

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from xmtc.bench.compare import Bench, largest_error
from xmtc.encoders.recurrent import BiLSTM


def recurrent(documents: int = 64, tokens: int = 256, size: int = 300, hidden: int = 300, layers: int = 2) -> Bench:
    """MeSHProbeNet's sizes; texts of a sixth of `tokens` to all of them; gradients reach words and weights."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(max(tokens // 6, 1), tokens + 1, (documents,), generator=generator)
    lengths[0] = tokens
    embedded = torch.randn(documents, tokens, size, generator=generator).requires_grad_()
    upstream = torch.randn(documents, tokens, 2 * hidden, generator=generator)
    torch.manual_seed(0)
    model = BiLSTM(size, hidden, layers)
    wanted = [embedded, *model.parameters()]

    def ours():
        return torch.autograd.grad(model(embedded, lengths), wanted, upstream)

    def baseline():
        h0, c0 = model.initial.expand(-1, -1, documents, -1).contiguous()
        packed = pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(model.lstm(packed, (h0, c0))[0], batch_first=True)
        return torch.autograd.grad(states, wanted, upstream)

    error = largest_error(ours(), baseline())
    return Bench(baseline, ours, {"documents": documents, "tokens": tokens, "layers": layers, "gradient_error": error})
