"""A small configuration tree of our own, so that these tests say what is wrong here and not in conf/."""

import pytest

from xmtc.config import check, compose

FILES = {
    "run.yaml": """
        defaults: [_self_, {encoder: cnn}, {head: none}, {dataset: toy}, {experiment: null}]
        seed: 0
        output: ${hydra:runtime.output_dir}
        environment: ${hydra:runtime.choices.encoder}
        """,
    "encoder/cnn.yaml": """
        _target_: fractions.Fraction
        numerator: ${paper:numerator,5}
        """,
    "encoder/cnn_large.yaml": """
        defaults: [cnn]
        """,
    "encoder/other.yaml": """
        _target_: datetime.timedelta
        days: ${paper:numerator,5}
        """,
    "head/none.yaml": "{}",
    "head/wide.yaml": "width: ${paper:width,[256]}",
    "dataset/toy.yaml": "name: toy",
    "dataset/csv.yaml": """
        name: csv
        path: ???
        """,
    "dataset/law.yaml": """
        name: law
        paper: {numerator: 7, width: 30, encoders: {fractions: {numerator: 9}, other: {numerator: null}}}
        """,
    "experiment/bad.yaml": """
        # @package _global_
        defaults: [override /encoder: nope]
        """,
    "experiment/typo.yaml": """
        # @package _global_
        sead: 3
        """,
    "experiment/grid.yaml": """
        # @package _global_
        hydra: {sweeper: {params: {head: "none,wide"}}}
        """,
    "experiment/broken.yaml": "a: [1",
}


def _write_tree(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").splitlines()
        indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        path.write_text("\n".join(line[indent:] for line in lines) + "\n")


@pytest.fixture
def tree(tmp_path, monkeypatch):
    folder = tmp_path / "conf"
    _write_tree(folder, FILES)
    monkeypatch.setattr(compose, "command_dir", lambda _: folder)
    monkeypatch.setattr(check, "BASES", {})  # its components are none
    return folder


@pytest.fixture
def write_tree():
    """`write_tree(folder, {path: text})`."""
    return _write_tree
