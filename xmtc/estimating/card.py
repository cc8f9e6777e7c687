"""The memory of a run whose corpus is not here, from the counts on its data card.

Weights are counted on PyTorch's meta device, where they cost nothing. The encoder is run with a short word table on two
small batches of made-up documents, and what a step holds is read in a straight line at the real number of documents;
the label side is tried with few labels, as for any estimate. Rough where memory does not grow in such a line, as with
the distinct words of a batch.
"""

from __future__ import annotations

import inspect
import math
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from torch import nn

from xmtc.config.check import import_target
from xmtc.config.make import make
from xmtc.data.batch import Labels
from xmtc.data.cards import Card
from xmtc.data.collate import Documents
from xmtc.data.embedding import Random, WordVectors, vectors_of
from xmtc.data.sources.synthetic import Zipf
from xmtc.data.store import Part
from xmtc.data.text import HuggingFace, Text, Words
from xmtc.data.vocabulary import PADDING, UNKNOWN, Vocabulary
from xmtc.encoders.make import make_encoder
from xmtc.errors import InputError
from xmtc.estimating.alone import FEW as DOCUMENTS
from xmtc.estimating.alone import Alone, grown
from xmtc.estimating.probe import SMALL, Memory, Probe, Sizes
from xmtc.estimating.run import Needs, autocast_of, needs_of, sizes_of
from xmtc.training.module import XMTCModule
from xmtc.training.optimizers import parameter_groups

ROWS = 4096  # of the word table that is tried
OWN = 1000  # labels at most of an encoder with weights of its own for each label: those are made


def documents_of(card: Card, config: dict) -> int:
    """Documents of the training part, those split off for validation left out. InputError: the card does not say."""
    train, subset = card.documents.get("train"), config["dataset"].get("subset")
    if train is None or subset is not None:
        kind = f"training documents of dataset.subset={subset}" if subset else "training documents"
        raise InputError(f"{config['dataset']['name']}: its card does not say how many {kind} there are")
    held = config["data"]["validation_size"] if card.documents.get("validation") is None else 0
    return train - (math.ceil(held * train) if held < 1 else int(held))


def needs_from_card(config: dict, card: Card, base: int) -> Needs:
    """Of one process, as `needs` answers for a corpus that is here. base: bytes of a process that has only begun. Takes
    seconds; random numbers are left as they were.

    InputError: the card leaves out what is needed, or the encoder's pretrained weights are not here."""
    train, node = documents_of(card, config), config["encoder"]
    name, labels = config["dataset"]["name"], card.labels
    if labels is None or card.labels_per_document is None or card.words_per_document is None:
        raise InputError(f"{name}: its card does not say how many labels or words there are")
    target = import_target(node["_target_"], "encoder")
    if labels > OWN and "num_labels" in inspect.signature(target).parameters:
        raise InputError(f"{name}: an encoder with weights for each of {labels:,} labels is not estimated from a card")
    text = make(node["text"])
    with tempfile.TemporaryDirectory() as folder, torch.random.fork_rng(devices=[]):
        rows, few = _vocabularies(text, card, train, Path(folder), name)
        encoder = make_encoder(node, few, labels, **_vectors(node))
        whole = encoder
        with torch.device("meta"):
            if rows.size != few.size:
                whole = make_encoder(node, rows, labels, **_vectors(node))
            decoder, head = encoder.make_decoder(labels), make(config["head"], num_labels=labels)
        documents = Documents(
            _part(text, card, few, encoder.layout), text, encoder.layout, None, few.padding,
            (text.length or 1) if encoder.reads_padding else 1, encoder.distinct,
        )  # fmt: skip
        encoder.prepare(documents.gold(), [f"w{label}" for label in range(labels)])
        objective = make(config["recipe"]["objective"])
        objective.prepare(torch.ones(labels, dtype=torch.int64), train)
        execution = make(config["execution"], decoder=decoder, head=head, objective=objective)
        optimizer = instantiate(config["recipe"]["optimizer"], _convert_="object", _partial_=True)
        module = _Parts(whole, decoder, head, execution, optimizer, config["recipe"].get("head_lr_factor", 1.0))
        probe = FewDocuments(encoder, documents, config, execution)
        probe.more = _dense_bytes(whole) - _dense_bytes(encoder)
        scored = (card.documents.get("validation") or 0) + (card.documents.get("test") or 0)
        return needs_of(module, probe, sizes_of(execution, config, labels, 1), config, 1, scored, base)


class _Parts(XMTCModule):
    """What an estimate asks of the module of a run."""

    def __init__(self, encoder, decoder, head, execution, optimizer, head_lr_factor: float):
        nn.Module.__init__(self)
        self.encoder, self.decoder, self.head, self.execution = encoder, decoder, head, execution
        self.make_optimizer, self.head_lr_factor = optimizer, head_lr_factor


