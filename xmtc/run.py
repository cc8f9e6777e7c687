"""`python -m xmtc.run [overrides]`: train and test one encoder x head x dataset, or a sweep of them with -m.

Exit code 0 only if training and testing finished; 2 for what cannot be used; 75 after SIGTERM, 130 after Ctrl-C.
"""

from __future__ import annotations

import sys
from pathlib import Path

from xmtc.config.paths import unquoted
from xmtc.entry import bad_input, start
from xmtc.errors import InputError
from xmtc.job import continued, job, refuse_used
from xmtc.lean import lean_imports
from xmtc.sweeping.listing import asks_for_a_list, listing


def main(argv: list[str] | None = None) -> None:
    """Command line. Leaves through SystemExit with the exit code."""
    try:
        lean_imports()  # a list of jobs checks their components
        arguments = continued(sys.argv[1:] if argv is None else argv)
        if asks_for_a_list(arguments):
            print(listing(arguments))
            return
        given = dict(word.partition("=")[::2] for word in arguments)
        if "hydra.run.dir" in given and not {"resume", "dry_run"} & given.keys():
            refuse_used(Path(unquoted(given["hydra.run.dir"])))  # Hydra writes there before a job begins
    except InputError as error:
        raise bad_input("xmtc.run", error) from None
    start("xmtc.run", job, arguments)


if __name__ == "__main__":
    main()
