"""The module: what it adds to a loss, what it scores, and that gold labels never reach a score."""

from functools import partial

import numpy as np
import pytest
import torch

from xmtc.data.batch import Batch
from xmtc.encoders.base import Encoded
from xmtc.errors import InputError
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.metrics.ranking import RankingMetrics
from xmtc.training.objectives import Objective
from xmtc.training.predictions import Predictions

L = 4  # of make_module


def test_the_loss_weighs_the_main_part_and_adds_the_auxiliary_ones(make_module, batches):
    module, batch, logged = make_module(), batches[0], {}
    encoded = module.encoder(batch)
    plain = module.training_step(batch, 0)
    torch.testing.assert_close(plain, module.execution.loss(encoded, batch.labels))
    auxiliary = {"first": torch.tensor(2.0), "second": torch.tensor(0.5)}
    module.encoder.forward = lambda _: Encoded(encoded.features, auxiliary=auxiliary, main_weight=0.25)
    module.log = lambda name, value, **_: logged.update({name: value})
    torch.testing.assert_close(module.training_step(batch, 0), 0.25 * plain + 2.5)
    assert logged == {"train/first": 2.0, "train/second": 0.5}


def test_every_reading_of_a_document_is_trained_with_its_labels(make_module, batches):
    module, batch = make_module(), batches[0]
    features = torch.randn(3 * len(batch), *module.encoder(batch).features.shape[1:])
    module.encoder.forward = lambda _: Encoded(features, readings=3)
    expected = 0.0
    for document in range(len(batch)):
        for row in range(3 * document, 3 * document + 3):
            own = batch.labels.part(document, document + 1)
            expected = expected + module.execution.loss(Encoded(features[row : row + 1]), own)
    torch.testing.assert_close(module.training_step(batch, 0), expected / len(features))


@torch.no_grad()
def test_an_evaluation_scores_every_document_once_and_keeps_its_list(make_module, batches):
    module = make_module().eval()
    module.k, module.collector = 4, Predictions(10, 4)
    module.on_test_epoch_start()
    hits = 0
    for batch in batches:
        module.test_step(batch, 0)
        logits = module.head(module.decoder(module.encoder(batch)))
        best = logits.argmax(dim=1).tolist()
        rows = batch.labels.offsets.tolist()
        gold = [batch.labels.ids[a:b].tolist() for a, b in zip(rows, rows[1:], strict=False)]
        hits += sum(label in labels for label, labels in zip(best, gold, strict=True))
        order = logits.argsort(dim=1, descending=True)
        assert np.array_equal(module.collector.labels[batch.documents.numpy()], order.numpy())
        probabilities = torch.sigmoid(logits.gather(1, order)).numpy()
        np.testing.assert_allclose(module.collector.scores[batch.documents.numpy()], probabilities, rtol=1e-6)
    assert module.metrics.compute()["P@1"] == pytest.approx(hits / 10)
    module.on_test_epoch_start()
    assert module.metrics.counts.sum() == 0


@pytest.mark.parametrize("chunk", [None, 3])
def test_a_validation_scores_the_raw_logits_beside_the_enhanced_ones(make_module, batches, chunk):
    module = make_module().eval()
    for parameter in module.head.parameters():
        torch.nn.init.normal_(parameter, std=3)  # a head that changes the order
    if chunk:
        module.execution = Chunked(module.decoder, module.head, Objective(), chunk)
    module.on_validation_epoch_start()
    raw, enhanced = (RankingMetrics(L, torch.arange(1, L + 1), 10) for _ in range(2))
    for batch in batches:
        module.validation_step(batch, 0)
        with torch.no_grad():
            logits = Dense(module.decoder, module.head, None).logits(module.encoder(batch))
        for metrics, values in zip((raw, enhanced), logits, strict=True):
            metrics.update(values.sort(dim=1, descending=True, stable=True).indices, batch.labels)
    assert module.raw_metrics.compute() == raw.compute() and module.metrics.compute() == enhanced.compute()
    assert raw.compute() != enhanced.compute()


def test_curves_have_the_raw_logits_of_a_head(make_module, fit):
    trainer = fit(make_module())
    assert {"val/nDCG@5", "val/raw/nDCG@5", "val/raw/P@1"} <= trainer.callback_metrics.keys()


def test_gold_labels_do_not_reach_the_scores(make_module, batches, labels_of):
    module, batch = make_module().eval(), batches[0]
    swapped = Batch(batch.documents, labels_of([[], [0, 1, 2, 3]]), bags=batch.bags)
    for a, b in zip(*(module.execution.topk(module.encoder(x), 4) for x in (batch, swapped)), strict=True):
        assert torch.equal(a, b)


def test_an_empty_batch_is_passed_over(make_module, bag_batch):
    module = make_module().eval()
    module.validation_step(bag_batch([]), 0)
    assert module.metrics.counts.sum() == 0


def test_schedule_and_optimizer_act_by_step(make_module, fit):
    module, rates = make_module(lr=0.1), []
    module.make_schedule = lambda step, total: rates.append((step, total)) or 1 / (1 + step)
    trainer = fit(module)
    assert {total for _, total in rates} == {10} and max(step for step, _ in rates) == 10
    assert [group["lr"] for group in trainer.optimizers[0].param_groups] == pytest.approx([0.1 / 11] * 3)


def test_only_weights_are_in_the_state(make_module):
    module = make_module()
    assert module.state_dict().keys() == dict(module.named_parameters()).keys()


def test_nothing_left_to_the_optimiser_is_told(make_module, fit):
    module = make_module(freeze=True, execution=partial(Chunked, update="adam"))
    module.encoder.requires_grad_(False)
    module.head.blocks[0].gather_bias.requires_grad_(False)
    with pytest.raises(InputError, match="nothing is left to the optimiser: .* execution.update=null"):
        fit(module, validate=False)


def test_shards_of_which_all_else_is_frozen_are_refused(make_module):
    module = make_module(freeze=True)
    module.encoder.requires_grad_(False)
    rows = [*module.decoder.parameters(), *module.head.blocks[0].label_parameters().values()]
    module.execution.start = lambda: rows  # as where there are several processes
    module.configure_model()
    module.head.blocks[0].gather_bias.requires_grad_(False)
    with pytest.raises(InputError, match="execution=sharded: all weights but label rows are frozen"):
        module.configure_model()
