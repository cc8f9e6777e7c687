"""Updates inside the last sweep against the ordinary step of the run's optimiser."""

import copy
from types import SimpleNamespace

import pytest
import torch

from tests.execution.cases import labels_of, parts
from xmtc.encoders.base import Encoded
from xmtc.errors import InputError
from xmtc.execution.chunked import CHECK, Chunked
from xmtc.execution.updates import SGD, Adam, Norms, corrected_eps, stochastic_bfloat16
from xmtc.training.clipping import Clipping
from xmtc.training.objectives import Objective
from xmtc.training.optimizers import AdamW, parameter_groups

L, B, STEPS = 13, 4, 50


class Model(torch.nn.Module):
    """A linear encoder, a decoder and a head under one optimiser with a falling rate."""

    def __init__(
        self, attention=False, clip=None, eps_before_correction=False, eps=1e-8, decay=0.1, head_lr_factor=1.0, raw=0.3,
        frozen=False, **execution,
    ):  # fmt: skip
        super().__init__()
        decoder, head, _, _ = parts(L, B, 2, attention, seed=1, raw_loss_weight=raw, dtype=torch.float32)
        self.decoder, self.head = decoder, head
        torch.manual_seed(2)
        self.encoder = torch.nn.Linear(6, 4)
        self.encoder.weight.requires_grad_(not frozen)
        self.execution = Chunked(decoder, head, Objective(), chunk=5, **execution)
        self.execution.clipping = clip is not None
        self.execution.head_lr_factor = head_lr_factor
        self.execution.start()
        options = dict(lr=0.02, weight_decay=decay, eps=eps, eps_before_correction=eps_before_correction)
        self.optimizer = AdamW(parameter_groups(self), **options)
        self.execution.follow(self.optimizer)
        self.clipping = Clipping(clip) if clip else None

    def train_steps(self, first, last):
        attention = not hasattr(self.decoder, "weight")
        for step in range(first, last):
            for group in self.optimizer.param_groups:
                group["lr"] = 0.02 * (1 - step / STEPS)
            torch.manual_seed(step)
            x = torch.randn(B, 3, 6) if attention else torch.randn(B, 6)
            mask = torch.ones(B, 3, dtype=torch.bool) if attention else None
            labels = labels_of([[step % L], [], [0, 5, 12], [1, 2 + step % 9 + 1]])
            self.optimizer.zero_grad()
            self.execution.loss(Encoded(self.encoder(x), mask), labels).backward()
            if self.clipping:
                self.clipping.on_before_optimizer_step(None, self, self.optimizer)
            self.optimizer.step()
        return self


