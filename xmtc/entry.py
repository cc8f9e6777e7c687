"""How every command of xmtc starts and ends: overrides checked first, errors in one line, exit codes kept.

0: done. 2: input or configuration that cannot be used. 75: SIGTERM, saved, start it again. 130: Ctrl-C. 141: the reader
of the output has gone, as for any command of a pipe.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence

from omegaconf import DictConfig, OmegaConf

from xmtc.config import check_node, checked_command_line, command_dir, register_resolvers
from xmtc.errors import PREEMPTED, InputError, Preempted
from xmtc.lean import lean_imports
from xmtc.shortage import in_one_line

# of a command that is no run: Hydra would leave a log file in the folder that it is given in
NO_FOLDER = ("hydra.run.dir=.", "hydra.output_subdir=null", "hydra/job_logging=stdout")


def start(
    program: str,
    job: Callable,
    argv: Sequence[str],
    always: Sequence[str] = (),
    config_name: str = "run",
    component: str = "",
    hint: str = "a run goes on with resume=RUN_DIR",
    usage: str = "",
) -> None:
    """Runs `job(config)` as hydra.main would. always: overrides of the command itself. component: a function whose
    parameters the configuration must fit, where no part of it names one. hint: what to say after Ctrl-C and SIGTERM;
    RUN_DIR in it becomes the job's folder. usage: what --help prints where config_name's own help is another
    command's."""
    if usage and {"-h", "--help"} & set(argv):
        print(usage.strip())
        return
    import hydra

    lean_imports()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra would otherwise add lines of its own to ours
    os.environ.setdefault("WANDB_SILENT", "true")  # where its files are is where the run directory is
    register_resolvers()
    try:
        task = functools.wraps(job)(lambda config: _ended_job(program, job, config, hint))
        name = program.rpartition(".")[2]
        check = functools.partial(_check, component) if component else None
        with in_one_line("starting"), checked_command_line([*argv, *always], config_name, check, name) as line:
            sys.argv = [sys.argv[0], *line.arguments]
            if line.shows:
                folder = str(command_dir(config_name))
                hydra.main(config_path=folder, config_name=config_name, version_base="1.3")(task)()
            else:
                line.run(task)
    except InputError as error:
        raise bad_input(program, error) from None
    except (Preempted, KeyboardInterrupt) as error:
        raise stopped(program, error, hint) from None


def _check(component: str, config: DictConfig) -> None:
    check_node(OmegaConf.to_container(config, resolve=True) | {"_target_": component}, "")


def ended(program: str, job: Callable[[], int | None], hint: str = "") -> int:
    """The exit code of `job()`, the whole of a command that Hydra does not run: what it returns, or 0. hint: what to
    say after Ctrl-C."""
    lean_imports()
    try:
        with in_one_line("at work"):
            code = job()
        sys.stdout.flush()  # here, not at exit, where nobody could catch what it raises
    except InputError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: interrupted" + (f"; {hint}" if hint else ""), file=sys.stderr)
        return 130
    except BrokenPipeError:
        return reader_gone()
    return code or 0


def reader_gone() -> int:
    """The exit code when nobody reads standard output any more; Python would complain once more when it flushes."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141


def _ended_job(program: str, job: Callable, config, hint: str):
    """Hydra adds a line of its own to an exception of a job, but lets SystemExit through."""
    from hydra.core.hydra_config import HydraConfig

    try:
        with in_one_line("at work"):
            return job(config)
    except InputError as error:
        raise bad_input(program, error) from None
    except (Preempted, KeyboardInterrupt) as error:
        folder = HydraConfig.get().runtime.output_dir
        raise stopped(program, error, hint.replace("RUN_DIR", folder)) from None


def bad_input(program: str, error: InputError) -> SystemExit:
    print(f"{program}: {error}", file=sys.stderr)
    return SystemExit(2)


def stopped(program: str, error: Preempted | KeyboardInterrupt, hint: str) -> SystemExit:
    """From outside: what to say of it, and the exit code."""
    by_signal = isinstance(error, Preempted)
    print(f"{program}: {'stopped by SIGTERM' if by_signal else 'interrupted'}; {hint}", file=sys.stderr)
    return SystemExit(PREEMPTED if by_signal else 130)
