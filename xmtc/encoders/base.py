"""What an encoder is: text in, features for its decoder out. It knows nothing of heads, losses or metrics.

A new encoder is one file with one subclass of `Encoder` and one YAML in `conf/encoder/`. Its constructor's signature
is its configuration schema; the framework adds `vocabulary` (what the store knows of the words) and, where the
constructor has it, `num_labels`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from xmtc.data.batch import Batch, Labels
from xmtc.decoders.base import LabelDecoder


@dataclass
class Encoded:
    """features: (B, D), or (B, T, D) together with mask (B, T) bool, True at real tokens.

    auxiliary: named scalar losses, each already weighted, added to the main loss in training.
    main_weight: factor of the main loss. attention: (B, T) if the encoder has one to show.
    readings: feature rows of each document, one right behind the other, each trained with the document's labels; above
    1 only in training.
    """

    features: Tensor
    mask: Tensor | None = None
    attention: Tensor | None = None
    auxiliary: dict[str, Tensor] = field(default_factory=dict)
    main_weight: float = 1.0
    readings: int = 1


class Encoder(nn.Module):
    """Base class of all encoders. layout: what it reads of a batch, padded token rows or bags of distinct words.

    reads_padding: whether the width of a batch changes a document's features. Evaluation and prediction then pad every
    batch to one width, so that an answer depends on its document alone.
    distinct: whether it asks for a batch's distinct words; batches of a training then bring them along.
    by_label: names of its tensors whose first dimension is the label; by_word: of those, besides what `WordVectors`
    made, whose first rows are the vocabulary's words; of_corpus: of those that `prepare` makes. A run that starts from
    another's weights takes the first by label, the second by word and keeps the last.
    """

    layout: Literal["padded", "bag"] = "padded"
    reads_padding: bool = False
    distinct: bool = False
    by_label: Sequence[str] = ()
    by_word: Sequence[str] = ()
    of_corpus: Sequence[str] = ()

    def forward(self, batch: Batch) -> Encoded:
        """`batch.labels` may only be read in training and only for auxiliary targets."""
        raise NotImplementedError

    def prepare(self, labels: Labels, names: Sequence[str]) -> None:
        """Told once, before training, the labels of the training documents and the names of all L labels. What it
        computes of them must be kept in parameters or buffers: a run directory has no corpus."""

    def learning_rate_factors(self) -> Mapping[nn.Parameter, float]:
        """Factors of the recipe's learning rate, for parameters that want another; absent ones have 1."""
        return {}

    def keep(self, folder: Path) -> None:
        """Writes to the `text/` folder of a run what building this encoder will need there, by default what its parts
        keep. As `vocabulary.folder` is that folder then, the constructor finds it."""
        for part in self.children():
            if hasattr(part, "keep"):
                part.keep(folder)

    def make_decoder(self, num_labels: int) -> LabelDecoder:
        """The decoder that this encoder's features need, initialised as its paper does."""
        raise NotImplementedError
