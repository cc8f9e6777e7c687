"""Options that cannot be used: one line that names the command and the option, exit code 2, from every command."""

import importlib

import pytest

import xmtc
from xmtc.errors import InputError


@pytest.mark.parametrize(
    "words, line",
    [
        ("search --into s --trials x a=1,2", "xmtc.search: --trials: expected a whole number, got 'x';"),
        ("search a=1,2", "xmtc.search: the following arguments are required: --into;"),
        ("calibrate run --precision much", "xmtc.calibrate: --precision: expected a number, got 'much';"),
        ("explain run", "xmtc.explain: one of the arguments --text --input --model is required;"),
        ("analyse run --threshold 2", "xmtc.analyse: --threshold: expected a number of at least 0 and up to 1, got 2;"),
        ("analyse run --epsilon 0", "xmtc.analyse: --epsilon: expected a number above 0, got 0;"),
        ("analyse run --cases -1", "xmtc.analyse: --cases: expected a whole number of at least 0, got -1;"),
        ("analyse run --groups a,b", "xmtc.analyse: --groups: expected a number, got 'a';"),
        ("analyse run --groups .7,.5", "xmtc.analyse: --groups: expected shares of at most 1 in all, got .7,.5;"),
        ("report", "xmtc.report: the following arguments are required: RUN_OR_MULTIRUN_DIR;"),
        ("report run --resamples 0", "xmtc.report: --resamples: expected a whole number of at least 1, got 0;"),
        ("ensemble run run", "xmtc.ensemble: the following arguments are required: --output;"),
        ("reproduce", "xmtc.reproduce: the following arguments are required: RUN;"),
        ("serve", "xmtc.serve: the following arguments are required: RUN;"),
        ("export", "xmtc.export: the following arguments are required: RUN;"),
        ("data.__main__ show", "xmtc.data show: the following arguments are required: name;"),
        ("data.__main__ stats toy --near", "xmtc.data: unrecognized arguments: --near;"),
        ("bench.__main__ classifier --labels 0", "xmtc.bench: --labels: expected a whole number of at least 1, got 0;"),
        ("bench.__main__ classifier --lables 3", "xmtc.bench: unrecognized arguments: --lables 3;"),
    ],
)
def test_one_line(words, line, capsys):
    name, *words = words.split()
    with pytest.raises(SystemExit) as left:
        importlib.import_module(f"xmtc.{name}").main(words)
    said = capsys.readouterr().err
    assert left.value.code == 2 and said.startswith(line) and said.count("\n") == 1


@pytest.mark.parametrize("name", ["report", "analyse", "reproduce", "calibrate"])
def test_a_folder_that_is_none(name, capsys, tmp_path):
    assert importlib.import_module(f"xmtc.{name}").main([str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"xmtc.{name}: {tmp_path}/none: ") and said.count("\n") == 1


def test_one_text_is_no_list_of_overrides():
    with pytest.raises(InputError, match=r"overrides: expected a list of key=value, got one text"):
        xmtc.run("dataset=toy")
