"""xmtc: extreme multi-label text classification, any encoder x correlation head x dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    import torch

    from xmtc.heads.block import CorrelationHead
    from xmtc.tagger import Tagger

__version__ = "0.1.0"


def run(overrides: Sequence[str] = ()) -> dict[str, Any]:
    """One run from Python: `xmtc.run(["encoder=bow", "head=none"])` returns what its metrics.json holds.

    Raises `xmtc.errors.InputError` for input that cannot be used.
    """
    from xmtc.job import run as run_

    return run_(overrides)


def load(run: str | Path, device: str | torch.device = "cpu", execution: str | None = None) -> Tagger:
    """A trained model from its run directory: `xmtc.load(RUN).predict(["text"], k=5)`.

    device: where it computes. execution: how decoder and head are run; null: as in training. Raises
    `xmtc.errors.InputError` for a folder that is no run and for damaged files.
    """
    from xmtc.loading import load as load_

    return load_(run, device, execution)


def attach_head(
    model: torch.nn.Module,
    num_labels: int | None = None,
    head: str | CorrelationHead = "lcenet",
    weights: str | Path | Mapping[str, torch.Tensor] | None = None,
    **options: Any,
) -> torch.nn.Module:
    """A correlation head on any classifier that gives logits, in place; see `xmtc.attach`.

    It starts as the identity and is trained, saved and loaded with the model.
    """
    from xmtc.attach import attach_head as attach_head_

    return attach_head_(model, num_labels, head, weights, **options)
