"""python -m xmtc.search OVERRIDE...: find settings by validation score (Optuna); the test set is never read."""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from xmtc.arguments import Arguments, bounded
from xmtc.bounds import Count, Natural
from xmtc.entry import ended
from xmtc.errors import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code 0; 2 with one line for what cannot be used; 1 if no trial finished; 130 after Ctrl-C."""
    parser = Arguments(
        prog="python -m xmtc.search",
        description="Searches settings by the validation score that chooses a run's weights (recipe.validation.monitor,"
        " nDCG@5); the test set is never read. The same command again goes on where it stopped.",
        examples=(
            "--into runs/search/lr --trials 30 encoder=bow dataset=eurlex57k \\\n"
            "    'recipe.optimizer.lr=tag(log,interval(1e-4,1e-2))' 'head=choice(none,lcenet)'",
        ),
    )
    parser.add_argument("overrides", nargs="+", metavar="OVERRIDE", help="as of xmtc.run; at least one as a choice")
    parser.add_argument("--into", required=True, metavar="DIR", help="folder of the search: study, trials, finalists")
    for name, default, about in (
        ("trials", 20, "in all, earlier starts included"), ("jobs", 1, "trials at once, on the CPU or per GPU"),
        ("finalists", 3, "best trials to repeat"), ("seeds", 3, "seeds of each finalist, its own included"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=bounded(Count), default=default, metavar="N", help=about)
    parser.add_argument("--seed", type=bounded(Natural), default=0, metavar="N", help="of the trials and of the search")
    arguments = parser.parse_intermixed_args(argv)
    logging.basicConfig(level=logging.INFO, format="[%(asctime)s] %(message)s", stream=sys.stderr)
    return ended("xmtc.search", lambda: search(arguments), "the same command goes on where it was")


def search(arguments: argparse.Namespace) -> int:
    try:
        from xmtc.searching.space import ends, read_space, words_of
        from xmtc.searching.study import Search
    except ImportError as error:
        raise InputError(f"{error.name} is not installed (pip install 'xmtc[search]')") from None
    from omegaconf import OmegaConf

    from xmtc.config import compose_checked
    from xmtc.config.outside import refuse_sweep
    from xmtc.data.files import writing_to

    refuse_sweep("xmtc.search")
    fixed, space = read_space(arguments.overrides)
    first = {key: values[0] for key, values in ends(space).items()}
    config = compose_checked([*fixed, *words_of(first), "test=false"])  # what cannot be used is named before all trials
    metric = config.recipe.validation.monitor
    for key, values in ends(space).items():
        for value in values[1:]:
            other = compose_checked([*fixed, *words_of(first | {key: value}), "test=false"])
            if (chosen := other.recipe.validation.monitor) != metric:
                raise InputError(
                    f"recipe.validation.monitor: with {key}={value} it is {chosen}, otherwise {metric}, and trials are"
                    " compared by it; give it one value"
                )
    slots = _slots(OmegaConf.to_container(config.trainer, resolve=True), arguments.jobs)
    into = Path(arguments.into)
    with writing_to(into, "searching", None):
        found = Search(into, [*fixed, f"seed={arguments.seed}"], space, slots, arguments.seed, metric)
        found.run(arguments.trials)
        best = found.best(arguments.finalists)
        if not best:
            why = f"no trial finished; see {into}/trials/*/job.log; more --trials, or another --into, tries again"
            print(f"xmtc.search: {why}", file=sys.stderr)
            return 1
        ranked = finalists(into, fixed, [trial.params for trial in best], arguments, slots)
    print(_table(ranked, metric))
    seeds = ",".join(map(str, range(arguments.seed, arguments.seed + arguments.seeds)))
    best = [*(["-m"] if "," in seeds else []), *fixed, *words_of(ranked[0][0]), f"seed={seeds}"]
    print("the best, tested: " + shlex.join(["python", "-m", "xmtc.run", *best]))
    return 0


def finalists(
    into: Path, fixed: Sequence[str], params: Sequence[dict], arguments, slots
) -> list[tuple[dict, list[float]]]:
    """[(settings, validation score of each seed)], best mean first. Runs that are there are kept."""
    from xmtc.searching.space import words_of
    from xmtc.sweeping.jobs import Job, place
    from xmtc.sweeping.pool import Pool

    jobs, groups, folder = [], [], into.absolute() / "finalists"
    for number, values in enumerate(params):
        group = []
        for seed in range(arguments.seed, arguments.seed + arguments.seeds):
            words = [*fixed, *words_of(values), f"seed={seed}", "test=false"]
            job = Job(len(jobs), words, folder / f"{number}_seed{seed}")
            jobs.append(job)
            group.append(job)
        groups.append((dict(values), group))
    place(jobs, folder)
    states = Pool(jobs, list(slots), dict(os.environ) | {"XMTC_SWEEP": into.name}).run()
    for job in jobs:
        if (state := states[job.number].state) in ("failed", "stopped"):
            goes_on = "; the same command goes on with it" if state == "stopped" else ""
            raise InputError(f"{job.folder}: a finalist {state}, see its job.log{goes_on}")
    scores = [(values, [job.result()["best"]["score"] for job in group]) for values, group in groups]
    return sorted(scores, key=lambda each: -fmean(each[1]))


def _slots(trainer: dict, jobs: int):
    from xmtc.sweeping.devices import cpu_slots, gpu_slots, on_gpu, processes, visible_gpus

    count = processes(trainer)
    return gpu_slots(visible_gpus(), count, jobs) if on_gpu(trainer) else cpu_slots(jobs, count)


def _table(ranked: Sequence[tuple[dict, list[float]]], metric: str) -> str:
    lines = []
    for values, scores in ranked:
        told = " ".join(f"{key}={value}" for key, value in values.items())
        each = ", ".join(f"{100 * score:.2f}" for score in scores)
        lines.append(f"validation {metric} {100 * fmean(scores):.2f} ({each})  {told}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
