"""What a handful of labels foretells of dense is what a step of full size holds."""

import copy

import pytest
import torch

from xmtc.data.batch import Labels
from xmtc.decoders.given import GivenDecoder
from xmtc.decoders.label_attention import LabelAttentionDecoder
from xmtc.decoders.linear import LinearDecoder
from xmtc.encoders.base import Encoded
from xmtc.estimating.label_side import cut, dense_bytes
from xmtc.estimating.tracker import Tracker
from xmtc.execution.dense import Dense
from xmtc.heads.lcenet import LCENet
from xmtc.heads.none import NoHead
from xmtc.training.objectives import Asymmetric, Focal, Objective, PropensityWeighted

L, B, T = 700, 12, 9
DECODERS = {"linear": lambda: LinearDecoder(24, L), "attention": lambda: LabelAttentionDecoder(24, L, [8], True),
            "given": lambda: GivenDecoder(L)}  # fmt: skip
HEADS = {"none": lambda: NoHead(L), "centred": lambda: LCENet(L, 8, 1, centred=True),
         "two": lambda: LCENet(L, 8, 2, dropout=0.3, raw_loss_weight=0.5),
         "bare": lambda: LCENet(L, 40, 1, residual=False, entry="tanh")}  # fmt: skip


def held(decoder, head, objective, documents):
    """Peak bytes of a real step beyond all gradients, or of an evaluation."""
    shape = decoder.features_shape(documents, T)
    encoded = Encoded(torch.randn(shape), torch.ones(shape[:2], dtype=torch.bool) if len(shape) == 3 else None)
    labels = Labels(torch.arange(documents) % L, torch.arange(documents + 1))
    with Tracker() as tracker, torch.set_grad_enabled(objective is not None):
        if objective is None:
            Dense(decoder, head, None).logits(encoded)
            return tracker.peaks[""]
        encoded.features.requires_grad_()
        Dense(decoder, head, objective).loss(encoded, labels).backward()
    return tracker.peaks[""] - sum(p.grad.nbytes for part in (decoder, head) for p in part.parameters())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_peak_of_a_full_step_is_foretold(decoder, head):
    decoder, head = DECODERS[decoder](), HEADS[head]()
    before = torch.get_rng_state()
    found = [dense_bytes(decoder, head, objective, B, n, T) for objective, n in ((Objective(), 1), (None, 5 * B))]
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.grad is None for p in [*decoder.parameters(), *head.parameters()])
    assert decoder.num_labels == L and head.training
    assert found[0] == pytest.approx(max(held(decoder, head, Objective(), B), held(decoder, head, None, 1)), rel=0.01)
    assert found[1] == pytest.approx(held(decoder, head.eval(), None, 5 * B), rel=0.01)


@pytest.mark.parametrize("kind", [Focal, Asymmetric, PropensityWeighted])
def test_a_loss_counts_with_what_it_makes(kind):
    objective = kind()
    objective.prepare(torch.ones(L), 10)
    decoder, head = DECODERS["linear"](), HEADS["two"]()
    expected = held(copy.deepcopy(decoder), copy.deepcopy(head), objective, B)
    assert dense_bytes(decoder, head, objective, B, 1, 1) == pytest.approx(expected, rel=0.01)


def test_rows_are_cut_or_repeated_and_the_original_stays():
    decoder, head = LinearDecoder(2, 3), LCENet(3, rank=2, blocks=1)
    decoder.weight.requires_grad_(False)
    for count in (2, 5):
        rows, block = cut(decoder, head, count)
        order = torch.arange(count) % 3
        assert torch.equal(rows.weight, decoder.weight[order]) and not rows.weight.requires_grad
        assert torch.equal(block.blocks[0].spread_bias, head.blocks[0].spread_bias[order])
        assert rows.num_labels == count and rows(Encoded(torch.ones(1, 2))).shape == (1, count)
    assert decoder.num_labels == 3 and len(decoder.weight) == 3
