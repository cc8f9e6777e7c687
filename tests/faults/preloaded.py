"""A harness that runs again behind a small library in C, which stands before the system's own (LD_PRELOAD)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LIBRARY = "XMTC_FAULTS_LIBRARY"  # environment: where it lies; set in the process that has it


def possible() -> bool:
    return sys.platform == "linux" and shutil.which("cc") is not None


def again_behind(source: str, module: str, argv: list[str] | None) -> dict:
    """`python -m MODULE ARGV` with the library made of `source`; its last line, which is JSON."""
    with tempfile.TemporaryDirectory() as name:
        made = Path(name) / "library.so"
        (Path(name) / "library.c").write_text(source)
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", made, Path(name) / "library.c", "-ldl"], check=True)
        command = [sys.executable, "-m", module, *(sys.argv[1:] if argv is None else argv)]
        environment = {**os.environ, "LD_PRELOAD": str(made), LIBRARY: str(made), "OMP_NUM_THREADS": "1"}
        found = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True)
    print(found.stdout, end="")
    if not found.stdout.strip().endswith("}"):
        raise SystemExit(found.returncode or 1)
    return json.loads(found.stdout.splitlines()[-1])
