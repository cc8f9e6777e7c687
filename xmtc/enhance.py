"""`python -m xmtc.enhance scores=FILE labels=FILE test_scores=FILE output=DIR`: a head on another system's scores.

Scores may be dense, CSR or top-k lists of any system (linear, trees, an LLM). The head starts as the identity, so that
what it changes it has learnt. Labels outside a shortlist start at one logit, see xmtc/enhancing/scores.py.
"""

from __future__ import annotations

import sys

from omegaconf import DictConfig, OmegaConf

from xmtc.entry import start


def main(argv: list[str] | None = None) -> None:
    """Command line. Leaves through SystemExit with the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    component, hint = "xmtc.enhancing.job.enhance_scores", "nothing was written"
    start("xmtc.enhance", _job, arguments, config_name="enhance", component=component, hint=hint)


def _job(config: DictConfig) -> None:
    from xmtc.enhancing.job import enhance_scores

    result = enhance_scores(**OmegaConf.to_container(config, resolve=True))
    for part in ("validation", "test"):
        for when, scores in (result[part] or {}).items():
            shown = " ".join(f"{name} {100 * scores[name]:.2f}" for name in ("P@1", "P@3", "P@5", "nDCG@5", "PSP@5"))
            print(f"{part} {when}: {shown}")


if __name__ == "__main__":
    main()
