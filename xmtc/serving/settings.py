"""What `python -m xmtc.serve RUN key=value...` takes. Every limit has a number and a name that its refusal tells."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields

from xmtc.errors import InputError
from xmtc.serving.uris import PREFIX


def _key(default, about: str):
    return field(default=default, metadata={"help": about})


@dataclass(frozen=True)
class Settings:
    """The keys of the command line; `--help` prints this table."""

    host: str = _key("127.0.0.1", "address to listen on; 0.0.0.0 for every one")
    port: int = _key(8000, "0 takes a free one")
    token_file: str | None = _key(None, "file with the bearer token to ask for; else environment XMTC_TOKEN")
    max_batch: int = _key(32, "documents the model reads at once")
    max_wait_ms: float = _key(2.0, "how long a document waits for others, milliseconds")
    queue: int = _key(1024, "documents waiting for the model; above it 429")
    max_texts: int = _key(256, "texts of one request")
    max_text: int = _key(1_000_000, "characters of one text")
    max_body: int = _key(16 << 20, "bytes of one request")
    max_held: int = _key(256 << 20, "bytes of all requests under way; above it 429")
    max_k: int = _key(1000, "labels asked for of one text")
    timeout: float = _key(30.0, "seconds until 504")
    body_timeout: float = _key(10.0, "seconds in which headers, then the body, must come, and some of an answer go")
    connections: int = _key(1024, "open connections; above it 503")
    linger: float = _key(1.0, "seconds that a stopping server waits for requests already sent")
    threads: int | None = _key(None, "threads of the model; null leaves PyTorch's choice")
    uri_prefix: str = _key(PREFIX, "before label ids that are no URIs, for Annif")

    def __post_init__(self):
        for f in fields(self):
            value = getattr(self, f.name)
            least = 0 if f.name in ("port", "max_wait_ms", "linger") else 1
            if f.name in ("timeout", "body_timeout"):
                least = 0.01
            if isinstance(value, int | float) and not least <= value < math.inf:  # nan is neither
                raise InputError(f"{f.name}: expected at least {least}, got {value}")
        if self.port > 65535:
            raise InputError(f"port: expected at most 65535, got {self.port}")
        if self.max_texts > self.queue:
            raise InputError(f"queue={self.queue} could never take a request of max_texts={self.max_texts} texts")
        if self.max_body > self.max_held:
            raise InputError(f"max_held={self.max_held} could never take a request of max_body={self.max_body} bytes")
