"""Starts and stops server.py, and writes the executable that speaks with it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What most commands load. No command itself: a fresh interpreter would not have it either, and importing `xmtc.run`
# would put the module in the place of the function. Nothing that starts threads, as scikit-learn does.
PRELOADED = (
    "torch", "torch._dynamo", "torch.utils.data", "torch.distributed", "pytorch_lightning", "torchmetrics", "hydra",
    "rich.progress", "scipy.sparse", "wandb", "xmtc.entry", "xmtc.job", "xmtc.training.session", "xmtc.loading",
)  # fmt: skip
# -I -S: none of the environment and no packages, which would cost ten times as much. No shell: it would set PWD.
SCRIPT = """#!{real} -IS
import sys
sys.path.append({root!r})
from tests.commands.client import main
main({folder!r}, {real!r}, __file__, sys.argv[1:])
"""


@contextlib.contextmanager
def started(folder: Path, preloaded: Sequence[str] = PRELOADED) -> Iterator[str]:
    """Path of an executable `python` in `folder`; the interpreter itself where the system cannot do it: no Linux, or a
    path that cannot stand in the first line of a script."""
    if not hasattr(os, "pidfd_open") or " " in sys.executable or len(sys.executable) > 100:
        yield sys.executable
        return
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment.setdefault("OMP_NUM_THREADS", "1")  # with more, imports start threads
    with tempfile.TemporaryDirectory(prefix="xmtc-") as short, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{short}/socket")  # 107 bytes at most
        listener.listen(64)
        Path(short, "environment").write_text(json.dumps(environment), encoding="utf-8")
        executable = folder / "python"
        executable.write_text(SCRIPT.format(real=sys.executable, folder=short, root=str(ROOT)), encoding="utf-8")
        executable.chmod(0o755)
        # else an import that asks whether there is a GPU would leave the children unable to use one
        careful = environment | {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"}
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.commands.server", str(listener.fileno()), *preloaded],
            cwd=ROOT, env=careful, pass_fds=[listener.fileno()],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        listener.close()  # the server's alone: without it nobody is to wait for an answer
        with server:
            yield str(executable)
            server.stdin.close()  # its sign to end, also if we are killed
