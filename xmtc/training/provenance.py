"""Where a number comes from: what `metrics.json` says beside the scores."""

from __future__ import annotations

import platform
import shlex
import subprocess
import sys
from pathlib import Path

import torch
from hydra.core.hydra_config import HydraConfig

FORMAT = 1


def provenance(names: dict, device: str | torch.device = "cpu") -> dict:
    """What is known before a run: code, versions, device and command. commit and dirty are null outside a checkout.

    names: the choice of each configuration group. device: what computes.
    """
    commit = _git("rev-parse", "HEAD")
    return {
        "format": FORMAT,
        "commit": commit,
        "dirty": None if commit is None else bool(_git("status", "--porcelain")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device_name(device),
        "command": command(),
        **names,
    }


def command() -> str:
    """The line that makes this run and no other: also of a job of a sweep."""
    if not HydraConfig.initialized():
        return shlex.join(["python", "-m", "xmtc.run", *sys.argv[1:]])
    hydra = HydraConfig.get()
    folders = [source.path for source in hydra.runtime.config_sources if source.provider.endswith("command-line")]
    own = [word for folder in folders for word in ("--config-dir", folder)]
    words = [word for word in hydra.overrides.task if not word.startswith("resume=")]
    return shlex.join(["python", "-m", "xmtc.run", *own, *words])


def device_name(device: str | torch.device) -> str:
    """The GPU's name, or the processor's with its number of threads."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type != "cpu":
        return str(device)
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{model}, {torch.get_num_threads()} threads"


def _git(*words: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
