"""Options that cannot be used: one line that names the command and the option, exit code 2, from every command; and
what --help tells of those that can."""

import argparse
import importlib

import pytest

import xmtc
from tests.commands.test_entries import NAMES
from xmtc.arguments import Arguments
from xmtc.errors import InputError


@pytest.mark.parametrize(
    "words, line",
    [
        ("search --into s --trials x a=1,2", "xmtc.search: --trials: expected a whole number, got 'x';"),
        ("search a=1,2", "xmtc.search: the following arguments are required: --into;"),
        ("search --into s --jobs 0 a=1", "xmtc.search: --jobs: expected a whole number of at least 1, got 0;"),
        ("explain run --model --count 0", "xmtc.explain: --count: expected a whole number of at least 1, got 0;"),
        ("explain run --text x -k 0", "xmtc.explain: -k: expected a whole number of at least 1, got 0;"),
        (
            "ensemble a b --output c --train-documents 0",
            "xmtc.ensemble: --train-documents: expected a whole number of at least 1, got 0;",
        ),
        ("calibrate run --precision much", "xmtc.calibrate: --precision: expected a number, got 'much';"),
        ("explain run", "xmtc.explain: one of the arguments --text --input --model is required;"),
        ("analyse run --threshold 2", "xmtc.analyse: --threshold: expected a number of at least 0 and up to 1, got 2;"),
        ("analyse run --epsilon 0", "xmtc.analyse: --epsilon: expected a number above 0, got 0;"),
        ("analyse run --cases -1", "xmtc.analyse: --cases: expected a whole number of at least 0, got -1;"),
        (
            "analyse run --head-share 0",
            "xmtc.analyse: --head-share: expected a number above 0 and up to 1, got 0;",
        ),
        ("analyse run --documents 1,x", "xmtc.analyse: --documents: expected a whole number, got 'x';"),
        ("analyse run --groups a,b", "xmtc.analyse: --groups: expected a number, got 'a';"),
        ("analyse run --groups .7,.5", "xmtc.analyse: --groups: expected shares of at most 1 in all, got .7,.5;"),
        ("report", "xmtc.report: the following arguments are required: RUN_OR_MULTIRUN_DIR;"),
        ("report run --resamples 0", "xmtc.report: --resamples: expected a whole number of at least 1, got 0;"),
        ("ensemble run run", "xmtc.ensemble: the following arguments are required: --output;"),
        ("reproduce", "xmtc.reproduce: the following arguments are required: RUN;"),
        ("serve", "xmtc.serve: the following arguments are required: RUN;"),
        ("export", "xmtc.export: the following arguments are required: RUN;"),
        ("data.__main__ show", "xmtc.data show: the following arguments are required: NAME;"),
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


@pytest.mark.parametrize(
    "words", ["report a --resamples 9 b", "analyse a --cases 1 b", "ensemble a --output c b", "search a=1 --into c b=2"]
)
def test_options_may_stand_between(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name, *words = words.split()
    assert importlib.import_module(f"xmtc.{name}").main(words) == 2  # there are no such runs, and nothing to search
    assert "unrecognized" not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["report", "analyse", "reproduce", "calibrate"])
def test_a_folder_that_is_none(name, capsys, tmp_path):
    assert importlib.import_module(f"xmtc.{name}").main([str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"xmtc.{name}: {tmp_path}/none: ") and said.count("\n") == 1


def commands_with_options():
    return sorted(set(NAMES) - {"run", "prepare", "predict", "evaluate", "enhance", "estimate"})  # key=value alone


def said(name, words, capsys):
    with pytest.raises(SystemExit) as left:
        importlib.import_module(f"xmtc.{name}.__main__" if name in ("bench", "data") else f"xmtc.{name}").main(words)
    assert not left.value.code
    return capsys.readouterr().out


@pytest.mark.parametrize("name", commands_with_options())
def test_help_tells_every_option_its_default_and_an_example(name, capsys, monkeypatch):
    parsers = []
    monkeypatch.setattr(argparse.ArgumentParser, "print_help", lambda parser: parsers.append(parser))
    monkeypatch.setenv("COLUMNS", "200")
    said(name, ["--help"], capsys)
    (parser,) = parsers
    texts = {parser: parser.format_help()}
    (chosen,) = [each.choices for each in parser._actions if isinstance(each.choices, dict) and name == "data"] or [{}]
    texts |= {command: command.format_help() for command in chosen.values()}
    for each, text in texts.items():
        for action in each._actions:
            assert action.help or action.choices is chosen, action
            metavar = not action.option_strings or action.nargs == 0 or action.choices or action.metavar
            assert metavar, f"{action.option_strings} takes what?"
            if isinstance(action.default, int | float | str) and action.nargs != 0:
                (line,) = [line for line in text.splitlines() if line.split()[:1] == action.option_strings]
                assert f"(default: {action.default})" in line or action.default == argparse.SUPPRESS, line
    assert f"examples:\n  python -m xmtc.{name} " in texts[parser]


@pytest.mark.parametrize("name", ["prepare", "estimate"])
def test_help_of_a_command_that_takes_overrides_of_a_run(name, capsys):
    importlib.import_module(f"xmtc.{name}").main(["--help"])
    out = capsys.readouterr().out
    assert out.startswith(f"usage: python -m xmtc.{name} ") and f"examples:\n  python -m xmtc.{name} " in out


def test_help_of_a_bench_names_its_shapes(capsys):
    out = said("bench", ["classifier", "--help"], capsys)
    assert "--labels N" in out and "(default: 501008)" in out


def test_defaults_and_paragraphs_of_a_help(monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    parser = Arguments(
        prog="python -m xmtc.x", description="One\ntwo.\n\n  kept\n   so", examples=["a", "--zero 1"], notes="More."
    )
    parser.add_argument("--zero", type=int, default=0, metavar="N", help="100 %%")
    parser.add_argument("--many", nargs="*", default=["5 %", 1], metavar="N", help="of them")
    parser.add_argument("--own", default=3, metavar="N", help="of it (default: some)")
    parser.add_argument("--none", metavar="N", help="of none")
    parser.add_argument("--empty", nargs="*", default=[], metavar="N", help="of no one")
    parser.add_argument("--switch", action="store_true", help="of it all")
    lines = [line.rstrip() for line in parser.format_help().splitlines()]
    assert "One two.\n\n  kept\n   so\n" in "\n".join(lines)
    told = {line.split()[0]: line for line in lines if line.startswith("  --")}
    assert told["--zero"].endswith("  100 % (default: 0)") and told["--own"].endswith("  of it (default: some)")
    assert told["--none"].endswith("  of none") and told["--switch"].endswith("  of it all")
    assert told["--many"].endswith("  of them (default: 5 % 1)") and told["--empty"].endswith("  of no one")
    assert lines[-5:] == ["examples:", "  python -m xmtc.x a", "  python -m xmtc.x --zero 1", "", "More."]


def test_what_is_no_list_of_overrides():
    for given in ("dataset=toy", 5, None):
        with pytest.raises(InputError, match=f"^overrides: expected a list of settings, got {given!r}"):
            xmtc.run(given)
    for given in ([5], iter(["seed=1", None])):
        with pytest.raises(InputError, match="^overrides: expected key=value, got"):
            xmtc.run(given)
