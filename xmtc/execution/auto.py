"""Dense or chunked, by the memory that dense would need."""

from __future__ import annotations

import logging
import os

import torch

from xmtc.execution.base import Execution
from xmtc.execution.chunked import Chunked, kept
from xmtc.execution.dense import Dense
from xmtc.heads.block import FullBlock

log = logging.getLogger(__name__)
# where both fit, dense or chunked differ little in time (experiments/LOG.md), so dense runs as long as its logits leave
# most of the memory to parameters, gradients and the optimiser; what is kept of the raw logits takes a 32nd at most
DENSE_SHARE, KEPT_SHARE = 1 / 8, 1 / 32


def total_memory(device: str) -> int:
    """Bytes the device has in all; never what happens to be free, which would differ from run to run."""
    if device == "cuda":
        return torch.cuda.get_device_properties(0).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def auto(
    decoder, head, objective, batch_size: int, evaluation_batch_size: int, memory_gib: float | None = None
) -> Execution:
    """batch_size, evaluation_batch_size: documents a step. memory_gib: of the device; null: all that this machine has.

    Dense holds about 4 n + 4 tensors of (B, L) in a training step and n + 2 in an evaluation.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    memory = total_memory(device) if memory_gib is None else memory_gib * 2**30
    labels, blocks = decoder.num_labels, len(head.blocks)
    logits = 4 * labels * max(batch_size * (4 * blocks + 4), evaluation_batch_size * (blocks + 2))
    share = f"dense logits would take {logits / 2**30:.2g} GiB of {memory / 2**30:.3g}"
    if any(isinstance(block, FullBlock) for block in head.blocks):
        log.info("execution: dense, for an L x L head knows no other")
        return Dense(decoder, head, objective)
    if logits <= DENSE_SHARE * memory:
        log.info("execution: dense, for %s, no more than one eighth", share)
        return Dense(decoder, head, objective)
    # in quarters: what estimates can tell apart with a few small chunks
    keep = min(int(4 * KEPT_SHARE * memory / (4 * batch_size * labels)), 4) / 4
    log.info("execution: chunked (%s), for %s", kept(keep), share)
    return Chunked(decoder, head, objective, keep_raw=keep)
