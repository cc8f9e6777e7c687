"""`python -m xmtc.evaluate checkpoint=RUN input=FILE [labels=FILE] [output=DIR]`: a model on labelled documents.

Prints the metrics and logs to stderr. Exit code 0; 2 for input that cannot be used; 130 after Ctrl-C.
"""

from __future__ import annotations

import sys

from omegaconf import DictConfig, OmegaConf

from xmtc.entry import start

SHOWN = ("P", "nDCG", "R-precision", "PSP")


def main(argv: list[str] | None = None) -> None:
    """Command line. Leaves through SystemExit with the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    component, hint = "xmtc.predicting.evaluation.evaluate_file", "nothing was written"
    start("xmtc.evaluate", _job, arguments, config_name="evaluate", component=component, hint=hint)


def _job(config: DictConfig) -> None:
    from xmtc.predicting.evaluation import evaluate_file

    given = OmegaConf.to_container(config, resolve=True)
    scores = evaluate_file(**given)["test"]
    names = [f"{name}@{k}" for name in SHOWN for k in sorted(set(given["ks"]))]
    names += ["micro-F1", "macro-F1", "subset-accuracy"]
    for name in names:
        print(f"{name:16}{100 * scores[name]:7.2f}")


if __name__ == "__main__":
    main()
