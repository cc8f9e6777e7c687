"""Training on drawn labels: exact where all are drawn, right on average where not, and exact in evaluation."""

import pytest
import torch

from tests.execution.cases import labels_of, loss_and_gradients, parts
from xmtc.decoders.given import GivenDecoder
from xmtc.encoders.base import Encoded
from xmtc.errors import InputError
from xmtc.execution.dense import Dense
from xmtc.execution.shortlist import Shortlist
from xmtc.heads.lcenet import LCENet
from xmtc.training.objectives import Asymmetric, Focal, Objective


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("blocks", [0, 2])
@pytest.mark.parametrize("kind", [Objective, Focal, Asymmetric])
def test_with_all_labels_drawn_it_is_dense(attention, blocks, kind):
    raw = 0.3 if blocks else 0.0
    decoder, head, encoded, labels = parts(9, 4, blocks, attention, seed=1, raw_loss_weight=raw, centred=True)
    expected = loss_and_gradients(Dense(decoder, head, kind()), encoded, labels)
    torch.testing.assert_close(loss_and_gradients(Shortlist(decoder, head, kind(), 9), encoded, labels), expected)


def test_without_a_head_loss_and_gradients_are_right_on_average():
    decoder, head, encoded, labels = parts(12, 3, 0, False, seed=1)
    expected = loss_and_gradients(Dense(decoder, head, Objective()), encoded, labels)
    shortlist = Shortlist(decoder, head, Objective(), negatives=3)
    draws = [loss_and_gradients(shortlist, encoded, labels, seed=i) for i in range(1500)]
    for truth, found in zip(expected, zip(*draws, strict=True), strict=True):
        found = torch.stack(found)
        error = found.std(0) / len(draws) ** 0.5
        assert ((found.mean(0) - truth).abs() <= 5 * error + 1e-9).all()
    assert torch.stack([draw[0] for draw in draws]).std() > 0  # it is not exact


def test_what_is_gathered_is_right_on_average():
    decoder, head, encoded, labels = parts(12, 3, 1, False, seed=1)
    (block,) = head.blocks
    truth = block.gather(decoder(encoded))
    shortlist, sums = Shortlist(decoder, head, Objective(), negatives=3), []
    for seed in range(1500):
        torch.manual_seed(seed)
        ids, weights = shortlist.draw(labels)
        gate = torch.sigmoid(decoder(encoded)[:, ids])
        sums.append((gate * weights.double()) @ block.gather_weight[ids])
    sums = torch.stack(sums)
    assert ((sums.mean(0) - truth).abs() <= 5 * sums.std(0) / 1500**0.5).all()


@pytest.mark.parametrize("blocks", [0, 1])
def test_a_step_by_hand(blocks):
    """Drawn labels count for those that they stand for: in the loss, and in what the head gathers."""
    decoder, head, encoded, labels = parts(12, 3, blocks, False, seed=1)
    shortlist = Shortlist(decoder, head, Objective(), negatives=3)
    found = loss_and_gradients(shortlist, encoded, labels, seed=5)
    torch.manual_seed(5)
    ids, weights = shortlist.draw(labels)
    assert weights.max() > 1
    features = encoded.features.clone().requires_grad_()
    z = features @ decoder.weight[ids].T + decoder.bias[ids]
    for block in head.blocks:
        gathered = (torch.sigmoid(z) * weights.double()) @ block.gather_weight[ids] + block.gather_bias
        z = z + torch.nn.functional.elu(gathered) @ block.spread_weight[ids].T + block.spread_bias[ids]
    rows = labels.ids.split(labels.offsets.diff().tolist())
    true = sum(z[row][ids == label].sum() for row, own in enumerate(rows) for label in own)
    loss = ((torch.nn.functional.softplus(z) * weights.double()).sum() - true) / len(labels)
    torch.testing.assert_close(found[0], loss.detach())
    torch.testing.assert_close(found[1], torch.autograd.grad(loss, features)[0])


@pytest.mark.parametrize("blocks", [0, 2])
def test_logits_that_the_encoder_made_are_drawn_as_those_of_label_rows(blocks):
    linear, head, encoded, labels = parts(12, 3, blocks, False, seed=1)
    made = Encoded(linear(encoded).detach())
    found = loss_and_gradients(Shortlist(GivenDecoder(12), head, Objective(), 3), made, labels)
    expected = loss_and_gradients(Shortlist(linear, head, Objective(), 3), encoded, labels)
    torch.testing.assert_close(found[0], expected[0])
    torch.testing.assert_close(found[1] @ linear.weight, expected[1])  # by the features
    torch.testing.assert_close(found[2:], expected[4:])  # by the head, behind the decoder's weight and bias
    expected = loss_and_gradients(Dense(GivenDecoder(12), head, Objective()), made, labels)
    found = loss_and_gradients(Shortlist(GivenDecoder(12), head, Objective(), 12), made, labels)
    torch.testing.assert_close(found, expected)


def test_a_draw_holds_the_batchs_labels_and_stands_for_all():
    decoder, head, _, _ = parts(50, 1, 0, False)
    labels = labels_of([[3, 7], [7, 49, 50], []])  # 50 is unknown to the model
    ids, weights = Shortlist(decoder, head, Objective(), negatives=10).draw(labels)
    assert len(ids) == 13 == len(ids.unique()) and {3, 7, 49} <= set(ids.tolist()) and ids.max() < 50
    assert float(weights.sum()) == pytest.approx(50)
    assert [float(w) for i, w in zip(ids, weights, strict=True) if int(i) in (3, 7, 49)] == [1, 1, 1]
    nothing, _ = Shortlist(decoder, head, Objective(), negatives=10).draw(labels_of([[], []]))
    assert len(nothing) == 10
    one, weights = Shortlist(decoder, head, Objective(), negatives=1).draw(labels)
    assert len(one) == 4 and sorted(weights.tolist()) == [1, 1, 1, 47]


def test_evaluation_is_exact():
    decoder, head, encoded, _ = parts(40, 4, 2, False, dtype=torch.float32)
    shortlist, dense = Shortlist(decoder, head, Objective(), 2, chunk=7), Dense(decoder, head, Objective())
    torch.testing.assert_close(shortlist.topk(encoded, 5), dense.topk(encoded, 5))


def test_what_cannot_be_is_refused():
    decoder, _, _, _ = parts(5, 1, 0, False)
    with pytest.raises(InputError, match="head.bottleneck=false"):
        Shortlist(decoder, LCENet(5, bottleneck=False), Objective())


def test_gradients_reach_drawn_rows_alone():
    decoder, head, encoded, _ = parts(30, 2, 0, False, dtype=torch.float32)
    shortlist = Shortlist(decoder, head, Objective(), negatives=4)
    assert shortlist.start() == [] and shortlist.describe().startswith("shortlist (approximate: 4 drawn negatives")
    shortlist.loss(Encoded(encoded.features), labels_of([[1], [2, 9]])).backward()
    assert int(decoder.weight.grad.ne(0).any(dim=1).sum()) == 7
