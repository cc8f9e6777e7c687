"""One job: a composed configuration becomes a run directory. `xmtc.run([...])` and `python -m xmtc.run` end up here."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from xmtc.config import compose_checked
from xmtc.config.launchers import refuse_basic_launcher
from xmtc.config.outside import refuse_other_count, together
from xmtc.config.paths import quoted, typed, unquoted
from xmtc.data.checksums import require_whole
from xmtc.data.files import locked, writing_to
from xmtc.errors import InputError
from xmtc.given import listed
from xmtc.parsing import read_yaml
from xmtc.shortage import in_one_line

log = logging.getLogger("xmtc")
LARGE = 10_000_000  # weights whose memory is given back when a run ends: a collection takes tenths of a second
# what may be changed when a run is continued; anything else would be another run
RESUMABLE = (
    "trainer.", "checkpoints.", "ranks.", "logger", "paths.", "recipe.max_epochs", "recipe.validation.",
    "data.workers", "prepare_workers", "offline=", "test=", "dataset.path=",
)  # fmt: skip
WORTH = ("metrics.json", "checkpoints/last.ckpt", "checkpoints/previous.ckpt")  # a run that ended, or can go on
# what one that was killed before its first checkpoint may leave
RESTS = (
    "checkpoints/best.ckpt", "checkpoints/hashes", "curves.csv", "predictions.npz", "predictions_validation.npz",
    "calibration.json", "choices.json", "started_from.json", "checksums",
)  # fmt: skip


def continued(argv: list[str]) -> list[str]:
    """With resume=RUN_DIR: that run's own overrides, in its own folder, and those new ones that may change."""
    given = [word for word in argv if word.startswith("resume=") and word not in ("resume=", "resume=null")]
    if not given:
        return argv
    folder = Path(unquoted(given[-1].removeprefix("resume=")))
    saved = folder / "overrides.yaml"
    if (folder / "multirun.yaml").exists():
        raise InputError(
            f"resume: {folder} holds a sweep, which goes on by its own command again, with"
            f" {typed('hydra.sweep.dir', folder)}"
        )
    if {"-m", "--multirun"} & set(argv):
        raise InputError("resume: goes on with one run: leave out -m")
    if not saved.exists():
        raise InputError(f"resume: {folder} is not a run directory (no overrides.yaml)")
    require_whole(folder, ["overrides.yaml"])
    try:
        kept = read_yaml(saved)
    except InputError as error:
        raise InputError(f"resume: {error}") from None
    if not isinstance(kept, list) or not all(isinstance(word, str) for word in kept):
        raise InputError(f"resume: {saved} does not hold a list of overrides")
    # a rank that Lightning starts for us gets our own command line: those words again, and some for Hydra
    new = [word for word in argv if word not in [*given, *kept] and not word.startswith("hydra.run.dir=")]
    folders = [place for flag, place in zip(argv, argv[1:], strict=False) if flag in ("--config-dir", "-cd")]
    changes = [word for word in new if not word.startswith("-") and word not in folders]
    allowed = (*RESUMABLE, "hydra.job.name=", "hydra.output_subdir=", "hydra.searchpath=")
    refused = [word for word in changes if not word.lstrip("+~").startswith(allowed)]
    if refused:
        raise InputError(
            f"{refused[0]}: cannot change when a run is continued; these can: {', '.join(RESUMABLE)};"
            " init_from=RUN_DIR starts a new run from its weights"
        )
    return [*kept, *new, f"resume={quoted(folder)}", f"hydra.run.dir={quoted(folder)}"]


