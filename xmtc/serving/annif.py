"""The REST shape of Annif (https://annif.org): its `http` backend and its clients can ask this server for subjects.

As in Annif's API: forms in, `{"results": [{"uri", "label", "notation", "score"}]}` out; one project, named `xmtc`.
Annif knows subjects by URI (`uris.py`).
"""

from __future__ import annotations

from urllib.parse import parse_qs

from xmtc.serving.bodies import Refused
from xmtc.serving.uris import PROJECT, label_uri


def project(about: dict) -> dict:
    """As Annif describes a project of its own."""
    backend = {"backend_id": "xmtc"}
    name = " ".join(str(about[key]) for key in ("dataset", "encoder", "head") if about[key])
    return {"project_id": PROJECT, "name": name, "language": "und", "backend": backend, "is_trained": True}


def form(body: bytes) -> tuple[str, int, float]:
    """(text, limit, threshold) of a suggest form. Refused: no text, no numbers, no UTF-8."""
    try:
        # fields are few; what a client sends beyond them (language, project) is not ours
        fields = parse_qs(body.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20)
        text = fields["text"][0]
        limit, threshold = int(fields.get("limit", ["10"])[0]), float(fields.get("threshold", ["0"])[0])
    except KeyError:
        raise Refused(400, "expected a form with a field text") from None
    except (ValueError, UnicodeDecodeError):
        raise Refused(400, "expected a form of UTF-8: text, and limit and threshold as numbers") from None
    if limit < 1 or not 0 <= threshold <= 1:
        raise Refused(400, "expected limit >= 1 and a threshold from 0 to 1")
    return text, limit, threshold


def results(answer: dict, prefix: str) -> list[dict]:
    rows = zip(answer["labels"], answer["names"], answer["scores"], strict=True)
    return [{"uri": label_uri(a, prefix), "label": name, "notation": None, "score": score} for a, name, score in rows]
