"""`python -m xmtc.run -m ... dry_run=true`: the jobs of a sweep, and what they will take, measured or estimated."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from omegaconf import OmegaConf

from xmtc.config.compose import SWEEP, compose_jobs
from xmtc.errors import InputError
from xmtc.parsing import read_json, read_yaml
from xmtc.sweeping.costs import Costs
from xmtc.sweeping.printed import printed_hours
from xmtc.sweeping.settings import pairs, that_matter


def asks_for_a_list(argv: Sequence[str]) -> bool:
    """True for a sweep with dry_run=true."""
    asked = pairs(argv).get("dry_run", "").lower() in ("true", "1", "yes")
    return asked and bool({"-m", "--multirun", SWEEP} & set(argv))


def listing(argv: Sequence[str]) -> str:
    """The sweep as a table: what each job is, its hours and GiB of memory: of finished runs of the same configuration
    (any seed) under paths.runs, else, with a `~`, from a few steps of the model where its corpus is prepared, else
    memory and steps from the counts of the corpus' card, hours that the paper prints for this row of its table, or
    `unknown`, and why. InputError if a job cannot be used. Trains nothing to the end, writes nothing, asks no hub."""
    from hydra._internal.utils import get_args_parser

    known, rest = get_args_parser().parse_known_args(list(argv))
    overrides = [*known.overrides, *rest]
    jobs = compose_jobs(overrides, known.config_name or "run", [known.config_dir] if known.config_dir else [])
    composed = [OmegaConf.to_container(_unlogged(config), resolve=True) for _, config in jobs]
    measured: dict[str, tuple[float, float]] = {}
    for runs in dict.fromkeys(config["paths"]["runs"] for config in composed):
        measured |= earlier(Path(runs))
    settings = [pairs(words) for words, _ in jobs]
    keys = dict.fromkeys(key for each in settings for key in each if key != "dataset")  # which has its own column
    told = [key for key in keys if len({each.get(key) for each in settings}) > 1]
    rows = [["#", "dataset", *told, "hours", "GiB", "steps"]]
    costs, known_hours, marks = Costs(), [], Counter()
    unknown: dict[str, list[str]] = {}  # by the reason
    for number, (config, (words, _), each) in enumerate(zip(composed, jobs, settings)):
        hours = gib = steps = ""
        found = measured.get(identity(config))
        if found is not None:
            hours, gib = (f"{value:.2f}" for value in found)
            known_hours.append(found[0])
        elif isinstance(cost := costs.of(config), str):
            unknown.setdefault(cost, []).append(str(number))
        else:
            gib = f"~{cost.peak / 2**30:.2f}"
            if (value := cost.hours(config)) is not None:
                hours = f"~{value:.2f}"
                marks["~"] += 1
                known_hours.append(value)
            else:
                gib, steps = f"{gib} card", f"{cost.steps(config):,}"
                marks["card"] += 1
                unknown.setdefault(f"measured hours: {cost.why}", []).append(str(number))
        if not hours and (value := printed_hours(words, config)) is not None:
            hours = f"{value:.2f} printed"
            marks["printed"] += 1
        cells = [str(number), config["dataset"]["name"], *(each.get(key, "") for key in told)]
        rows.append([*cells, hours or "unknown", gib or "unknown", steps])
    if not marks["card"]:
        rows = [row[:-1] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    total = f"{len(jobs)} jobs"
    if known_hours:
        few = f" for the {len(known_hours)} that are known" if len(known_hours) < len(jobs) else ""
        total += f"; {sum(known_hours):.2f} hours one after the other{few}"
    legend = {
        "~": "~ is an estimate, evaluations not counted", "card": "card: estimated from the counts on the corpus' card",
        "printed": "printed: in the paper, on other hardware, in no sum",
    }  # fmt: skip
    total += "".join(f"; {text} ({marks[mark]} jobs)" for mark, text in legend.items() if marks[mark])
    reasons = [f"unknown: {', '.join(numbers)}: {reason}" for reason, numbers in unknown.items()]
    return "\n".join([*lines, *reasons, total])


def identity(config: dict[str, Any]) -> str:
    """Equal for runs that differ in their seed and in where files lie."""
    kept = {key: value for key, value in that_matter(config).items() if key != "seed"}
    return json.dumps(kept, sort_keys=True, default=str)


def earlier(runs: Path) -> dict[str, tuple[float, float]]:
    """{identity: (mean hours, most GiB)} of the finished runs below a folder."""
    found: dict[str, list[tuple[float, float]]] = {}
    for path in runs.rglob("metrics.json") if runs.is_dir() else ():
        try:
            result, config = read_json(path, dict), read_yaml(path.parent / "config.yaml", dict)
            cost = float(result["train_seconds"]) / 3600, float(result["peak_memory_bytes"]) / 2**30
            found.setdefault(identity(config), []).append(cost)
        except (InputError, ValueError, KeyError, TypeError):
            continue  # not a run of ours, or one that was never whole
    return {key: (fmean(hours for hours, _ in costs), max(gib for _, gib in costs)) for key, costs in found.items()}


def _unlogged(config):
    """The logger's folder is known only when a run starts."""
    return OmegaConf.masked_copy(config, [key for key in config if key != "logger"])
