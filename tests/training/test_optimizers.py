"""The optimiser against torch's own, step by step, and against Adam written in numpy."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from xmtc.heads.cornet import CorNet
from xmtc.training.build import dense_tables
from xmtc.training.optimizers import AdamW, parameter_groups, squared_norm, touched_rows

STEPS = [[1, 2, 2], [3], [], [2, 3, 4], [1, 1, 1], [4]]  # rows of a table of 6 that occur in each step


def numbers(parameter):
    return parameter.detach().numpy().copy()


@pytest.mark.parametrize("settings", [{}, {"betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}])
def test_dense_weights_move_as_under_torch(settings):
    ours = [nn.Parameter(torch.randn(3, 4)), nn.Parameter(torch.randn(4))]
    theirs = copy.deepcopy(ours)
    optimizers = (
        AdamW(ours, lr=0.05, **settings),
        torch.optim.AdamW(theirs, lr=0.05, **({"weight_decay": 0.0} | settings)),
    )
    for step in range(6):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn_like(a) if step != 3 else None
            b.grad = None if a.grad is None else a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("eps", [1e-8, 1e-2])
def test_the_papers_adam_adds_eps_before_the_bias_correction(eps):
    """AttentionXML's code: the denominator is sqrt(v) + eps; both corrections are in the size of the step."""
    parameter = nn.Parameter(torch.randn(5, dtype=torch.float64))
    optimizer = AdamW([parameter], lr=0.1, eps=eps, eps_before_correction=True)
    expected, m, v = numbers(parameter), np.zeros(5), np.zeros(5)
    for step in range(1, 8):
        gradient = torch.randn(5, dtype=torch.float64) * 0.01
        parameter.grad = gradient.clone()
        optimizer.step()
        m = 0.9 * m + 0.1 * gradient.numpy()
        v = 0.999 * v + 0.001 * gradient.numpy() ** 2
        size = 0.1 * math.sqrt(1 - 0.999**step) / (1 - 0.9**step)
        expected -= size * m / (np.sqrt(v) + eps)
        np.testing.assert_allclose(numbers(parameter), expected, rtol=1e-9)


def tables(**settings):
    """An AdamW over a word table and a SparseAdam over its twin."""
    ours = nn.Embedding(6, 3, sparse=True)
    theirs = copy.deepcopy(ours)
    groups = [{"params": [ours.weight], "lazy_rows": True}]
    return ours, theirs, AdamW(groups, lr=0.05, **settings), torch.optim.SparseAdam(theirs.parameters(), lr=0.05)


def backward(table, rows, weights):
    table.zero_grad()
    (table(torch.tensor(rows, dtype=torch.int64)) * weights).sum().backward()


@pytest.mark.parametrize("layout", ["sparse", "dense"])
def test_rows_of_a_word_table_move_as_under_sparse_adam(layout):
    ours, theirs, optimizer, reference = tables()
    for rows in STEPS:
        weights = torch.randn(len(rows), 3)
        for table in (ours, theirs):
            backward(table, rows, weights)
        if layout == "dense":
            ours.weight.grad = ours.weight.grad.to_dense()
        before = numbers(ours.weight)
        optimizer.step()
        reference.step()
        torch.testing.assert_close(ours.weight, theirs.weight)
        absent = [row for row in range(6) if row not in rows]
        assert np.array_equal(numbers(ours.weight)[absent], before[absent])  # although their moments are not zero
    assert optimizer.state[ours.weight]["step"] == len(STEPS)


def test_lazy_rows_do_not_depend_on_where_dense_weights_put_eps():
    ours, theirs, optimizer, reference = tables(eps_before_correction=True)
    for rows in STEPS:
        for table in (ours, theirs):
            backward(table, rows, torch.ones(len(rows), 3))
        optimizer.step()
        reference.step()
        torch.testing.assert_close(ours.weight, theirs.weight)


def test_weight_decay_is_decoupled_and_reaches_rows_when_they_occur():
    decayed, plain = tables(weight_decay=0.4), tables()
    plain[0].load_state_dict(decayed[0].state_dict())
    start = numbers(plain[0].weight)
    for table, _, optimizer, _ in (decayed, plain):
        backward(table, [2, 5], torch.ones(2, 3))
        optimizer.step()
    expected = numbers(plain[0].weight)
    expected[[2, 5]] -= 0.05 * 0.4 * start[[2, 5]]
    np.testing.assert_allclose(numbers(decayed[0].weight), expected, rtol=1e-5)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(6, 3, sparse=True, padding_idx=0)
        self.positions = nn.Embedding(4, 3)
        self.frozen = nn.Embedding(6, 3, sparse=True).requires_grad_(False)
        self.norm, self.head = nn.LayerNorm(3), CorNet(3, rank=2, blocks=1)

    def forward(self, tokens):
        hidden = self.words(tokens) + self.positions(torch.arange(len(tokens))) + self.frozen(tokens)
        return self.head(self.norm(hidden)).square().sum()


