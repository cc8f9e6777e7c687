"""JSON and YAML of strangers: what is one is read as the libraries do, all else is one line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmtc.errors import InputError
from xmtc.parsing import DEEPEST, parse_json, read_json, read_yaml

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_writes_is_read(value):
    text = json.dumps(value)
    assert parse_json(text, "here") == value == parse_json(text.encode(), "here")


@pytest.mark.parametrize("depth, fine", [(DEEPEST, True), (DEEPEST + 1, False), (100_000, False)])
@pytest.mark.parametrize("left, right", [("[", "]"), ('{"a":', "}")])
def test_a_bounded_depth(depth, fine, left, right):
    text = left * (depth - 1) + ("[]" if left == "[" else "{}") + right * (depth - 1)
    if fine:
        assert parse_json(text, "here") == json.loads(text)
    else:
        with pytest.raises(InputError, match=r"^here: malformed JSON \("):
            parse_json(text, "here")


def test_many_brackets_side_by_side_are_no_depth():
    assert parse_json("[" + ",".join(["[]"] * 1000) + "]", "here") == [[]] * 1000


MALFORMED = {
    "json": [b"", b"{", b"\xff", b"9" * 5000, b"{'a': 1}", b"[" * 5000, b'{"a":' * 5000, b"\x00"],
    "yaml": [b"a: [", b"\xff\xfe", b"\x00", b"!!bool x", b"!!int ''", b"!!float ''", b"!!timestamp x", b"2001-99-99",
             b"{[1]: 2}", b"? {a: 1}\n: 2", b"!!python/object/apply:os.getcwd []", b"[" * 5000, b"&a [*a]",
             b"&a {b: *a}", b"*a", b"=", b"9" * 5000, b"a: b: c", b"!!binary x"],
}  # fmt: skip


@pytest.mark.parametrize("ending, content", [(e, content) for e, several in MALFORMED.items() for content in several])
def test_anything_else_is_one_line(tmp_path, ending, content):
    path = tmp_path / f"file.{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        {"json": read_json, "yaml": read_yaml}[ending](path, dict)
    line = str(error.value)
    assert line.startswith(f"{path}: not readable {ending.upper()} (") and "\n" not in line and len(line) < 500


def test_kinds_and_files_that_are_not_there(tmp_path):
    path = tmp_path / "file"
    path.write_text("[1]")
    assert read_json(path) == read_json(path, list) == read_yaml(path, list) == [1]
    with pytest.raises(InputError, match=r"expected an object, found list"):
        read_json(path, dict)
    for missing in (tmp_path / "nothing", tmp_path, path / "below"):
        with pytest.raises(InputError, match="not readable YAML"):
            read_yaml(missing)
    path.write_bytes(b"\xef\xbb\xbf{}")  # as some editors begin a file
    assert read_json(path, dict) == read_yaml(path, dict) == {}
    path.write_text("")
    assert read_yaml(path) is None


def test_files_are_read_here_alone():
    """A reader of its own would forget one of the exceptions."""
    package = Path(__file__).parents[1] / "xmtc"
    ours = {"parsing.py"}
    ours |= {"bench/estimate.py", "bench/classifier.py", "testing/jobs.py"}  # what they have written themselves
    ours |= {"data/cards.py", "data/__main__.py", "loading.py", "config/keys.py"}  # of conf/, which is a program's
    readers = ("json.load", "safe_load", "yaml.load", "OmegaConf.load")
    texts = {path.relative_to(package).as_posix(): path.read_text() for path in package.rglob("*.py")}
    assert {name for name, text in texts.items() if any(reader in text for reader in readers)} == ours
