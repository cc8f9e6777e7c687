from dataclasses import dataclass
from typing import Literal

import pytest

from xmtc.config.settings import describe_settings, read_settings
from xmtc.errors import InputError
from xmtc.serving.settings import Settings


@dataclass
class Example:
    kind: Literal["red", "green"]
    folder: str | None = None
    size: float = 1.5
    count: int = 3
    quick: bool = False


def test_values_get_the_types_of_the_fields():
    words = ["kind=red", "folder=a=b c", "size=1e-3", "count=7", "quick=true"]
    assert read_settings(Example, words) == Example("red", "a=b c", 0.001, 7, True)
    assert read_settings(Example, ["kind=green", "folder=2026"]).folder == "2026"
    assert read_settings(Example, ["kind=green", "folder=null", "size=2"]) == Example("green", None, 2)
    assert read_settings(Example, ["kind=green", "folder=*: {"]).folder == "*: {"


@pytest.mark.parametrize(
    "words, says",
    [
        ([], "kind: must be given"),
        (["kind=blue"], "kind: expected one of red, green, got the text blue"),
        (["kind=red", "cuont=1"], "did you mean count"),
        (["kind=red", "--count=1"], "without dashes: count=1"),
        (["kind=red", "count"], "expected key=value"),
        (["kind=red", "count=1.5"], "count: expected a whole number, got the number 1.5"),
        (["kind=red", "count=true"], "count: expected a whole number"),
        (["kind=red", "quick=1"], "quick: expected true or false"),
        (["kind=red", "size=large"], "size: expected a number, got the text large"),
        (["kind=red", "count="], "count: expected a whole number, got null"),
        (["kind=red", "count={_target_: os.system}"], "count: expected a whole number, got the text {_target_"),
        (["kind=red", "count=!!bool x"], "count: expected a whole number, got the text"),
        (["kind=red", "size=" + "[" * 3000], "size: expected a number, got the text"),
    ],
)
def test_what_does_not_fit_is_named(words, says):
    with pytest.raises(InputError) as error:
        read_settings(Example, words)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_the_help_names_every_key_and_default():
    lines = describe_settings(Example).splitlines()
    assert [line.split()[0] for line in lines] == ["kind", "folder", "size", "count", "quick"]
    assert "[null]" in lines[1] and "[1.5]" in lines[2] and "[false]" in lines[4]


@pytest.mark.parametrize(
    "word", ["timeout=.nan", "linger=.inf", "max_wait_ms=-1", "timeout=0", "threads=0", "port=70000"]
)
def test_limits_of_the_server_are_numbers(word):
    with pytest.raises(InputError, match=f"^{word.partition('=')[0]}: expected at (least|most)"):
        read_settings(Settings, [word])
    assert read_settings(Settings, ["port=0", "linger=0", "timeout=0.5"]).timeout == 0.5
