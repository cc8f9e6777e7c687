"""The command line of commands that take options: argparse, with complaints in one line as all of ours."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from typing import Any, NoReturn, get_args

KINDS = {"int": "a whole number", "float": "a number"}


class Arguments(argparse.ArgumentParser):
    """prog: "python -m xmtc.NAME". What cannot be used ends with exit code 2 and one line that names the option."""

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument (\S+): ", lambda found: f"{found[1].split('/')[-1]}: ", message)
        message = re.sub(
            r"invalid (\w+) value: (.*)$",
            lambda found: f"expected {KINDS.get(found[1], found[1])}, got {found[2]}",
            message,
        )
        name = self.prog.removeprefix("python -m ")
        self.exit(2, f"{name}: {message}; {self.prog} --help tells more\n")


def bounded(kind: Any) -> Callable[[str], Any]:
    """`type=` of an option that is a number of xmtc.bounds."""
    made, bounds = get_args(kind)

    def read(text: str) -> Any:
        try:
            value = made(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected {KINDS[made.__name__]}, got {text!r}") from None
        if value not in bounds:
            raise argparse.ArgumentTypeError(f"expected {KINDS[made.__name__]} {bounds}, got {text}")
        return value

    return read
