"""A constructor's signature is its schema."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest

from xmtc.bounds import Bounds
from xmtc.config import check_node, config_dir
from xmtc.config.check import check_base
from xmtc.errors import InputError


class Inner:
    def __init__(self, size: int = 3):
        pass


class Head:
    def __init__(
        self,
        num_labels: int,
        rank: int = 100,
        dropout: float = 0.1,
        zero_init: bool = False,
        activation: Literal["none", "elu", "gelu"] = "elu",
        name: str = "x",
        limit: int | None = None,
        widths: list[int] = [1],
        span: tuple[int, int] = (1, 2),
        inner: Inner | None = None,
        table: dict[str, float] | None = None,
        few: Annotated[int, Bounds(least=1, most=3)] | None = None,
        above: Annotated[float, Bounds(above=0)] = 1.0,
        folder: Path | None = None,
        loose=None,
    ):
        pass


class Anything:
    def __init__(self, first: int = 1, **rest):
        pass


@pytest.fixture(autouse=True)
def module(monkeypatch):
    fake = types.ModuleType("fake_heads")
    fake.Head, fake.Inner, fake.Anything = Head, Inner, Anything
    monkeypatch.setitem(sys.modules, "fake_heads", fake)


def head(**keys):
    return {"_target_": "fake_heads.Head", **keys}


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"rank": 5},
        {"few": 1},
        {"few": 3},
        {"few": None},
        {"above": 1e-9},
        {"dropout": 1},
        {"zero_init": True},
        {"activation": "gelu"},
        {"limit": None},
        {"limit": 3},
        {"widths": [1, 2]},
        {"span": [1, 2]},
        {"inner": {"_target_": "fake_heads.Inner", "size": 4}},
        {"_partial_": True},
        {"table": {"a": 1}},
        {"folder": "a/b"},
        {"loose": object},
        {"num_labels": 7},
        {"rank": np.int64(5), "limit": np.uint8(2), "above": np.float32(0.5), "dropout": np.int32(1)},
    ],
)
def test_accepts(keys):
    check_node(head(**keys), "head")


@pytest.mark.parametrize(
    "keys, line",
    [
        ({"rnk": 5}, "head.rnk: unknown key; Head takes rank, dropout, zero_init"),
        ({"rnk": 5}, "did you mean rank?"),
        ({"rank": "five"}, "head.rank: expected a whole number, got the text five"),
        ({"rank": True}, "head.rank: expected a whole number, got true"),
        ({"rank": 2.5}, "head.rank: expected a whole number, got the number 2.5"),
        ({"rank": None}, "head.rank: expected a whole number, got null"),
        ({"rank": np.float64(2)}, "head.rank: expected a whole number, got"),
        ({"rank": np.bool_(True)}, "head.rank: expected a whole number, got"),
        ({"few": np.int64(4)}, "head.few: expected a whole number of at least 1 and up to 3 or null, got"),
        ({"few": 0}, "head.few: expected a whole number of at least 1 and up to 3 or null, got the number 0"),
        ({"few": 4}, "got the number 4"),
        ({"few": "a"}, "got the text a"),
        ({"above": 0}, "head.above: expected a number above 0, got the number 0"),
        ({"above": float("inf")}, "got the number inf"),
        ({"above": float("nan")}, "got the number nan"),
        ({"dropout": "a"}, "head.dropout: expected a number"),
        ({"zero_init": 1}, "head.zero_init: expected true or false"),
        ({"activation": "relu"}, "head.activation: expected one of none, elu, gelu, got the text relu"),
        ({"name": 2024}, "head.name: expected text, got the number 2024; quote it"),
        ({"limit": "x"}, "head.limit: expected a whole number or null"),
        ({"widths": ["a"]}, "head.widths: expected a list of a whole number"),
        ({"span": [1]}, "head.span: expected a list of a whole number"),
        ({"table": {"a": "b"}}, "head.table: expected a mapping or null"),
        ({"inner": 3}, "head.inner: expected a Inner"),
        ({"inner": {"_target_": "fake_heads.Inner", "sise": 4}}, "head.inner.sise: unknown key; Inner takes size"),
        ({"rank": "???"}, "head.rank: must be given"),
    ],
)
def test_refuses_in_one_line(keys, line):
    with pytest.raises(InputError) as error:
        check_node(head(**keys), "head")
    assert line in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "target, line",
    [
        ("fake_heads.Haed", "head._target_: fake_heads has no Haed; did you mean Head?"),
        ("no_such_package.Head", "head._target_: there is no module no_such_package"),
        ("xmtc.heads.no_such.Head", "head._target_: xmtc.heads has no no_such"),
        ("Head", "head._target_: expected package.module.Name"),
    ],
)
def test_target_that_cannot_be_imported(target, line):
    with pytest.raises(InputError) as error:
        check_node({"_target_": target}, "head")
    assert str(error.value).startswith(line)


def test_a_missing_dependency_is_named(tmp_path, monkeypatch):
    (tmp_path / "wants_much.py").write_text("import not_installed_anywhere\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="needs the package not_installed_anywhere"):
        check_node({"_target_": "wants_much.Head"}, "head")


def test_keyword_arguments_are_let_through():
    check_node({"_target_": "fake_heads.Anything", "first": 2, "whatever": "x"}, "logger")
    with pytest.raises(InputError, match="logger.first"):
        check_node({"_target_": "fake_heads.Anything", "first": "x"}, "logger")


def test_everything_inside_is_checked():
    with pytest.raises(InputError, match=r"callbacks\.a\[1\]\.rnk"):
        check_node({"a": [head(), head(rnk=1)]}, "callbacks")


def test_other_peoples_components():
    check_node({"_target_": "torch.optim.AdamW", "_partial_": True, "lr": 0.001, "betas": [0.9, 0.98]}, "optimizer")
    check_node({"_target_": "torch.nn.Linear", "in_features": 3, "out_features": 4}, "layer")
    with pytest.raises(InputError, match="optimizer.weight_deca: unknown key.*did you mean weight_decay"):
        check_node({"_target_": "torch.optim.AdamW", "weight_deca": 0.1}, "optimizer")


@pytest.mark.parametrize("where, base", [("encoder", "xmtc.encoders.base.Encoder"), ("head", "CorrelationHead")])
def test_a_component_that_is_of_another_kind(where, base):
    message = rf"^{where}._target_: expected a subclass of .*{base}.*, got torch.nn.*Linear$"
    with pytest.raises(InputError, match=message):
        check_base({"_target_": "torch.nn.Linear"}, where)


@pytest.mark.parametrize(
    "where, target",
    [
        ("encoder", "xmtc.encoders.bow.BagOfWords"),
        ("encoder", "xmtc.fitted.br.BinaryRelevance"),
        ("head", "xmtc.heads.lcenet.LCENet"),
        ("execution", "torch.nn.Linear"),  # of whose kind nothing is said
        ("head", "functools.reduce"),  # a function may return anything
    ],
)
def test_a_component_of_the_right_kind(where, target):
    check_base({"_target_": target}, where)


@pytest.mark.parametrize("target, key, value, expected", [
    ("encoders.bertxml.BertXML", "variant", "original", "one of authors, fixed"),
    ("encoders.bertxml.BertXML", "layers", 0, "a whole number of at least 1"),
    ("encoders.star_transformer.StarTransformer", "cycles", 0, "a whole number of at least 1"),
    ("encoders.labelcorank.LabelCoRank", "gamma", 0, "a whole number of at least 1"),
    ("encoders.labelcorank.LabelCoRank", "alpha", 1.1, "a number of at least 0 and up to 1"),
    ("encoders.labelcorank.LabelCoRank", "beta", 0.0, "a number above 0 and below 1"),
    ("encoders.labelcorank.LabelCoRank", "beta", 1.0, "a number above 0 and below 1"),
    ("encoders.labelcorank.LabelCoRank", "selection", "best", "one of cooccurrence, top_prob"),
    ("encoders.laco.LACO", "kernel", "3d", "one of 2d, 1d"),
    ("encoders.laco.LACO", "plcp", -1.0, "a number of at least 0"),
    ("encoders.transformer.Transformer", "pooling", "max", "one of cls, mean, pooler"),
    ("encoders.match.MATCH", "output_weight", -1, "a number of at least 0 or null"),
    ("encoders.xmlcnn.XMLCNN", "normalise", "group", "one of layer, batch or null"),
    ("heads.lcenet.LCENet", "rank", 0, "a whole number of at least 1"),
    ("heads.lcenet.LCENet", "blocks", 0, "a whole number of at least 1"),
    ("heads.lcenet.LCENet", "dropout", 1.0, "a number of at least 0 and below 1"),
    ("heads.lcenet.LCENet", "raw_loss_weight", -1.0, "a number of at least 0"),
    ("training.objectives.Focal", "gamma", -1, "a number of at least 0"),
    ("training.objectives.Asymmetric", "margin", 1.0, "a number of at least 0 and below 1"),
    ("training.objectives.Asymmetric", "gamma_negative", -1, "a number of at least 0"),
    ("training.clipping.Clipping", "norm", 0.0, "a number above 0"),
    ("training.schedules.Schedule", "warmup", 1.0, "a number of at least 0 and below 1"),
    ("fitted.br.BinaryRelevance", "c", 0.0, "a number above 0"),
    ("data.text.Words", "length", 0, "a whole number of at least 1 or null"),
    ("data.text.Words", "vocabulary_size", 2, "a whole number of at least 3"),
    ("data.text.Words", "style", "nice", "one of fast, papers"),
    ("data.sources.toy.ToySource", "train", 0, "a whole number of at least 1"),
    ("data.sources.toy.ToySource", "words", 2, "a whole number of at least 3"),
    ("data.sources.toy.ToySource", "noise", -1, "a whole number of at least 0"),
    ("data.sources.tables.CsvSource", "text_column", 3, "text or a list of text"),
    ("execution.chunked.Chunked", "chunk", 0, "a whole number of at least 1 or null"),
    ("execution.chunked.Chunked", "keep_raw", 2, "true or false or a number of at least 0 and up to 1"),
    ("execution.sharded.Sharded", "chunk", "abc", "a whole number of at least 1 or null"),
    ("execution.shortlist.Shortlist", "negatives", 0, "a whole number of at least 1"),
])  # fmt: skip
def test_what_a_component_cannot_take_is_refused_by_its_signature(target, key, value, expected):
    with pytest.raises(InputError, match=f"^node.{key}: expected {expected}, got the "):
        check_node({"_target_": f"xmtc.{target}", key: value}, "node")


def test_every_component_of_ours_names_what_it_takes():
    """Of one that takes anything nothing could be checked."""
    found = {line.split()[1] for path in config_dir().rglob("*.yaml") for line in path.read_text().splitlines()
             if line.strip().startswith("_target_: xmtc.")}  # fmt: skip
    assert len(found) > 40
    for target in sorted(found):
        with pytest.raises(InputError, match="^node.no_such_key: unknown key"):
            check_node({"_target_": target, "no_such_key": 1}, "node")
