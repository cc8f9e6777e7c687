"""The memory of a run from a data card alone, against that of the same run with its corpus at hand."""

import dataclasses

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from xmtc.config import compose_checked
from xmtc.data.cards import card_of
from xmtc.decoders.label_attention import LabelAttentionDecoder
from xmtc.decoders.linear import LinearDecoder
from xmtc.errors import InputError
from xmtc.estimating.card import documents_of, needs_from_card
from xmtc.estimating.label_side import dense_bytes
from xmtc.estimating.run import needs
from xmtc.heads.lcenet import LCENet
from xmtc.training.build import build
from xmtc.training.objectives import Objective
from xmtc.training.record import resident_bytes

CORPUS = [
    "dataset=synthetic", "dataset.like=eurlex", "dataset.train=300", "dataset.validation=20", "dataset.test=20",
    "dataset.labels=90", "dataset.labels_per_document=4", "dataset.words_per_document=200", "dataset.vocabulary=9000",
    "dataset.length=30", "prepare_workers=1", "head=lcenet", "head.rank=4", "embedding=random",
    "embedding.size=12", "data.batch_size=24", "data.evaluation_batch_size=40",
]  # fmt: skip
ENCODERS = {
    "bow": [],
    "kimcnn": ["encoder.filters=8"],
    "bertxml": ["encoder.feedforward=24"],
    "meshprobenet": ["encoder.hidden=10"],
    "attentionxml": ["encoder.hidden=10", "encoder.mlp=[8]"],
}


def plain(*words):
    config = compose_checked([*words])
    return OmegaConf.to_container(
        OmegaConf.masked_copy(config, [key for key in config if key != "logger"]), resolve=True
    )


def card_named(dataset, **counts):
    return dataclasses.replace(card_of(plain(f"dataset={dataset}")["dataset"]), **counts)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_as_with_the_corpus(encoder, tmp_path, monkeypatch):
    """The word table that is tried is shorter than the real one, and the batches are smaller."""
    monkeypatch.setattr("xmtc.estimating.card.ROWS", 500)
    config = plain(*CORPUS, f"encoder={encoder}", *ENCODERS[encoder], f"paths.cache_dir={tmp_path}")
    built = build(config)
    store, words = built.store, np.mean(np.diff(built.store.parts["train"].token_offsets))
    size = int((store.vocabulary.document_frequency >= 2).sum()) if encoder == "bow" else store.vocabulary.size - 2
    card = card_named(
        "eurlex", documents={"train": 300, "validation": 20, "test": 20}, labels=store.num_labels,
        labels_per_document=4.0, words_per_document=float(words), vocabulary=size,
    )  # fmt: skip
    there, here = needs(built, config), needs_from_card(config, card, 1000)
    for part in ("parameters", "optimizer", "averages"):
        assert getattr(here, part) == pytest.approx(getattr(there, part), rel=0.01), part
    assert here.phases.keys() == there.phases.keys() and here.execution == there.execution
    rough = 1.0 if encoder == "bow" else 0.15  # distinct words do not grow with the documents in a straight line
    assert here.activations == pytest.approx(there.activations, rel=rough)
    assert here.gradients == pytest.approx(there.gradients, rel=rough)
    for phase in ("labels forward", "labels backward"):
        assert here.phases[phase] == pytest.approx(there.phases[phase], rel=0.15), phase
    assert 1000 <= here.base < 100_000  # what was said, and the lists of the documents


def test_nothing_large_is_made():
    """Half a million labels: gigabytes of weights are counted and none of them is there."""
    words = ["dataset=wiki500k", "encoder=bow", "encoder.embedding.size=300", "embedding=random", "head=cornet"]
    config = plain(*words, "head.rank=100", "data.batch_size=16", "data.evaluation_batch_size=16")
    before = resident_bytes()
    found = needs_from_card(config, card_of(config["dataset"]), 0)
    table, rows, head = 500_000 * 300, 501_008 * 301, 2 * (2 * 100 * 501_008 + 100 + 501_008)
    assert found.parameters == pytest.approx(4 * (table + rows + head), rel=0.01)
    assert resident_bytes() - before < 0.2 * found.parameters
    assert found.peak > found.parameters + found.optimizer


def test_validation_documents_are_left_out():
    config = plain("dataset=eurlex")
    assert documents_of(card_of(config["dataset"]), config) == 15449 - 200
    config = plain("dataset=magcs")  # has a validation part
    assert documents_of(card_of(config["dataset"]), config) == 564340


@pytest.mark.parametrize(
    "words, reason",
    [
        (["dataset=rcv1"], "rcv1: its card does not say how many words"),
        (["dataset=pubmed", "dataset.subset=tail"], "training documents of dataset.subset=tail"),
        (["dataset=magcs", "encoder=lsan", "head=none"], "weights for each of 15,809 labels"),
    ],
)
def test_what_a_card_cannot_tell(words, reason):
    config = plain(*words, "embedding=random")
    with pytest.raises(InputError, match=reason):
        needs_from_card(config, card_of(config["dataset"]), 0)


@pytest.mark.parametrize("decoder", [LinearDecoder, LabelAttentionDecoder])
def test_a_label_side_that_is_only_a_shape_takes_as_much(decoder):
    def bytes_of():
        side = decoder(20, 70), LCENet(70, rank=4)
        return dense_bytes(*side, Objective(), 5, 6, 9)

    with torch.device("meta"):
        side = decoder(20, 70), LCENet(70, rank=4)
    assert dense_bytes(*side, Objective(), 5, 6, 9) == bytes_of() > 0