def test_groups_hold_every_trainable_parameter_once():
    model = Model()
    lazy = [g for g in parameter_groups(model) if g.get("lazy_rows")]
    assert [id(p) for g in lazy for p in g["params"]] == [id(model.words.weight)]
    held = [id(p) for group in parameter_groups(model) for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    undecayed = {id(p) for g in parameter_groups(model) if g.get("weight_decay") == 0 for p in g["params"]}
    assert undecayed == {id(p) for p in model.parameters() if p.requires_grad and p.ndim == 1}
    assert all(group["params"] for group in parameter_groups(nn.Linear(2, 2, bias=False)))


def test_a_table_shared_by_two_modules_is_held_once():
    model = nn.ModuleList([nn.Embedding(4, 2, sparse=True), nn.Embedding(4, 2, sparse=True)])
    model[1].weight = model[0].weight
    assert [len(group["params"]) for group in parameter_groups(model)] == [1]


def train(model, optimizer, steps):
    for step in steps:
        optimizer.zero_grad()
        model(torch.tensor([step % 6, 1 + step % 3, 5])).backward()
        optimizer.step()


def test_several_processes_get_dense_gradients_with_lazy_rows():
    one, many = Model(), Model()
    many.load_state_dict(one.state_dict())
    dense_tables(many)
    for model in (one, many):
        train(model, AdamW(parameter_groups(model), lr=0.05), range(5))
    assert one.words.weight.grad.is_sparse and not many.words.weight.grad.is_sparse
    torch.testing.assert_close(one.state_dict(), many.state_dict())


@pytest.mark.parametrize("before", [False, True])
def test_training_goes_on_the_same_from_a_saved_state(before, tmp_path):
    model = Model()
    optimizer = AdamW(parameter_groups(model), lr=0.05, weight_decay=0.01, eps=1e-3, eps_before_correction=before)
    train(model, optimizer, range(4))
    torch.save([model.state_dict(), optimizer.state_dict()], tmp_path / "state")
    train(model, optimizer, range(4, 9))
    again = Model()
    resumed = AdamW(parameter_groups(again), lr=0.05, weight_decay=0.01, eps=1e-3, eps_before_correction=before)
    weights, state = torch.load(tmp_path / "state", weights_only=True)
    again.load_state_dict(weights)
    resumed.load_state_dict(state)
    train(again, resumed, range(4, 9))
    for mine, theirs in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_a_gradient_scaler_changes_nothing_and_skips_infinite_steps():
    """Else the lazy rows would take scaled gradients, and clipping would see scaled norms (precision=16-mixed)."""
    plain, scaled = Model(), Model()
    scaled.load_state_dict(plain.state_dict())
    reference, optimizer = (AdamW(parameter_groups(m), lr=0.05, eps=1e-2) for m in (plain, scaled))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for tokens in ([1, 2], [2, 5, 5], [3]):
        reference.zero_grad()
        optimizer.zero_grad()
        plain(torch.tensor(tokens)).backward()
        reference.step()
        scaler.scale(scaled(torch.tensor(tokens))).backward()
        scaler.step(optimizer)
        scaler.update()
    torch.testing.assert_close(plain.state_dict(), scaled.state_dict())
    before = copy.deepcopy(scaled.state_dict())
    optimizer.zero_grad()
    scaler.scale(scaled(torch.tensor([1, 2])) * torch.inf).backward()
    scaler.step(optimizer)
    torch.testing.assert_close(scaled.state_dict(), before, rtol=0, atol=0)


def test_the_learning_rate_of_a_group_counts():
    slow, fast = (tables()[0] for _ in range(2))
    fast.load_state_dict(slow.state_dict())
    start, moved = numbers(slow.weight), []
    for table, factor in ((slow, 0.5), (fast, 1.0)):
        optimizer = AdamW([{"params": [table.weight], "lazy_rows": True}], lr=0.1)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _, factor=factor: factor)
        backward(table, [1, 3], torch.ones(2, 3))
        optimizer.step()
        schedule.step()
        moved.append(numbers(table.weight) - start)
    np.testing.assert_allclose(2 * moved[0], moved[1], rtol=1e-4, atol=1e-6)


def test_touched_rows_and_norms_add_up_repeated_rows():
    table = nn.Embedding(6, 2, sparse=True)
    backward(table, [4, 1, 4], torch.tensor([[1.0, 2.0], [3.0, 0.0], [5.0, -1.0]]))
    sparse, dense = table.weight.grad, table.weight.grad.to_dense()
    for gradient in (sparse, dense):
        rows, values = touched_rows(gradient)
        assert rows.tolist() == [1, 4] and values.tolist() == [[3, 0], [6, 1]]
        assert squared_norm(gradient).item() == 46
    assert squared_norm(torch.full((4096,), 0.125, dtype=torch.bfloat16)).item() == 64
    assert squared_norm(dense.double()).dtype == torch.float64