def job(config: DictConfig) -> float | None:
    """One job of Hydra's. Returns the validation score, for sweepers that search."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get()
    if hydra.mode == RunMode.MULTIRUN:  # here too: a sweep that decides its jobs as it goes was not checked before
        refuse_basic_launcher(OmegaConf.to_container(hydra.launcher), config, hydra.overrides.task)
        goes_on = (
            "hydra/launcher=local keeps it and goes on with the rest of the sweep, another hydra.sweep.dir starts anew"
        )
        refuse_used(Path(hydra.runtime.output_dir), goes_on)
    result = execute(config, Path(hydra.runtime.output_dir), *_words_and_names(hydra))
    return result and result["best"]["score"]


def execute(config: DictConfig, folder: Path, overrides: list[str], names: dict) -> dict | None:
    """Runs a composed configuration in `folder`; None after a dry run."""
    plain = OmegaConf.to_container(config, resolve=True)
    for line in without_effect(config, overrides, names):
        log.warning(line)
    if not plain["dry_run"]:
        from pytorch_lightning.utilities.rank_zero import rank_zero_only

        from xmtc.training.choices import keep_words
        from xmtc.training.quiet import quiet_lightning
        from xmtc.training.record import peak_from_now
        from xmtc.training.session import session

        refuse_other_count(plain["trainer"])
        first = rank_zero_only.rank == 0
        with ExitStack() as around:
            around.enter_context(writing_to(folder, "training", "runs"))
            around.enter_context(in_one_line("training"))
            around.enter_context(quiet_lightning())
            folder.mkdir(parents=True, exist_ok=True)
            if first:
                around.enter_context(alone(folder))
            if first and not plain["resume"]:
                _begin_in(folder, plain["init_from"])
                keep_words(folder, overrides, plain | {"names": names})
            elif not plain["resume"]:
                refuse_used(folder)  # as the first one does, for which this one would wait in vain
            peak_from_now()
            result = session(plain, folder, names, overrides)
        part = "test" if plain["test"] else "validation"
        log.info("%s: %s", part, " ".join(f"{k} {100 * result[part][k]:.2f}" for k in ("P@1", "P@3", "P@5", "nDCG@5")))
        log.info("run directory: %s", folder)
        return result
    print(OmegaConf.to_yaml(config, resolve=True))
    return None


def without_effect(config: DictConfig, overrides: list[str], names: dict) -> list[str]:
    """A line for each word that chooses or sets a `text` or an `embedding` that the encoder does not read."""
    reads = set(re.findall(r"\$\{(text|embedding)[.}]", str(OmegaConf.to_container(config.encoder))))
    lines = []
    for word in overrides:
        found = re.match(r"\+*(text|embedding)[.=]", word)
        if found and found[1] not in reads:
            group, own = found[1], f"encoder={names.get('encoder')}"
            has = f"has encoder.{group} of its own" if group in config.encoder else f"reads no {group}"
            lines.append(f"{word}: without effect, {own} {has}")
    return lines


def _begin_in(folder: Path, init_from: str | None) -> None:
    """What is left of a run that cannot go on would be taken for this one's, so it is removed."""
    if init_from and Path(init_from).absolute() == folder:
        raise InputError(f"init_from: {folder} is where this run is to be written; name another hydra.run.dir")
    refuse_used(folder)
    for name in RESTS:
        (folder / name).unlink(missing_ok=True)


def refuse_used(folder: Path, goes_on: str = "") -> None:
    """A new run where another one is would replace it. goes_on: what to do instead."""
    if any((folder / name).is_file() for name in WORTH):
        has = "finished" if (folder / WORTH[0]).is_file() else "stopped"
        goes_on = goes_on or f"resume={folder} goes on with it, another hydra.run.dir starts anew"
        raise InputError(f"hydra.run.dir: {folder} holds a {has} run; {goes_on}, or remove that folder")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Two runs in one directory would write each other's checkpoints."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / ".lock", waits=False))
        except BlockingIOError:
            raise InputError(f"{folder}: another run is at work in this directory; wait for it, or stop it") from None
        yield


def run(overrides: list[str] = ()) -> dict:
    """From Python: one run; returns what its metrics.json holds. Raises InputError, never exits."""
    overrides = listed(overrides, "overrides", "settings")
    for word in overrides:
        if not isinstance(word, str):
            raise InputError(f"overrides: expected key=value, got {word!r:.60}")
    result = execute(*composed(overrides))
    if result is not None and result["parameters"] > LARGE:
        # the parts of a run refer to each other, so only a collection frees them, and Python's next one may be far off
        gc.collect()
    return result


def composed(overrides: list[str]) -> tuple[DictConfig, Path, list[str], dict]:
    """What `execute` takes. `${hydra:...}` stands for this run until the next is composed."""
    from hydra.core.hydra_config import HydraConfig

    arguments = together(continued(list(overrides)))
    config = compose_checked(arguments, hydra_node=True)
    OmegaConf.set_readonly(config.hydra, False)
    OmegaConf.set_readonly(config.hydra.runtime, False)
    HydraConfig.instance().set_config(config)  # ${hydra:...} reads it
    folder = Path(str(config.hydra.run.dir)).absolute()
    config.hydra.runtime.output_dir = str(folder)
    HydraConfig.instance().set_config(config)
    with open_dict(config):
        hydra = config.pop("hydra")
    return config, folder, *_words_and_names(hydra)


def _words_and_names(hydra: DictConfig) -> tuple[list[str], dict]:
    """The overrides of a run, and what each group chose."""
    words = [word for word in hydra.overrides.task if not word.startswith("resume=")]
    return words, {group: hydra.runtime.choices.get(group) for group in ("encoder", "head", "recipe", "embedding")}