@pytest.mark.parametrize("options", [
    {}, {"clip": 0.5}, {"attention": True}, {"eps_before_correction": True, "eps": 1e-2}, {"decay": 0.0},
    {"keep_raw": False, "clip": 0.5}, {"keep_raw": True, "raw": 0.0, "clip": 0.5},
], ids=str)  # fmt: skip
def test_fifty_steps_of_adam_in_the_sweep_equal_ordinary_ones(options):
    ordinary = Model(**options).train_steps(0, STEPS)
    inside = Model(update="adam", **options).train_steps(0, STEPS)
    assert all(not p.requires_grad and p.grad is None for p in inside.decoder.label_parameters().values())
    start = Model(**options).state_dict()
    for name, value in ordinary.state_dict().items():
        assert not torch.equal(value, start[name])
        torch.testing.assert_close(inside.state_dict()[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [
    {"update": "adam"}, {"update": "sgd", "weights": "bf16"}, {"update": "sgd", "weights": "bf16", "rounding": "kahan"},
], ids=str)  # fmt: skip
def test_state_of_the_update_is_saved_and_continued(options):
    whole = Model(**options).train_steps(0, 12)
    half = Model(**options).train_steps(0, 6)
    saved = copy.deepcopy((half.state_dict(), half.optimizer.state_dict(), half.execution.state_dict()))
    continued = Model(**options)
    continued.load_state_dict(saved[0])
    continued.optimizer.load_state_dict(saved[1])
    continued.execution.load_state_dict(saved[2])
    continued.train_steps(6, 12)
    assert all(torch.equal(value, continued.state_dict()[name]) for name, value in whole.state_dict().items())
    with pytest.raises(InputError, match="execution.update=None.*updated with"):
        Model().execution.load_state_dict(saved[2])


def test_sgd_in_float32_is_torchs_sgd():
    inside = Model(update="sgd", weights="fp32", lr_factor=2.0)
    plain = Model()
    rows = plain.execution.side(1, "cpu").row_parameters()
    inside.train_steps(0, 1)
    torch.manual_seed(0)
    loss = plain.execution.loss(Encoded(plain.encoder(torch.randn(B, 6))), labels_of([[0], [], [0, 5, 12], [1, 3]]))
    loss.backward()
    for mine, theirs in zip(inside.execution.side(1, "cpu").row_parameters(), rows, strict=True):
        expected = torch.optim.SGD([theirs], lr=0.04, weight_decay=0.1 if theirs.ndim > 1 else 0.0)
        expected.step()
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("rounding", ["stochastic", "kahan"])
def test_small_steps_are_not_lost_in_bfloat16(rounding):
    """400 steps of 1e-4 from 1.0, where neighbours are 2^-8 = 0.0039 apart downwards: rounding to the nearest stays."""
    weight = torch.nn.Parameter(torch.ones(5000, 2))
    rule = SGD([weight], weights="bf16", rounding=rounding)
    nearest = torch.ones(1).bfloat16()
    for _ in range(400):
        rule.begin({"lr": 1e-4, "weight_decay": 0.0})
        rule(weight, slice(0, 5000)).tensor.fill_(1.0)
        rule.finish(slice(0, 5000))
        nearest = (nearest.float() - 1e-4).bfloat16()
    assert weight.dtype == torch.bfloat16 and nearest == 1
    assert float(weight.detach().float().mean()) == pytest.approx(0.96, abs=0.001)


def test_stochastic_rounding_is_right_on_average_and_only_takes_neighbours():
    values = torch.tensor([1.0, 1.0 + 2**-10, 1.0 + 2**-8, -3.14159, 1e-20, 0.0])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([stochastic_bfloat16(values, generator).float() for _ in range(4000)])
    torch.testing.assert_close(drawn.mean(0), values, rtol=3e-4, atol=1e-22)
    for column, value in zip(drawn.T, values, strict=True):
        assert len(column.unique()) <= 2 and column.min() <= value <= column.max()
    assert (drawn[:, 0] == 1).all() and (drawn[:, 5] == 0).all()


def test_the_largest_noise_and_the_smallest_are_drawn():
    """What lacks one 2^16th to its neighbour stays below it once in 2^16 draws, and the other way round."""
    values = torch.tensor([1.0 + 0xFFFF * 2.0**-23, 1.0 + 2.0**-23])[:, None].expand(2, 2**20)
    low, high = (stochastic_bfloat16(row, torch.Generator().manual_seed(0)).float() for row in values)
    assert 0 < int((low == 1).sum()) < 60 and 0 < int((high > 1).sum()) < 60  # of 16 that are expected


def test_every_chunk_parameter_and_step_is_rounded_by_its_own_noise():
    """After any number of steps."""
    weights = [torch.nn.Parameter(torch.full((256, 4), 1.0)) for _ in range(2)]
    rule, seen = SGD(weights, weights="bf16"), []
    for steps in (0, 1, 10**8):
        rule.steps = steps
        for chunk in (slice(0, 126), slice(126, 252)):  # at places that have much in common
            for weight in weights:
                weight.data.fill_(1.0)
            rule.begin({"lr": 1e-3, "weight_decay": 0.0})
            rule.steps = steps
            for weight in weights:
                rule(weight, chunk).tensor.fill_(1.0)
            rule.finish(chunk)
            seen += [weight.data[chunk].clone() for weight in weights]
    assert not any(torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


def test_an_optimiser_of_one_group_without_decay():
    plain, inside = Model(decay=0.0), Model(update="adam", decay=0.0)
    rows = plain.execution.side(1, "cpu").row_parameters()
    inside.execution.follow(AdamW(inside.encoder.parameters(), lr=0.02, weight_decay=0.0))
    labels = labels_of([[0, 3], []])
    for model in (plain, inside):
        torch.manual_seed(0)
        model.execution.loss(Encoded(model.encoder(torch.randn(2, 6))), labels).backward()
    AdamW(rows, lr=0.02, weight_decay=0.0).step()
    torch.testing.assert_close(inside.execution.side(1, "cpu").row_parameters(), rows)


@pytest.mark.parametrize(("weights", "rounding", "kept"), [
    ("bf16", "kahan", True), ("bf16", "stochastic", False), ("fp32", "kahan", False),
])  # fmt: skip
def test_kahan_alone_keeps_what_rounding_lost(weights, rounding, kept):
    rule = SGD([torch.nn.Parameter(torch.ones(3, 2))], weights=weights, rounding=rounding)
    assert bool(rule.tensors()) is kept


def test_rows_in_double_precision_are_updated_in_it():
    weight = torch.nn.Parameter(torch.ones(3, 2, dtype=torch.float64))
    rule = Adam([weight])
    settings = {
        "lr": 1e-9,
        "weight_decay": 0.0,
        "betas": (0.9, 0.999),
        "eps": 0.0,
    }  # a step of single precision is 6e-8
    for _ in range(3):
        rule.begin(settings)
        rule(weight, slice(0, 3)).tensor.fill_(1 + 1e-12)
        rule.finish(slice(0, 3))
    torch.testing.assert_close(weight.detach(), torch.full_like(weight, 1 - 3e-9), rtol=0, atol=1e-14)


def test_norms_and_the_corrected_eps_by_hand():
    weight = torch.nn.Parameter(torch.ones(5, 2))
    norms = Norms([weight])
    assert norms.total.to(torch.float32) == 0  # of a shard without labels
    for chunk in (slice(0, 3), slice(3, 5)):
        norms(weight, chunk).tensor.fill_(3.0)
        norms.finish(chunk)
    assert float(norms.total) == 90 and (weight == 1).all()
    group, optimizer = {"betas": (0.9, 0.99), "eps": 7.0}, SimpleNamespace(eps_before_correction=True, base_eps=1e-3)
    assert corrected_eps(optimizer, group, 2)["eps"] == pytest.approx(1e-3 / (1 - 0.99**2) ** 0.5)
    assert corrected_eps(SimpleNamespace(), group, 2)["eps"] == 7


def test_a_loss_that_is_not_finite_stops_before_any_row_changes():
    model = Model(update="adam")
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match="the loss is nan"):
        model.execution.loss(Encoded(torch.full((1, 4), float("nan"))), labels_of([[1]]))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_on_a_gpu_a_loss_is_read_now_and_then_and_before_anything_is_saved(monkeypatch):
    monkeypatch.setattr("xmtc.execution.chunked.on_host", lambda tensor: False)
    for steps_after in (CHECK - 1, 3):
        execution = Model(update="adam").execution
        execution.watch(torch.tensor(float("inf")))
        for _ in range(min(steps_after, CHECK - 2)):
            execution.watch(torch.tensor(1.0))  # does not make the others forget
        with pytest.raises(InputError, match="the loss is inf"):
            if steps_after == CHECK - 1:
                execution.watch(torch.tensor(1.0))
            else:
                execution.state_dict()


def test_a_state_of_another_rounding_is_refused():
    kahan = Model(update="sgd", weights="bf16", rounding="kahan").execution.state_dict()
    with pytest.raises(InputError, match="execution.update=sgd"):
        Model(update="sgd", weights="bf16").execution.load_state_dict(kahan)


def test_rows_decay_too_where_only_biases_are_left_to_the_optimiser():
    ordinary, inside, without = (
        Model(frozen=True, **options).train_steps(0, 5) for options in ({}, {"update": "adam"}, {"decay": 0.0})
    )
    torch.testing.assert_close(inside.decoder.weight, ordinary.decoder.weight, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(without.decoder.weight, ordinary.decoder.weight, rtol=1e-3)


def test_an_encoders_own_rate_is_not_that_of_the_labels():
    """The optimiser's group has `lr` times `lr_factor`; label rows follow `lr`."""
    plain, slow = Model(update="sgd"), Model(update="sgd")
    for group in slow.optimizer.param_groups:
        group["lr_factor"] = 0.25
    encoded, labels = Encoded(torch.randn(2, 4)), labels_of([[0, 3], []])
    for model, lr in ((plain, 0.02), (slow, 0.005)):
        for group in model.optimizer.param_groups:
            group["lr"] = lr
        model.execution.loss(Encoded(encoded.features.clone().requires_grad_()), labels).backward()
    start = Model(update="sgd").decoder.weight
    torch.testing.assert_close(slow.decoder.weight, plain.decoder.weight)
    assert not torch.equal(slow.decoder.weight, start)


def test_a_heads_own_rate_is_not_that_of_the_decoder():
    start, plain, slow = Model(update="sgd"), Model(update="sgd"), Model(update="sgd", head_lr_factor=0.25)
    for model in (plain, slow):
        model.train_steps(0, 1)
    torch.testing.assert_close(slow.decoder.weight, plain.decoder.weight)
    for before, fast, behind in zip(*(m.head.blocks[0].label_parameters().values() for m in (start, plain, slow)),
                                    strict=True):  # fmt: skip
        assert not torch.equal(fast, before)
        torch.testing.assert_close(behind - before, 0.25 * (fast - before), rtol=1e-3, atol=1e-6)


def test_frozen_rows_are_refused():
    decoder, head, _, _ = parts(L, B, 1, False)
    decoder.weight.requires_grad_(False)
    with pytest.raises(InputError, match="frozen"):
        Chunked(decoder, head, Objective(), update="adam").start()
