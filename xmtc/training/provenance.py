"""Where a number comes from: what `metrics.json` says beside the scores."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import torch

FORMAT = 1


def provenance(dataset: str, dataset_sha256: str, seed: int, world_size: int, **names: object) -> dict:
    """Plain values; commit and dirty are null outside a git checkout."""
    commit = _git("rev-parse", "HEAD")
    return {
        "format": FORMAT,
        "commit": commit,
        "dirty": None if commit is None else bool(_git("status", "--porcelain")),
        "dataset": dataset,
        "dataset_sha256": dataset_sha256,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device_name(),
        "world_size": world_size,
        "seed": seed,
        "command": " ".join(["python -m xmtc.run", *sys.argv[1:]]),
        **names,
    }


def device_name() -> str:
    """The GPU's name, or the processor's with its number of threads."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
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
