"""A command that tells what it is given, and ends as it is told: the same in a process of its own and in the server's.

python -m tests.commands.seen [tell | exit CODE | raise | interrupt | kill NUMBER | wait | child | late | lost]
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import get_context


def seen() -> dict:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGPIPE, signal.SIGUSR1)
    main = sys.modules["__main__"]
    environment = dict(os.environ)
    return {
        "arguments": sys.argv,
        "main": [main.__name__, main.__file__, main.__spec__.name, vars(main) is globals()],
        "folder": os.getcwd(),
        "temporary": tempfile.gettempdir(),
        "environment": {name: environment[name] for name in sorted(environment)},
        "path": sys.path,
        "flags": list(sys.flags),
        "umask": os.umask(0),
        "signals": [str(signal.getsignal(number)).partition(" at ")[0] for number in numbers],
        "blocked": [str(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "inherited": sorted(number for number in map(int, os.listdir("/proc/self/fd")) if is_inherited(number)),
        "files": [[f.encoding, f.errors, f.line_buffering, f.write_through, f.isatty()]
                  for f in (sys.stdin, sys.stdout, sys.stderr)],
        "stdin": sys.stdin.read(),
        "commands": [name for name in sys.modules if name in ("xmtc.run", "xmtc.predict", "xmtc.report")],
        "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
    }  # fmt: skip


def is_inherited(number: int) -> bool:
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


def double(number: int) -> int:
    return 2 * number


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["nothing"]
    print("out")
    print("err", file=sys.stderr)
    if what == "tell":
        print(json.dumps(seen(), indent=1))
    elif what == "exit":
        raise SystemExit(int(rest[0]) if rest[0].isdigit() else rest[0])
    elif what == "raise":
        raise ValueError("of the command")
    elif what == "interrupt":
        raise KeyboardInterrupt
    elif what == "kill":
        sys.stdout.flush()
        os.kill(os.getpid(), int(rest[0]))
    elif what == "wait":
        signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(75))
        print("ready", flush=True)
        time.sleep(120)
    elif what == "late":
        atexit.register(print, "at the end")
        threading.Timer(0.2, print, ["of a thread"]).start()
    elif what == "lost":
        sys.stdout.reconfigure(write_through=False)
        os.close(sys.stdout.fileno())
        print("to nobody")
    elif what == "child":  # a process of its own that imports this module again
        with get_context("spawn").Pool(1) as pool:
            print(pool.map(double, [21]), flush=True)
        raise SystemExit(subprocess.run([sys.executable, "-m", "tests.commands.seen", "exit", "9"]).returncode)
