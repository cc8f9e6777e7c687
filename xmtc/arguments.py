"""The command line of commands that take options: argparse, with complaints in one line as all of ours."""

from __future__ import annotations

import argparse
import re
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, get_args

KINDS = {"int": "a whole number", "float": "a number"}


class Help(argparse.HelpFormatter):
    """Tells every default; paragraphs are wrapped, indented lines stay as they are."""

    def _get_help_string(self, action: argparse.Action) -> str:
        default, about = action.default, action.help or ""
        untold = default is None or default is False or default == [] or default == argparse.SUPPRESS
        if untold or "(default: " in about:
            return about
        shown = " ".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)
        return f"{about} (default: {shown.replace('%', '%%')})"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        found = []
        for part in text.split("\n\n"):
            lines = part.strip("\n").splitlines()
            kept = any(line.startswith(" ") for line in lines)
            found.append("\n".join(lines) if kept else textwrap.fill(" ".join(lines), width))
        return "\n\n".join(found)


class Arguments(argparse.ArgumentParser):
    """prog: "python -m xmtc.NAME". What cannot be used ends with exit code 2 and one line that names the option.

    examples: command lines without the program, shown below the options. notes: what follows them.
    """

    def __init__(self, *, prog: str, examples: Sequence[str] = (), notes: str = "", **options: Any) -> None:
        shown = ["examples:\n" + "\n".join(f"  {prog} {words}" for words in examples)] if examples else []
        super().__init__(
            prog=prog, formatter_class=Help, epilog="\n\n".join([*shown, *([notes] if notes else [])]), **options
        )

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
