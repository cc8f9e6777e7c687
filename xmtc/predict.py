"""`python -m xmtc.predict checkpoint=RUN input=FILE|- [k=5] [threshold=…] [output=FILE]`: labels for documents.

Prints one JSON object a line, {"labels": [ids], "names": [...], "scores": [probabilities]}, and logs to stderr. Exit
code 0 when every document is answered; 2 for input that cannot be used; 130 after Ctrl-C; 141 when the reader of the
output has gone, as for any command of a pipe.
"""

from __future__ import annotations

import sys

from omegaconf import DictConfig, OmegaConf

from xmtc.entry import reader_gone, start


def main(argv: list[str] | None = None) -> None:
    """Command line. Leaves through SystemExit with the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    component, hint = "xmtc.predicting.job.predict_file", "with output=FILE the same command goes on where it stopped"
    start("xmtc.predict", _job, arguments, config_name="predict", component=component, hint=hint)


def _job(config: DictConfig) -> None:
    from xmtc.predicting.job import predict_file

    try:
        predict_file(**OmegaConf.to_container(config, resolve=True))
    except BrokenPipeError:
        raise SystemExit(reader_gone()) from None


if __name__ == "__main__":
    main()
