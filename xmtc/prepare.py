"""`python -m xmtc.prepare dataset=D [overrides]`: turn a corpus into a store, once; `xmtc.run` does it if need be.

Takes the overrides of `xmtc.run`, so that it prepares what that run will look for (the encoder decides the tokens).
"""

from __future__ import annotations

import sys

from omegaconf import DictConfig, OmegaConf

from xmtc.entry import start

# Hydra would leave a log file in the folder that the command is given in
NO_FOLDER = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=stdout")


def main(argv: list[str] | None = None) -> None:
    """Command line; exit code 2 for a corpus or configuration that cannot be used, with nothing left half-written."""
    start("xmtc.prepare", _job, sys.argv[1:] if argv is None else argv, NO_FOLDER, usage=__doc__)


def _job(config: DictConfig) -> None:
    from xmtc.training.build import make, open_store

    plain = OmegaConf.to_container(config, resolve=True)
    store = open_store(plain, make(plain["encoder"]["text"]))
    print(store.folder)


if __name__ == "__main__":
    main()
