"""`python -m xmtc.prepare dataset=D [overrides]`: turn a corpus into a store, once; `xmtc.run` does it if need be.

Takes the overrides of `xmtc.run`, so that it prepares what that run will look for (the encoder decides the tokens).
"""

from __future__ import annotations

import sys

from omegaconf import DictConfig, OmegaConf

from xmtc.entry import NO_FOLDER, start

USAGE = """\
usage: python -m xmtc.prepare [GROUP=CHOICE ...] [key=value ...]

Turns a corpus into a store, once, and prints the store's folder; a run does it by itself where the store is missing.
Takes what xmtc.run takes, so that it prepares what that run will look for: the encoder decides the tokens.

examples:
  python -m xmtc.prepare dataset=eurlex57k
  python -m xmtc.prepare dataset=csv dataset.path=my_corpus encoder=transformer
  python -m xmtc.prepare dataset=toy paths.cache_dir=stores prepare_workers=4

python -m xmtc.run --help names groups, choices, keys and their defaults.
"""


def main(argv: list[str] | None = None) -> None:
    """Command line; exit code 2 for a corpus or configuration that cannot be used, with nothing left half-written."""
    start("xmtc.prepare", _job, sys.argv[1:] if argv is None else argv, NO_FOLDER, usage=USAGE)


def _job(config: DictConfig) -> None:
    from xmtc.training.build import make, open_store

    plain = OmegaConf.to_container(config, resolve=True)
    store = open_store(plain, make(plain["encoder"]["text"]))
    print(store.folder)


if __name__ == "__main__":
    main()
