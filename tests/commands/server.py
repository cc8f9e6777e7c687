"""Commands of xmtc as children of one process that has the imports behind it.

`python -m xmtc.run …` imports torch, Lightning and torchmetrics before it does anything: 5 to 10 CPU seconds, for a
training of one. The server imports them once and forks for every command. Who starts a command does not see it:
`client.py` stands in the place of `python`, a process of its own that hands over arguments, folder, environment and
files, passes signals on and ends as the command ends.

    python -m tests.commands.server LISTENER MODULE…    # descriptor of a socket; what to import; ends with its stdin

What a command started so cannot show: what its imports say, cost and bring along, how it does with another hash seed,
how much memory it takes, what its modules do when they are taken to pieces at the end, that its own process id is the
one its caller knows, and what a signal to a whole process group does (the command is a session of its own; signals
reach it through the client). A test of one of these starts `sys.executable`.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import struct
import sys
import tempfile
import threading
from types import ModuleType

from tests.commands.client import PASSED_ON
from xmtc.lean import lean_imports

HIGH = 512  # descriptors are laid aside from here on before each gets its number


def preload(modules: list[str]) -> None:
    lean_imports()  # as every command
    for name in modules:
        importlib.import_module(name)
    assert threading.active_count() == len(os.listdir("/proc/self/task")) == 1, "a thread would not survive the fork"
    gc.collect()
    gc.freeze()  # else the first collection of each child copies every page


def serve(listener: socket.socket) -> tuple[dict, list[int]]:
    """Starts what is asked for. Returns in the children only: the request and the descriptors that came with it."""
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(0, selectors.EVENT_READ)
    children: dict[int, tuple[int, socket.socket]] = {}  # pidfd: its pid, its client
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                request, descriptors = received(connection)
                if request is None:
                    connection.close()
                    continue
                pid = os.fork()
                if pid == 0:
                    for process, (_, client) in children.items():
                        os.close(process), client.close()
                    selector.close(), listener.close(), connection.close()
                    return request, descriptors
                for descriptor in descriptors:
                    os.close(descriptor)
                process = os.pidfd_open(pid)
                children[process] = pid, connection
                selector.register(process, selectors.EVENT_READ)
                selector.register(connection, selectors.EVENT_READ, process)
                try:
                    socket.send_fds(connection, [b"+"], [process])
                except OSError:
                    pass  # killed meanwhile, which is seen below
            elif key.fileobj == 0:  # the tests are over
                for process in children:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                os._exit(0)
            elif key.fileobj in children:  # it has ended
                pid, connection = children.pop(key.fileobj)
                selector.unregister(key.fileobj), os.close(key.fileobj)
                if connection in selector.get_map():
                    selector.unregister(connection)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                try:
                    connection.sendall(struct.pack("!i", code))
                except OSError:
                    pass  # nobody waits for it any more
                connection.close()
            elif key.data in children:  # its client says nothing after the request: it was killed
                signal.pidfd_send_signal(key.data, signal.SIGKILL)
                selector.unregister(key.fileobj)


def received(connection: socket.socket) -> tuple[dict | None, list[int]]:
    head, descriptors, _, _ = socket.recv_fds(connection, 4, 253)
    with connection.makefile("rb") as file:
        text = file.read(struct.unpack("!I", head)[0]) if len(head) == 4 else b""
    try:
        return json.loads(text), descriptors
    except ValueError:  # a client that was killed while it spoke
        for descriptor in descriptors:
            os.close(descriptor)
        return None, []


def become(request: dict, descriptors: list[int], installed: list[str]) -> None:
    """This process, just forked, gets all that the client's process was given. installed: the usual end of sys.path."""
    os.setsid()
    aside = [fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, HIGH) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, number in zip(aside, request["descriptors"], strict=True):
        os.dup2(descriptor, number)  # inheritable, as it was
        os.close(descriptor)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    os.chdir(request["folder"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for number in PASSED_ON:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in request["ignored"] else usual)
    named = os.environ.get("PYTHONPATH", "")
    named = map(os.path.abspath, named.split(os.pathsep) if named else [])
    sys.path[:] = [request["folder"], *dict.fromkeys([*named, *installed])]
    importlib.invalidate_caches()
    sys.executable = request["python"]  # what the command starts in its turn comes back to the server
    sys.orig_argv = [request["python"], *request["words"]]
    tempfile.tempdir = None
    for name, again in READ_WHEN_IMPORTED.items():
        if name in sys.modules:
            again(sys.modules[name])


def _rank(module: ModuleType) -> None:
    module.rank_zero_only.rank = module._get_rank() or 0


# what modules took from the environment, the folder or the system when the server imported them
READ_WHEN_IMPORTED = {
    "lightning_fabric.utilities.rank_zero": _rank,
    "multiprocessing.process": lambda module: setattr(module, "ORIGINAL_DIR", os.getcwd()),
    "numpy": lambda module: module.random.seed(),
    "torch": lambda module: module.default_generator.seed(),
}


def execute(words: list[str]) -> None:
    """As the interpreter would: `-m MODULE …`, or `-` for a program on stdin."""
    if words[0] == "-m":
        sys.argv = words[1:]  # its first becomes the module's file
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, ""
        sys.modules["__main__"] = main = ModuleType("__main__")
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), vars(main))


def end(code: int) -> None:
    """As the interpreter does, without its last step: to take every module to pieces would copy all of their pages."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for file in (sys.stdout, sys.stderr):
        try:
            if file is not None and not file.closed:
                file.flush()
        except Exception as error:
            code = 120
            if file is sys.stdout:
                print(f"Exception ignored in: {file!r}\n{type(error).__name__}: {error}", file=sys.stderr)
    os._exit(code & 0xFF)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as listener:
        preload(sys.argv[2:])
        request, descriptors = serve(listener)
    become(request, descriptors, sys.path[1:])
    try:
        execute(request["words"])
    except SystemExit as error:
        if not isinstance(error.code, int | None):
            raise
        end(error.code or 0)
    end(0)
