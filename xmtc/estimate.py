"""`python -m xmtc.estimate [overrides of xmtc.run] [run=false]`: what that run will need, before it is started.

Prints parameters, optimiser state, activations by phase and the peak memory of a process, and seconds of an epoch of
training: from a few real steps, or with run=false from small steps with few labels (no optimiser is made). The last
line is JSON, bytes and seconds. The store is prepared if it is missing. Exit code 2 for what cannot be used.
"""

from __future__ import annotations

import json
import sys

from omegaconf import DictConfig, OmegaConf

from xmtc.entry import NO_FOLDER, bad_input, start
from xmtc.errors import InputError

USAGE = f"""\
usage: python -m xmtc.estimate [GROUP=CHOICE ...] [key=value ...] [run=true|false]

What a run will need, before it is started.

{__doc__.split(chr(10) * 2)[1].strip()}

examples:
  python -m xmtc.estimate encoder=bertxml head=lcenet dataset=eurlex57k
  python -m xmtc.estimate dataset=synthetic dataset.like=wiki500k run=false

keys [default]:
  run  [true]  false: no real step is taken

python -m xmtc.run --help names groups, choices, and the other keys and their defaults.
"""


def main(argv: list[str] | None = None) -> None:
    """Command line. Leaves through SystemExit with the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        timed = _timed([word for word in words if word.startswith("run=")])
    except InputError as error:
        raise bad_input("xmtc.estimate", error) from None
    rest = [word for word in words if not word.startswith("run=")]
    hint = "nothing was changed"
    start("xmtc.estimate", lambda config: estimate(config, timed), rest, NO_FOLDER, hint=hint, usage=USAGE)


def _timed(given: list[str]) -> bool:
    value = given[-1].removeprefix("run=").lower() if given else "true"
    if value not in ("true", "false"):
        raise InputError(f"run: expected true or false, got {value}")
    return value == "true"


def estimate(config: DictConfig, timed: bool = True) -> dict:
    """Prints the estimate and returns what its JSON line holds."""
    import pytorch_lightning as pl

    from xmtc.estimating.run import modelled_seconds, needs, timed_seconds
    from xmtc.training.build import build

    plain = OmegaConf.to_container(config, resolve=True)
    pl.seed_everything(plain["seed"], workers=True, verbose=False)
    built = build(plain)
    devices = plain["trainer"]["devices"]
    processes = (devices if isinstance(devices, int) and devices > 0 else 1) * plain["trainer"].get("num_nodes", 1)
    found = needs(built, plain, processes)
    whole = timed and processes == 1
    seconds = timed_seconds(built, plain) if whole else modelled_seconds(built, plain, processes)
    result = {
        "parameters": sum(p.numel() for p in built.module.parameters()),
        "parameter_bytes": found.parameters,
        "optimizer_bytes": found.optimizer,
        "average_bytes": found.averages,
        "gradient_bytes": found.gradients,
        "activation_bytes": found.activations,
        "phase_bytes": found.phases,
        "base_bytes": found.base,
        "peak_bytes": found.peak,
        "execution": found.execution,
        "processes": processes,
        "seconds_per_step": seconds["step"],
        "seconds_per_epoch": seconds["epoch"],
    }
    for line in lines(result):
        print(line)
    print(json.dumps(result))
    return result


def lines(result: dict) -> list[str]:
    """The estimate for people: a label and an amount a line."""
    from xmtc.estimating.run import size

    rows = [("parameters", f"{result['parameters']:,}")]
    names = {"parameter": "weights", "optimizer": "optimiser state", "average": "averaged weights", "base": "process"}
    rows += [(text, size(result[f"{name}_bytes"])) for name, text in names.items()]
    rows += [(f"  {name}", size(value)) for name, value in result["phase_bytes"].items()]
    rows += [("peak of a process", size(result["peak_bytes"])), ("execution", result["execution"])]
    rows += [("seconds a step", f"{result['seconds_per_step']:.3f}")]
    rows += [("seconds an epoch", f"{result['seconds_per_epoch']:.0f} (evaluations not counted)")]
    return [f"{text:<24} {value}" for text, value in rows]


if __name__ == "__main__":
    main()
