"""Labels as Annif knows subjects: by URI, the same in the exported vocabulary and in the server's answers."""

from __future__ import annotations

import re
from urllib.parse import quote

PROJECT = "xmtc"  # the project's name, in Annif's addresses
PREFIX = "urn:xmtc:"  # before label ids that are no URIs
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:[^\s<>\"]+")


def label_uri(label: str, prefix: str) -> str:
    """A label's URI: itself if it is one, else prefix and the id, percent-encoded."""
    return label if _URI.fullmatch(label) else prefix + quote(label, safe="")
