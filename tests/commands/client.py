"""Stands in the place of `python`: `-m xmtc.X …` and `-` run in a child of server.py, all else in the interpreter.

An environment that an import may have read, and that differs from the server's, also calls for the interpreter.
"""

import json
import os
import select
import signal
import socket
import struct

# read by a command while it runs, not when something is imported, or seen to by the server
READ_LATE = {"PATH", "PYTHONPATH", "PWD", "OLDPWD", "SHLVL", "_", "TMPDIR"}
READ_LATE |= {"CUDA_VISIBLE_DEVICES"}  # the server starts nothing on a GPU
READ_LATE |= {"COLUMNS", "LINES"}  # pytest's process gets them from its readline, past os.environ
READ_LATE |= {"RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
READ_LATE |= {"LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE", "ROLE_NAME", "ROLE_RANK", "ROLE_WORLD_SIZE"}  # of torchrun
READ_LATE |= {"TORCH_NCCL_ASYNC_ERROR_HANDLING"}
# left in the environment of the tests by Lightning's first training, and by imports of torch, scikit-learn and numba
READ_LATE |= {"PL_GLOBAL_SEED", "PL_SEED_WORKERS", "TORCHINDUCTOR_CACHE_DIR", "PYTORCH_NVML_BASED_CUDA_CHECK"}
READ_LATE |= {"KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"}
READ_LATE_PREFIXES = ("XMTC_", "WANDB_", "HYDRA_", "PYTEST_", "SLURM_", "TORCHELASTIC_")
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def is_served(words: list[str], folder: str) -> bool:
    ours = len(words) > 1 and words[0] == "-m" and words[1].partition(".")[0] in ("xmtc", "tests")
    if not ours and words != ["-"]:
        return False
    with open(os.path.join(folder, "environment"), encoding="utf-8") as file:
        there = json.load(file)
    different = (name for name in {*there, *os.environ} if there.get(name) != os.environ.get(name))
    return all(name in READ_LATE or name.startswith(READ_LATE_PREFIXES) for name in different)


def start(words: list[str], folder: str, python: str) -> tuple[socket.socket, int]:
    """The connection on which the exit code will come, and a descriptor of the process."""
    descriptors = [int(name) for name in os.listdir("/proc/self/fd")]
    descriptors = [number for number in descriptors if is_inherited(number)]
    umask = os.umask(0o077)
    request = json.dumps({
        "words": words, "folder": os.getcwd(), "environment": dict(os.environ), "python": python, "umask": umask,
        "descriptors": descriptors, "ignored": [n for n in PASSED_ON if signal.getsignal(n) == signal.SIG_IGN],
    }).encode()  # fmt: skip
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.path.join(folder, "socket"))
    socket.send_fds(connection, [struct.pack("!I", len(request))], descriptors)
    connection.sendall(request)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in descriptors:  # who reads our output is to see its end when the command closes it
        os.dup2(nothing, number)
    _, (process,), _, _ = socket.recv_fds(connection, 1, 1)
    return connection, process


def is_inherited(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:  # of the listing itself
        return False


def main(folder: str, real: str, python: str, words: list[str]) -> None:
    """folder: of the server. real: the interpreter. python: the script that calls this."""
    if not is_served(words, folder):
        os.execv(real, [real, *words])
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is somebody to pass them on to
    connection, process = start(words, folder, python)

    def pass_on(number, frame):
        try:
            signal.pidfd_send_signal(process, number)
        except ProcessLookupError:
            pass

    for number in PASSED_ON:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, pass_on)
    # a signal between two instructions does not end a recv that begins behind it, and its handler would wait with it
    signalled, writer = socket.socketpair()
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    while connection not in select.select([connection, signalled], [], [])[0]:
        signalled.recv(64)
    (code,) = struct.unpack("!i", connection.recv(4))
    if code < 0:  # by a signal, so we too
        if code != -signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)
