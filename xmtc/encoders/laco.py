"""LACO (Zhang et al., Findings of ACL 2021): text and labels read together, with cross attention and two label tasks.

    [CLS] text [SEP] y_1 ... y_n [SEP] -> pretrained layers -> H_D (text), H_Y (labels)              `joint.py`
    G = cosine of each text position and label (B,M,n) -> convolution 10 x 10, n channels, ReLU -> largest over channels
    and labels -> tanh -> weights (B,M);  document = sum of weights x normalised H_D -> dropout -> Linear to the labels
    PLCP, CLCP: auxiliary losses on H_Y                                                             `label_tasks.py`

Decisions: cosine and the two-dimensional convolution as in the authors' code (the paper writes plain dot products and
norms nowhere: cosine=false, where the document is the weighted sum of H_D as it is); padding masked before the
convolution, the maximum and the sum, which their code does not;
label tokens are new vectors; pairs and given labels are drawn anew every time (theirs: once, when the file is written).
`plcp` and `clcp` are the weights of the tasks, 1 and 5 in their code, each used alone in the printed rows; 0 leaves the
task out. With `kernel=1d` the convolution does not span neighbouring label ids, so their order does not count.
Ablations: joint=false is "w/o JE", cross_attention=false "w/o CA" (the first position is classified), both a plain
classifier. Without the labels in the input all of `length` is the text's: to read the same words as the joint input,
give L + 1 less. `authors`: what their code does, to measure its effect: the head and the tasks keep their random start
(their learning-rate table has no entry for them) and every document keeps the same draws.
Departures: the tasks answer with one logit; theirs with two (PLCP's behind a ReLU), whose losses they add, so that at
the same weight a task counts about twice as much there. The loss is the recipe's.

Every label is a token of the input: L labels must fit beside a text, so at most some 250.

Shapes: B documents, M text positions, n = L labels, D hidden size. Time of the convolution B n M n, of its memory see
`window_max.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from xmtc.bounds import Count, Natural, NotNegative, Share
from xmtc.data.batch import Batch, Labels
from xmtc.data.vocabulary import Vocabulary
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded, Encoder
from xmtc.encoders.joint import JointInput, Read
from xmtc.encoders.label_tasks import ConditionalTask, PairTask, draw_given
from xmtc.encoders.pretrained import Backbone
from xmtc.encoders.window_max import window_max

KERNEL = 10  # positions, and with kernel=2d labels; the paper's window
START = 0.02  # of the output weights, which `authors` leaves as they are: standard deviation of a normal cut at two


class LACO(Encoder):
    """features: (B, D). length: positions of an input, labels counted. given: labels that CLCP is told, null for a
    random number from 1 to one less than the document has. pairs: of PLCP, for each document and step. reduction: of
    the recipe's loss; the tasks are means and the weights are for a loss that sums over the labels, so under `mean`
    both are divided by L. seed: of the draws that `authors` keeps."""

    by_label = ("input.vectors",)

    def __init__(
        self,
        vocabulary: Vocabulary,
        text,
        num_labels: int,
        name: str = "minilm",
        pretrained: bool = True,
        length: Count = 320,
        joint: bool = True,
        cross_attention: bool = True,
        cosine: bool = True,
        kernel: Literal["2d", "1d"] = "2d",
        plcp: NotNegative = 0.0,
        clcp: NotNegative = 0.0,
        pairs: Count = 1,
        given: Count | None = 1,
        label_names: bool = False,
        authors: bool = False,
        dropout: Share = 0.1,
        reduction: Literal["mean", "label_sum"] = "label_sum",
        seed: Natural = 0,
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
        self.cross_attention, self.cosine, self.authors, self.label_names = (
            cross_attention,
            cosine,
            authors,
            label_names,
        )
        share = num_labels if reduction == "mean" else 1
        self.plcp, self.clcp, self.given, self.seed = plcp / share, clcp / share, given, seed
        backbone = Backbone(
            vocabulary, name, pretrained, False, lr_factor, layer_decay, freeze, lora, checkpointing, attention, offline
        )
        self.input = JointInput(backbone, num_labels, length, joint)
        self.convolution = self.pair_task = self.conditional_task = None
        if cross_attention:
            shape = (KERNEL, KERNEL if kernel == "2d" else 1)
            self.convolution = nn.Conv2d(1, num_labels, shape)
            nn.init.xavier_uniform_(self.convolution.weight)
            nn.init.zeros_(self.convolution.bias)
        elif not (joint or plcp or clcp):
            self.input.vectors.requires_grad_(False)  # nobody reads them
        if plcp:
            self.pair_task = PairTask(backbone.size, dropout, pairs)
        if clcp:
            self.conditional_task = ConditionalTask(backbone.size)
        self.dropout = nn.Dropout(dropout)
        if authors:
            for part in (self.convolution, self.pair_task, self.conditional_task):
                if part is not None:
                    part.requires_grad_(False)

    def prepare(self, labels: Labels, names: Sequence[str]) -> None:
        if self.label_names:
            self.input.start_as(names, self.vocabulary.folder / "tokenizer.json")

    def forward(self, batch: Batch) -> Encoded:
        if len(batch) == 0:
            return Encoded(self.input.vectors.new_zeros(0, self.input.backbone.size))
        read = self.input(batch)
        weights = None
        if self.cross_attention:
            features, weights = self.attend(read)
            weights = self._of_tokens(weights, batch.lengths.clamp(max=self.input.budget))
        else:
            features = read.words[:, 0]
        encoded = Encoded(self.dropout(features), attention=weights)
        if self.training:
            self._tasks(read.labels, batch, encoded)
        return encoded

    def attend(self, read: Read) -> tuple[Tensor, Tensor]:
        """Document vectors (B, D) and the weights of the text positions (B, M), 0 at padding."""
        words_BMD, labels_BnD = read.words, read.labels
        if self.cosine:
            words_BMD, labels_BnD = F.normalize(words_BMD, dim=-1), F.normalize(labels_BnD, dim=-1)
        near_BMn = words_BMD @ labels_BnD.transpose(1, 2)
        near_BMn = near_BMn * read.mask[:, :, None]  # the convolution's own padding is zero as well
        # "same" padding, which of an even number is one less before than behind
        before = [(size - 1) // 2 for size in self.convolution.kernel_size]
        behind = [size // 2 for size in self.convolution.kernel_size]
        near_BMn = F.pad(near_BMn, (before[1], behind[1], before[0], behind[0]))
        # the largest of a ReLU is the ReLU of the largest
        largest_BM = window_max(near_BMn, self.convolution.weight.squeeze(1), self.convolution.bias)
        weights_BM = torch.tanh(F.relu(largest_BM)) * read.mask
        return (weights_BM[:, None] @ words_BMD).squeeze(1), weights_BM.detach()

    def _of_tokens(self, weights_BM: Tensor, lengths_B: Tensor) -> Tensor:
        """(B, T): the weights of the text's own tokens, without those of special ones."""
        start = len(self.input.backbone.before)
        weights_BT = weights_BM[:, start : start + int(lengths_B.max())]
        return weights_BT * (torch.arange(weights_BT.shape[1], device=weights_BT.device) < lengths_B[:, None])

    def _tasks(self, labels_BnD: Tensor, batch: Batch, encoded: Encoded) -> None:
        labels = batch.labels
        if self.pair_task is not None:
            uniform = self._uniform(batch, (self.pair_task.pairs, 4))
            encoded.auxiliary["plcp"] = self.plcp * self.pair_task(labels_BnD, labels, uniform)
        if self.conditional_task is not None:
            counts_B = labels.offsets.diff()
            size_B = torch.full_like(counts_B, self.given or 1)
            if self.given is None:
                size_B = 1 + (self._uniform(batch, ()) * (counts_B - 1).clamp(min=1)).long()
            # one number a label, so that the draws of a document do not depend on its neighbours
            uniform_P = self._uniform(batch, (self.num_labels,))[labels.rows(), labels.ids]
            given_Bn = draw_given(labels, self.num_labels, size_B, uniform_P)
            encoded.auxiliary["clcp"] = self.clcp * self.conditional_task(labels_BnD, labels, given_Bn)

    def _uniform(self, batch: Batch, shape: tuple[int, ...]) -> Tensor:
        """(B, *shape) in [0, 1): new ones every time, or with `authors` the same for a document in all epochs."""
        device = batch.documents.device
        if not self.authors:
            return torch.rand(len(batch), *shape, device=device)
        own = (np.random.default_rng((self.seed, document)) for document in batch.documents.tolist())
        draws = np.stack([generator.random(shape, dtype=np.float32) for generator in own])
        return torch.from_numpy(draws).to(device)

    def make_decoder(self, num_labels: int) -> LinearDecoder:
        decoder = LinearDecoder(self.input.backbone.size, num_labels)
        nn.init.trunc_normal_(decoder.weight, std=START, a=-2 * START, b=2 * START)
        nn.init.zeros_(decoder.bias)
        return decoder.requires_grad_(not self.authors)
