"""`python -m xmtc.serve RUN [key=value...]`: a trained run behind HTTP, with a page to try it.

Exit code 0 after SIGTERM, 130 after Ctrl-C, both when everything that was sent is answered; 2 for what cannot be used.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from xmtc.arguments import Arguments
from xmtc.config.settings import describe_settings, read_settings
from xmtc.entry import bad_input
from xmtc.errors import InputError
from xmtc.serving.settings import Settings
from xmtc.shortage import NoTraces, in_one_line

log = logging.getLogger("xmtc.serve")


def serve(run: str, settings: Settings, token: str | None = None) -> None:
    """Loads the run, listens, and returns when it has been told to stop. Raises InputError."""
    try:
        from xmtc.serving.api import make_app
        from xmtc.serving.server import Server, listen
    except ImportError as error:
        raise InputError(f"{error.name} is not installed: pip install 'xmtc[serve]'") from None
    import torch

    import xmtc

    sock = listen(settings)  # before the model is read: a port in use is known at once
    if settings.threads:
        torch.set_num_threads(settings.threads)
    start = time.monotonic()
    model = xmtc.load(run)
    model.predict(["ready"], k=1)  # what is made at the first call is made before the first client
    host, port = sock.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host

    def announce() -> None:
        log.info("listening on http://%s:%d (Ctrl-C or SIGTERM stops it)", shown, port)

    server = Server(settings, announce)
    app = make_app(model, settings, token, lambda: server.stopping)
    server.config.app = app
    log.info("%s: %d labels, loaded in %.1f s", run, model.num_labels, time.monotonic() - start)
    if token is None and host not in ("127.0.0.1", "::1"):
        log.warning("anyone who can reach %s may ask: no token is set (token_file=... or XMTC_TOKEN)", host)
    try:
        server.run(sockets=[sock])  # ends by raising the signal that stopped it
    finally:
        if server.stopping and not server.force_exit:
            log.info("stopped; everything that was sent is answered")


def read_token(settings: Settings) -> str | None:
    """The bearer token: of the file, else of the environment. Never on the command line, which others can read."""
    if settings.token_file is None:
        return os.environ.get("XMTC_TOKEN") or None
    try:
        token = Path(settings.token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"token_file={settings.token_file}: cannot be read ({error})") from None
    if not token:
        raise InputError(f"token_file={settings.token_file}: is empty")
    return token


def _on_term(*_) -> None:
    raise SystemExit(0)


def main(argv: Sequence[str] | None = None) -> None:
    parser = Arguments(
        prog="python -m xmtc.serve",
        description="Answers HTTP requests with a trained run, and shows a page at / to try it.",
        examples=("runs/a", "runs/a host=0.0.0.0 port=8080 token_file=token.txt"),
        notes=f"settings, as key=value [default]:\n{describe_settings(Settings)}",
    )
    parser.add_argument("run", metavar="RUN", help="a run directory, an exported folder or an ensemble")
    parser.add_argument("settings", nargs="*", default=[], metavar="key=value", help="see below")
    arguments, rest = parser.parse_known_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.addFilter(NoTraces())
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # its own words for what is said here
    signal.signal(signal.SIGTERM, _on_term)  # uvicorn raises the signal again when it is done
    try:
        settings = read_settings(Settings, [*arguments.settings, *rest])
        with in_one_line("serving"):
            serve(arguments.run, settings, read_token(settings))
    except InputError as error:
        raise bad_input("xmtc.serve", error) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
