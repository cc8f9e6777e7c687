"""Dense or chunked, by the memory that dense would need."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import torch

from xmtc.estimating.label_side import dense_bytes
from xmtc.execution.base import Execution
from xmtc.execution.chunked import Chunked, kept
from xmtc.execution.dense import Dense
from xmtc.heads.block import FullBlock

log = logging.getLogger(__name__)
# Where both fit, dense and chunked differ little in time (experiments/LOG.md), so dense runs as long as what it holds
# beyond weights, gradients and states leaves most of the memory to the encoder. What is kept of the raw logits takes a
# 32nd at most. Fewer logits than a 2,048th are not looked at: dense holds some ten tensors of their size.
DENSE_SHARE, KEPT_SHARE, UNSEEN_SHARE = 1 / 8, 1 / 32, 1 / 2048
STATES = 2  # numbers that the optimiser keeps of a weight: Adam's
TOKENS = 500  # of a document, where nothing limits them
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of a container


def total_memory(device: str) -> int:
    """Bytes the device has in all (a container: may use); never what happens to be free, which would differ from run to
    run."""
    if device == "cuda":
        return torch.cuda.get_device_properties(0).total_memory
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in LIMITS:
        try:
            limits.append(int(Path(path).read_text()))
        except (OSError, ValueError):  # no such control group, or "max"
            continue
    return min(limits)


def auto(
    decoder,
    head,
    objective,
    batch_size: int,
    evaluation_batch_size: int,
    tokens: int | None = None,
    accelerator: str = "auto",
    precision: str | int | None = None,
    memory_gib: float | None = None,
) -> Execution:
    """batch_size, evaluation_batch_size: documents a step. tokens: of a document at most. accelerator, precision: the
    trainer's. memory_gib: of the device; null: all that this machine has. Without an objective nothing is trained, and
    evaluation alone counts, on this machine.
    """
    on_gpu = torch.cuda.is_available() and accelerator in ("gpu", "cuda", "auto")
    memory = total_memory("cuda" if on_gpu else "cpu")
    if memory_gib is not None and objective is not None:
        memory = memory_gib * 2**30
    labels, tokens = decoder.num_labels, tokens or TOKENS
    level = logging.DEBUG if objective is None else logging.INFO  # a prediction's user did not ask
    if not head.in_slices():
        full = any(isinstance(block, FullBlock) for block in head.blocks)
        log.log(level, "execution: dense, for %s knows no other", "an L x L head" if full else type(head).__name__)
        return Dense(decoder, head, objective)
    if objective is not None and str(precision).startswith(("16", "bf16-true")):
        log.log(level, "execution: dense, for chunks cannot be trained with trainer.precision=%s", precision)
        return Dense(decoder, head, objective)
    try:
        reads_tokens = len(decoder.features_shape(1, 1)) == 3
        logits = 4 * labels * max(batch_size, evaluation_batch_size) * (tokens if reads_tokens else 1)
        if logits <= UNSEEN_SHARE * memory:
            log.log(level, "execution: dense, for its logits are small beside %.3g GiB", memory / 2**30)
            return Dense(decoder, head, objective)
        needed = dense_bytes(decoder, head, objective, batch_size, evaluation_batch_size, tokens)
    except Exception as error:  # a decoder or a block of somebody else's need not be one that could be cut into chunks
        level = logging.DEBUG if objective is None else logging.WARNING  # in one of our own parts it is a mistake
        log.log(level, "execution: dense, for its memory cannot be estimated (%s: %s)", type(error).__name__, error)
        return Dense(decoder, head, objective)
    weights = sum(p.nbytes for part in (decoder, head) for p in part.parameters())
    held = weights * (1 if objective is None else 2 + STATES)
    left = max(memory - held, 0)
    share = f"its logits take {needed / 2**30:.2g} GiB of the {left / 2**30:.3g} that labels' weights leave"
    if needed <= DENSE_SHARE * left:
        log.log(level, "execution: dense, for %s, no more than an eighth", share)
        return Dense(decoder, head, objective)
    # in quarters: what estimates can tell apart with a few small chunks
    keep = min(int(4 * KEPT_SHARE * memory / max(4 * batch_size * labels, 1)), 4) / 4
    log.log(level, "execution: chunked (%s), for dense: %s, more than an eighth", kept(keep), share)
    return Chunked(decoder, head, objective, keep_raw=keep)


CHOICES = {f"{kind.__module__}.{kind.__qualname__}": kind for kind in (Dense, Chunked)}  # what `auto` may answer


def node_of(execution: Execution) -> dict | None:
    """The node of a configuration that makes an execution like one that `auto` has chosen; None for any other."""
    target = next((name for name, kind in CHOICES.items() if type(execution) is kind), None)
    if target is None:
        return None
    return {"_target_": target} | ({"keep_raw": execution.keep_raw} if isinstance(execution, Chunked) else {})
