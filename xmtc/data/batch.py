"""What one training or evaluation step sees.

Shape legend of the project: B documents, T tokens, D features, L labels, l labels in a slice, R context size,
P positives, K cut-off, V words. Labels are always CSR: no (B, L) target is built anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


class _Movable:
    """Lets Lightning move and pin a dataclass of tensors (and of such dataclasses)."""

    _host_offsets = None

    def _map(self, function):
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        made = type(self)(**{k: function(v) if isinstance(v, (Tensor, _Movable)) else v for k, v in values.items()})
        if hasattr(self, "offsets"):
            made._host_offsets = self.offsets if self.offsets.device.type == "cpu" else self._host_offsets
        return made

    def host_offsets(self) -> Tensor:
        """`offsets` on the CPU. What was moved to a GPU remembers them: reading them from there would stop it."""
        return self.offsets.cpu() if self._host_offsets is None else self._host_offsets

    def to(self, *args, **kwargs):
        return self._map(lambda value: value.to(*args, **kwargs))

    def pin_memory(self):
        return self._map(lambda value: value.pin_memory())


@dataclass
class Labels(_Movable):
    """True labels of B documents as CSR.

    ids: (P,) int64, ascending within a document; ids >= L are labels unseen in training (evaluation only).
    offsets: (B + 1,) int64; document b owns ids[offsets[b]:offsets[b + 1]].
    """

    ids: Tensor
    offsets: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def rows(self) -> Tensor:
        """(P,) int64: the document of each positive."""
        counts = self.offsets.diff()
        documents = torch.arange(len(self), device=self.ids.device)
        return torch.repeat_interleave(documents, counts, output_size=len(self.ids))

    def part(self, start: int, stop: int) -> Labels:
        """Of documents start to stop."""
        offsets, host = self.offsets[start : stop + 1], self.host_offsets()
        made = Labels(self.ids[int(host[start]) : int(host[stop])], offsets - offsets[0])
        made._host_offsets = host[start : stop + 1] - host[start]
        return made

    def repeated(self, times: int) -> Labels:
        """Every document `times` times, one right behind the other."""
        if times == 1:
            return self
        counts = self.offsets.diff().repeat_interleave(times, output_size=times * len(self))
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        shifts = self.offsets[:-1].repeat_interleave(times, output_size=len(counts)) - offsets[:-1]
        total = times * len(self.ids)
        places = torch.arange(total, device=self.ids.device) + shifts.repeat_interleave(counts, output_size=total)
        return Labels(self.ids[places], offsets)

    def inside(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """Positives with start <= label < stop: their documents (p,) and their columns in the slice (p,)."""
        rows = self.rows()
        keep = (self.ids >= start) & (self.ids < stop)
        return rows[keep], self.ids[keep] - start


@dataclass
class Bags(_Movable):
    """Distinct words of B documents as CSR, for encoders that read whole documents as bags of words.

    word_ids: (W,) int64; counts: (W,) float32, how often the word occurs; offsets: (B + 1,) int64.
    A document without text is one unknown token, so every bag has at least one word.
    words, places: see `distinct`.
    """

    word_ids: Tensor
    counts: Tensor
    offsets: Tensor
    words: Tensor | None = None
    places: Tensor | None = None

    def distinct(self) -> tuple[Tensor, Tensor]:
        """The words of all documents (U,), each once, ascending, and the place in them of each of `word_ids`, (W,)."""
        return _distinct(self, self.word_ids)


def _distinct(held: Bags | Batch, ids: Tensor) -> tuple[Tensor, Tensor]:
    """As found when the batch was made, those of a batch of which it is a part included; else now, for which a GPU has
    to be waited for."""
    return (held.words, held.places) if held.words is not None else torch.unique(ids, return_inverse=True)


@dataclass
class Batch(_Movable):
    """B documents.

    documents: (B,) int64, position of each document in its split.
    labels: true labels.
    tokens: (B, T) int64, filled up on the right with the vocabulary's padding (0 for words); every row has at least one
        token. None for bags.
    lengths: (B,) int64, tokens that are not padding. None for bags.
    bags: words and counts, None for encoders that read token sequences.
    words, places: see `distinct`.
    """

    documents: Tensor
    labels: Labels
    tokens: Tensor | None = None
    lengths: Tensor | None = None
    bags: Bags | None = None
    words: Tensor | None = None
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.documents)

    def distinct(self) -> tuple[Tensor, Tensor]:
        """The tokens of all documents (U,), each once, ascending, and the place in them of each of `tokens`, (B, T)."""
        return _distinct(self, self.tokens)

    def part(self, start: int, stop: int) -> Batch:
        """Documents start to stop, at the width that the whole batch has."""
        made = Batch(self.documents[start:stop], self.labels.part(start, stop))
        if self.tokens is not None:
            made.tokens, made.lengths = self.tokens[start:stop], self.lengths[start:stop]
            if self.words is not None:
                made.words, made.places = self.words, self.places[start:stop]
        if self.bags is not None:
            offsets, host = self.bags.offsets[start : stop + 1], self.bags.host_offsets()
            words = slice(int(host[start]), int(host[stop]))
            made.bags = Bags(self.bags.word_ids[words], self.bags.counts[words], offsets - offsets[0])
            made.bags._host_offsets = host[start : stop + 1] - host[start]
            if self.bags.words is not None:
                made.bags.words, made.bags.places = self.bags.words, self.bags.places[words]
        return made


def placeholder(device: torch.device | str = "cpu") -> Batch:
    """One document of one word (any word) and no label, to learn the shape of an encoder's answer."""
    one = torch.ones(1, dtype=torch.int64, device=device)
    offsets = torch.tensor([0, 1], device=device)
    bags = Bags(one, one.float(), offsets)
    return Batch(one - 1, Labels(one[:0], offsets * 0), one[:, None], one, bags)
