"""What --help says of a command's keys, against what the command takes."""

import subprocess

import pytest
import yaml
from omegaconf import OmegaConf

from xmtc.config import command_dir, compose_checked, keys
from xmtc.config.keys import describe_keys, keys_of

COMMANDS = ("run", "predict", "enhance", "evaluate")


def help_of(python, name, *words):
    done = subprocess.run([python, "-m", f"xmtc.{name}", "--help", *words], capture_output=True, text=True, timeout=100)
    assert done.returncode == 0 and not done.stderr
    return done.stdout


def content(name):
    return yaml.safe_load((command_dir(name) / f"{name}.yaml").read_text())


def settings(node, where=""):
    for key, value in node.items():
        if isinstance(value, dict):
            yield from settings(value, f"{where}{key}.")
        else:
            yield f"{where}{key}", value


@pytest.mark.parametrize("name", COMMANDS)
def test_every_key_has_its_default_and_meaning(name, python):
    wanted = dict(settings({k: v for k, v in content(name).items() if k not in ("defaults", "hydra")}))
    said = help_of(python, name)
    assert said.startswith(f"usage: python -m xmtc.{name} ") and "${" not in said and "$$" not in said
    lines = said.partition("keys [default]:\n")[2].partition("\n\n")[0].splitlines()
    told = {line.split()[0]: line for line in lines}
    assert told.keys() == wanted.keys()
    for key, value in wanted.items():
        *_, meaning = told[key].replace("]  ", ")  ").split(")  ")
        assert len(meaning.split()) > 1, told[key]
        if value == "???":
            assert "(must be given)" in told[key]
        elif "${" not in str(value):
            shown = told[key].partition("[")[2].rpartition("]  ")[0]
            assert yaml.safe_load(shown) == value, told[key]


def test_the_choices_that_a_run_makes_itself(python):
    words = help_of(python, "run").partition("without a word of yours: ")[2].partition(")")[0].split()
    assert {"dataset=toy", "encoder=xmlcnn", "head=lcenet"} < set(words)
    config = compose_checked([])
    assert compose_checked(words) == config
    assert not [word for word in words if OmegaConf.select(config, word.partition("=")[0]) is None]


def test_the_groups_of_a_run_are_its_own(python, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "first.yaml").write_text("{}\n")
    shown = help_of(python, "run", "--config-dir", str(tmp_path)).partition("without a word")[2].partition("keys [")[0]
    lines = dict(line.split(": ", 1) for line in shown.splitlines()[2:] if line)
    assert lines["head"] == "centred, cooccurrence, cornet, lcenet, none" and lines["mine"] == "first"
    conf = command_dir("run")
    folders = {path.parent.relative_to(conf).as_posix() for path in conf.rglob("*.yaml")} - {"."}
    assert set(lines) == {each for each in folders if each.split("/")[0] not in ("hydra", "command")} | {"mine"}


def test_a_key_without_a_word_of_its_meaning(tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(
        "# of mine\ndefaults:\n  - _self_\nsize: ${oc.env:SIZE,3}  # of all\nmode: a # b\nend: ???\n"
        "deep:  # of those\n  share: 0.5\n  like: ${deep.share}    # the same\nhydra:\n  job: x  # no key\n"
    )
    monkeypatch.setattr(keys, "command_dir", lambda _: tmp_path)
    assert keys_of("mine") == [
        ("size", "${oc.env:SIZE,3}", "of all"), ("mode", "a", "b"), ("end", "???", ""), ("deep.share", "0.5", ""),
        ("deep.like", "${deep.share}", "the same"),
    ]  # fmt: skip
    assert describe_keys("mine").splitlines() == [
        "  size        of all", "  mode        [a]  b", "  end         (must be given)  ", "  deep.share  [0.5]  ",
        "  deep.like   [that of deep.share]  the same",
    ]  # fmt: skip
