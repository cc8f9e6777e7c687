"""format=annif: what Annif (https://annif.org) needs to ask a running `python -m xmtc.serve` for subjects.

    vocabulary.tsv   <URI>TAB label, Annif's simple vocabulary: `annif load-vocab xmtc vocabulary.tsv`
    projects.cfg     a project with Annif's `http` backend that asks the server

The URIs are those that the server answers with. Nothing is translated: Annif does the asking, xmtc the tagging.
"""

from __future__ import annotations

from pathlib import Path

from xmtc.serving.uris import PROJECT, label_uri

_PROJECT = """[{project}]
name=xmtc {name}
language={language}
backend=http
vocab=xmtc
endpoint={endpoint}/v1/projects/{project}/suggest
limit={limit}
"""


def export_annif(model, folder: Path, prefix: str, endpoint: str, language: str, limit: int) -> dict:
    """prefix: before label ids that are no URIs, as the server's `uri_prefix`. endpoint: the server's address."""
    lines = (f"<{label_uri(label.id, prefix)}>\t{label.name}\n" for label in model.labels)
    with open(folder / "vocabulary.tsv", "w", encoding="utf-8", newline="\n") as file:
        file.writelines(lines)
    name = (model.config.get("dataset") or {}).get("name", "")
    project = _PROJECT.format(project=PROJECT, name=name, language=language, endpoint=endpoint.rstrip("/"), limit=limit)
    (folder / "projects.cfg").write_text(project, encoding="utf-8")
    return {"labels": model.num_labels, "uri_prefix": prefix, "endpoint": endpoint}
