"""recipe.head_lr_factor: the head's own learning rate, against two groups of torch's AdamW made by hand."""

from functools import partial

import pytest
import torch
from omegaconf import OmegaConf

from xmtc.config import compose_checked
from xmtc.errors import InputError
from xmtc.execution.chunked import Chunked
from xmtc.execution.dense import Dense
from xmtc.training.build import build
from xmtc.training.optimizers import parameter_groups

RATE, DECAY = 0.05, 0.1
IN_THE_SWEEP = partial(Chunked, chunk=3, update="adam")
KEYS = ["seed", "paths", "data", "dataset", "text", "encoder", "head", "embedding", "recipe", "execution", "trainer",
        "prepare_workers", "offline"]  # fmt: skip


def by_hand(module, batches, factor, epochs=2):
    """The module's weights after so many epochs of torch's own optimiser: the head at `factor` times the rate of the
    rest, matrices decayed and vectors not."""
    groups = []
    for head in (False, True):
        rate = RATE * factor if head else RATE
        chosen = [p for n, p in module.named_parameters() if n.startswith("head.") == head and p.requires_grad]
        groups.append({"params": [p for p in chosen if p.ndim > 1], "lr": rate, "weight_decay": DECAY})
        groups.append({"params": [p for p in chosen if p.ndim <= 1], "lr": rate, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(groups)
    for _ in range(epochs):
        for batch in batches:
            optimizer.zero_grad()
            module.execution.loss(module.encoder(batch), batch.labels).backward()
            optimizer.step()
    return {name: p.detach() for name, p in module.named_parameters()}


@pytest.mark.parametrize("execution", [Dense, IN_THE_SWEEP], ids=["dense", "in the sweep"])
@pytest.mark.parametrize("factor", [0.1, 0.0, 3.0])
def test_the_head_moves_at_its_own_rate(make_module, fit, batches, execution, factor):
    module = make_module(freeze=True, lr=RATE, weight_decay=DECAY, head_lr_factor=factor, execution=execution)
    start = {name: p.detach().clone() for name, p in module.named_parameters()}
    fit(module, validate=False)
    expected = by_hand(make_module(freeze=True), batches, factor)
    for name, value in module.named_parameters():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6)
        if name.startswith("head."):
            assert torch.equal(value, start[name]) == (factor == 0), name


def test_rates_of_zero_leave_none_to_an_update_in_the_sweep(make_module):
    """Where all that is left to the optimiser has the factor 0, the rate itself cannot be told any more."""
    module = make_module(execution=IN_THE_SWEEP)
    still = torch.optim.AdamW([{"params": [torch.zeros(1)], "lr_factor": 0.0}], lr=0.1)
    with pytest.raises(InputError, match="head_lr_factor=0 or pretrained_lr_factor=0 leaves none"):
        module.execution.follow(still)
    still.add_param_group({"params": [torch.ones(1)]})
    module.execution.follow(still)


@pytest.mark.parametrize("execution", [Dense, IN_THE_SWEEP], ids=["dense", "in the sweep"])
def test_the_same_rate_is_the_same_trajectory_to_the_bit(make_module, fit, execution, monkeypatch):
    with_it = make_module(execution=execution, head_lr_factor=1.0)
    groups = [len(group["params"]) for group in fit(with_it, validate=False).optimizers[0].param_groups]
    without = make_module(execution=execution)
    monkeypatch.setattr(type(without), "learning_rate_factors", lambda self: {})
    trainer = fit(without, validate=False)
    assert [len(group["params"]) for group in trainer.optimizers[0].param_groups] == groups
    assert all(torch.equal(a, b) for a, b in zip(with_it.parameters(), without.parameters(), strict=True))


def test_the_groups_say_so(make_module, fit):
    module = make_module(head_lr_factor=0.2)
    found = fit(module, validate=False).optimizers[0].param_groups
    heads = [group for group in found if group.get("lr_factor") == 0.2]
    assert {id(p) for group in heads for p in group["params"]} == {id(p) for p in module.head.parameters()}
    assert [group["lr"] for group in heads] == [pytest.approx(0.2 * RATE)] * 2
    assert all("lr_factor" not in group and group["lr"] == RATE for group in found if group.get("lr_factor") != 0.2)


def test_factors_of_an_encoder_and_of_the_head_are_multiplied(make_module):
    module = make_module(head_lr_factor=0.5)
    module.head.learning_rate_factors = lambda: {module.head.blocks[0].gather_weight: 0.5}
    found = {id(p): g.get("lr_factor") for g in parameter_groups(module) for p in g["params"]}
    block = module.head.blocks[0]
    assert (found[id(block.gather_weight)], found[id(block.spread_weight)]) == (0.25, 0.5)
    assert found[id(module.decoder.weight)] is None


def test_a_pair_may_have_a_rate_of_its_own(tmp_path):
    """`${modern:head_lr_factor}`: what suits this encoder on this corpus."""
    words = ["dataset=toy", "encoder=bow", "+dataset.modern.encoders.bow.head_lr_factor=0.1"]
    assert compose_checked(words).recipe.head_lr_factor == 0.1
    assert compose_checked([*words, "encoder=xmlcnn"]).recipe.head_lr_factor == 1.0
    assert compose_checked([*words, "recipe=paper", "embedding=random"]).recipe.head_lr_factor == 1.0
    with pytest.raises(InputError, match="recipe.head_lr_factor: expected a number of at least 0, got the number -1"):
        compose_checked(["recipe.head_lr_factor=-1"])


def test_a_built_module_has_it(tmp_path):
    words = ["encoder=bow", "encoder.embedding.size=4", "dataset.source.train=40", "dataset.source.validation=10",
             "dataset.source.test=10", "logger=csv", "recipe.head_lr_factor=0.25", f"paths.cache_dir={tmp_path}",
             "prepare_workers=1", "hydra.run.dir=."]  # fmt: skip
    config = OmegaConf.to_container(OmegaConf.masked_copy(compose_checked(words), KEYS), resolve=True)
    assert build(config).module.head_lr_factor == 0.25
    config["recipe"].pop("head_lr_factor")  # somebody's own recipe, or one of before
    assert build(config).module.head_lr_factor == 1.0
