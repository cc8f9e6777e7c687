"""`python -m xmtc.export RUN format=safetensors|onnx|annif [key=value...]`: a trained run in another format.

Exit code 0 when the folder is complete; 2 for a run or a setting that cannot be used, with no folder left behind.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from xmtc.arguments import Arguments
from xmtc.config.settings import describe_settings, read_settings
from xmtc.entry import bad_input
from xmtc.errors import InputError
from xmtc.serving.uris import PREFIX


def _key(about: str, **default):
    return field(metadata={"help": about}, **default)


@dataclass(frozen=True)
class ExportSettings:
    format: Literal["safetensors", "onnx", "annif"] = _key(
        "weights to load; a graph to run elsewhere; a project of Annif"
    )
    output: str | None = _key("folder to make; null is RUN/exports/FORMAT", default=None)
    k: int = _key("onnx: labels of a document", default=100)
    int8: bool = _key("onnx: also a graph in 8 bits, with its loss in P@k", default=False)
    documents: int = _key("onnx: validation documents on which that is measured", default=1000)
    uri_prefix: str = _key("annif: before label ids that are no URIs", default=PREFIX)
    endpoint: str = _key("annif: where xmtc.serve listens", default="http://127.0.0.1:8000")
    language: str = _key("annif: of the texts", default="en")

    def __post_init__(self):
        for name in ("k", "documents"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: expected at least 1, got {getattr(self, name)}")


def export(run: str | Path, settings: ExportSettings) -> tuple[Path, dict]:
    """The folder made, and what its export.json says of it. Raises InputError."""
    import xmtc
    from xmtc.exporting.folder import filled, write_facts
    from xmtc.model import Model

    model = xmtc.load(run)
    if not isinstance(model, Model) and settings.format != "annif":
        raise InputError(
            f"format={settings.format}: expected a run with an encoder of layers, {run} is none; of an ensemble, export"
            " its members"
        )
    target = Path(settings.output) if settings.output else Path(run) / "exports" / settings.format
    with filled(target) as folder:
        if settings.format == "safetensors":
            from xmtc.exporting.weights import export_weights

            facts = export_weights(model, folder)
        elif settings.format == "onnx":
            from xmtc.exporting.onnx import export_onnx

            facts = export_onnx(model, folder, settings.k, settings.int8, settings.documents)
        else:
            from xmtc.exporting.annif import export_annif

            facts = export_annif(
                model, folder, settings.uri_prefix, settings.endpoint, settings.language, min(100, model.num_labels)
            )
        write_facts(folder, settings.format, facts)
    return target, facts


def main(argv: Sequence[str] | None = None) -> None:
    parser = Arguments(
        prog="python -m xmtc.export",
        description="Writes a trained run in another format and prints what was made as JSON.",
        examples=(
            "runs/a format=safetensors",
            "runs/a format=onnx int8=true output=onnx",
            "runs/a format=annif language=de",
        ),
        notes=f"settings, as key=value [default]:\n{describe_settings(ExportSettings)}",
    )
    parser.add_argument("run", metavar="RUN", help="a run directory")
    parser.add_argument("settings", nargs="*", default=[], metavar="key=value", help="see below")
    arguments, rest = parser.parse_known_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    try:
        target, facts = export(arguments.run, read_settings(ExportSettings, [*arguments.settings, *rest]))
    except InputError as error:
        raise bad_input("xmtc.export", error) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    print(json.dumps({"output": str(target)} | facts, ensure_ascii=False))


if __name__ == "__main__":
    main()