class FewDocuments(Probe):
    """A probe whose encoder reads a few documents for a whole batch. more: bytes of the encoder's gradients that the
    short word table leaves out."""

    more = 0

    def __init__(self, encoder, documents: Documents, config: dict, like):
        def make_side(labels: int):
            return encoder.make_decoder(labels), make(config["head"], num_labels=labels)

        self.batches = [documents[np.arange(count)] for count in DOCUMENTS]
        super().__init__(encoder, self.batches[-1], make_side, like, autocast_of(config, "cpu"))
        self._found: list[Alone] = []

    def memory(self, sizes: Sizes) -> Memory:
        """The label side with as many rows of features as there will be, which cost next to nothing; of a decoder that
        reads every token with the few documents, too."""
        if len(self.like.decoder.features_shape(1, 1)) < 3:
            return super().memory(sizes)
        few, many = (
            super(FewDocuments, self).memory(replace(sizes, documents=count, evaluation_documents=count))
            for count in DOCUMENTS
        )
        phases = {name: _at((few.phases[name], many.phases[name]), name, sizes) for name in few.phases}
        return replace(many, phases=phases, gradients=_at((few.gradients, many.gradients), "", sizes))

    def _encoder(self, sizes: Sizes) -> Alone:
        self._found = self._found or [self._alone(batch) for batch in self.batches]
        labels = self.batches[-1].labels
        each = labels.ids[: int(labels.offsets[1])] % SMALL
        self.labels = Labels(each.repeat(sizes.documents), torch.arange(sizes.documents + 1) * len(each))
        alone = grown(*self._found, sizes.documents, sizes.evaluation_documents)
        if "encoder backward" in alone.moments:
            alone.moments["encoder backward"] = [max(alone.moments["encoder backward"]) + self.more]
        alone.gradients += self.more
        return alone


def _at(values: tuple[int, int], phase: str, sizes: Sizes) -> int:
    """In a straight line through what the two batches took, at the documents of that phase."""
    few, many = DOCUMENTS
    documents = sizes.evaluation_documents if phase.startswith("evaluation") else sizes.documents
    return max(round(values[0] + (values[1] - values[0]) * (documents - few) / (many - few)), 0)


def _vocabularies(text: Text, card: Card, train: int, folder: Path, name: str) -> tuple[Vocabulary, Vocabulary]:
    """The corpus' own, and the one that is tried."""
    if isinstance(text, HuggingFace):
        from xmtc.data.text import _hugging_face

        padding, unknown = text.special()
        (folder / "tokenizer.json").write_text(text.json(), encoding="utf-8")
        size = len(_hugging_face(text.name, text.offline))
        own = Vocabulary(size, np.full(size, train), train, folder, padding, unknown)
        return own, own
    if not isinstance(text, Words) or card.vocabulary is None:
        raise InputError(f"{name}: its card does not say how many words there are")
    size = min(card.vocabulary + 2, text.vocabulary_size)
    words = [f"w{word}" for word in range(min(size, ROWS))]
    (folder / "vocabulary.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    own, few = (Vocabulary(n, np.full(n, train), train, folder, PADDING, UNKNOWN) for n in (size, len(words)))
    return own, few


def _vectors(node: dict) -> dict[str, WordVectors]:
    """Random vectors of the same size in the place of those that would have to be read or learnt."""
    return {key: Random(made.size, made.trainable) for key, made in vectors_of(node).items()}


def _part(text: Text, card: Card, vocabulary: Vocabulary, layout: str) -> Part:
    """As many documents as the larger batch has, of the card's mean length; the first is as long as the text allows."""
    random, count = np.random.default_rng(0), DOCUMENTS[-1]
    lengths = np.full(count, max(round(card.words_per_document), 1))
    if layout != "bag" and text.length is not None:
        lengths[0] = max(lengths[0], text.length)
    law = Zipf(vocabulary.size - 2, 2.7)
    tokens = law.draw(random, int(lengths.sum())).astype(np.int32) + 2
    each = min(max(round(card.labels_per_document), 1), card.labels)
    labels = np.tile(np.arange(each, dtype=np.int32), count)
    return Part(tokens, np.concatenate([[0], np.cumsum(lengths)]), labels, np.arange(count + 1) * each)


def _dense_bytes(encoder: nn.Module) -> int:
    """Of the encoder's gradients that are as large as their weights: all but those of word tables updated by rows."""
    groups = parameter_groups(encoder)
    return sum(p.nbytes for group in groups if not group.get("lazy_rows") for p in group["params"])
