"""`python -m xmtc.evaluate checkpoint=RUN input=FILE [labels=FILE] [output=DIR]`: a model on labelled documents.

Prints the metrics and logs to stderr. Exit code 0; 2 for input that cannot be used; 130 after Ctrl-C.
"""

from __future__ import annotations

import sys

from omegaconf import DictConfig, OmegaConf

from xmtc.entry import start

TARGET = {"_target_": "xmtc.predicting.evaluation.evaluate_file"}
SHOWN = ("P", "nDCG", "R-precision", "PSP")


def main(argv: list[str] | None = None) -> None:
    """Command line. Leaves through SystemExit with the exit code."""
    hint = "nothing was written"
    start(
        "xmtc.evaluate", _job, sys.argv[1:] if argv is None else argv, config_name="evaluate", check=_check, hint=hint
    )


def _check(config: DictConfig) -> None:
    from xmtc.config import check_node

    check_node(OmegaConf.to_container(config, resolve=True) | TARGET, "")


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
