"""From a configuration to the objects of a run. The only place that knows every room."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from hydra.utils import instantiate
from torch import nn

from xmtc.config.make import make
from xmtc.data.acquire import acquire, corpus_of
from xmtc.data.cards import card_of
from xmtc.data.datamodule import XMTCData, trained_on
from xmtc.data.preparation import prepare
from xmtc.data.sources.subset import make_source
from xmtc.data.store import Store
from xmtc.encoders.make import make_encoder
from xmtc.errors import InputError
from xmtc.fitted.base import is_fitted
from xmtc.heads.block import CorrelationHead
from xmtc.metrics.propensity import constants
from xmtc.metrics.ranking import RankingMetrics
from xmtc.training.module import XMTCModule
from xmtc.training.results import SETS

log = logging.getLogger(__name__)


@dataclass
class Built:
    store: Store
    data: XMTCData
    module: XMTCModule


def open_store(config: dict, text) -> Store:
    paths, dataset = config["paths"], config["dataset"]
    source = make_source(dataset)
    if (corpus := corpus_of(source)) and (card := card_of(dataset)):
        acquire(corpus, card, bool(config.get("offline")))
    return prepare(source, dataset["name"], text, Path(paths["cache_dir"]), config["prepare_workers"])


def make_data(config: dict, store: Store, encoder) -> XMTCData:
    return XMTCData(
        store, encoder.text, encoder.layout, config["seed"], reads_padding=encoder.reads_padding,
        distinct=encoder.distinct, **config["data"],
    )  # fmt: skip


def build(config: dict) -> Built:
    """Everything but the trainer. Prepares the store if it is missing. Seeds must be set before."""
    if is_fitted(config["encoder"]):
        raise InputError("encoder: a system that is fitted at once has no modules that could be built or estimated")
    _check_head(config["encoder"], config["head"])
    text = make(config["encoder"]["text"])
    store = open_store(config, text)
    vocabulary = replace(store.vocabulary, trained=trained_on(store, config["data"]))
    encoder = make_encoder(config["encoder"], vocabulary, store.num_labels)
    data = make_data(config, store, encoder)
    encoder.prepare(data.train.gold(), store.label_names)
    decoder = encoder.make_decoder(store.num_labels)
    decoder.prepare(store.parents)
    counts = torch.from_numpy(data.train_label_counts())
    prior = log_odds(counts, len(data.train))
    if config["recipe"]["prior_bias"]:
        try:
            decoder.set_prior(prior)
        except InputError as error:
            log.warning("%s; the bias starts as the decoder has it", error)
    head = make(config["head"], num_labels=store.num_labels)
    if not len(head.blocks) and type(head).forward is not CorrelationHead.forward:
        raise InputError(f"head: {type(head).__name__} has a forward but no blocks, which are what is run; make it one")
    head.prepare(data.train.gold(), prior)
    objective = make(config["recipe"]["objective"])
    objective.prepare(counts, len(data.train))
    execution = make(config["execution"], decoder=decoder, head=head, objective=objective)
    validation = config["recipe"]["validation"]
    module = XMTCModule(
        encoder,
        decoder,
        head,
        execution,
        ranking_metrics(store, config),
        instantiate(config["recipe"]["optimizer"], _convert_="object", _partial_=True),
        make(config["recipe"]["schedule"]),
        config["recipe"].get("head_lr_factor", 1.0),
        validation.get("sets", False) or validation.get("monitor") in SETS,
    )
    module.micro_batch = data.micro_batch
    return Built(store, data, module)


def _check_head(encoder: dict, head: dict) -> None:
    """InputError: a head that no loss reaches, which would look as if heads gained nothing."""
    if encoder.get("logit_loss") == 0 and not head["_target_"].endswith(".NoHead"):
        raise InputError(
            "encoder.logit_loss=0: this encoder has a loss of its own, and nothing would train the head; give the "
            "recipe's loss a weight beside it, such as encoder.logit_loss=0.1, or take head=none"
        )


def ranking_metrics(store: Store, config: dict) -> RankingMetrics:
    frequency = torch.from_numpy(store.label_frequency)
    return RankingMetrics(store.num_labels, frequency, len(store.parts["train"]), **constants(config["dataset"]))


def log_odds(counts: torch.Tensor, documents: int) -> torch.Tensor:
    """(L,) log odds of a label in a training document, half a document added on both sides."""
    positive = counts.double() + 0.5
    return torch.log(positive / (documents + 1 - positive)).float()


def dense_tables(module: nn.Module) -> None:
    """Several processes: word tables get dense gradients, which collectives understand; rows stay lazy."""
    for part in module.modules():
        if isinstance(part, nn.Embedding) and part.sparse:
            part.lazy, part.sparse = True, False
