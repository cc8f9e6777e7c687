"""Which labels' evidence made a correlation block raise or lower a label: exact, block by block.

A block with gate s, nonlinearity d, gather W1, b1 and spread W2, b2 answers for label l

    y_l = r x_l + b2_l + sum_c W2_lc d(g_c),        g_c = b1_c + sum_j W1_jc s(x_j)

Against a reference document with gates s(x0) (the empty text) its context number c is m_c (g_c - g0_c) away from the
reference's, with m_c the slope of the chord of d between the two (the rescale rule of DeepLIFT, Shrikumar et al., ICML
2017). So

    y_l = r x_l  +  base_l  +  sum_j A_lj,     A_lj = (s(x_j) - s(x0_j)) sum_c W1_jc m_c W2_lc

where base_l = b2_l + sum_c W2_lc d(g0_c) is what the block adds to an empty document. Nothing is approximated: the sum
is checked against the block's output for every label (`completeness_error`). A full L x L block is the same without c.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xmtc.heads.block import ENTRY, MIDDLE, CorrelationBlock, FullBlock


@dataclass
class BlockAttribution:
    """For t target labels. evidence (t, L): A; kept (t,): r x; base (t,); output (t,): the block's logits.

    contexts (t, R): what each context number adds to a target, against the reference. evidence_of (L, R) would be its
    parts, given by `context_evidence`. completeness_error: largest |kept + base + sum of evidence - output|.
    """

    kept: Tensor
    base: Tensor
    evidence: Tensor
    output: Tensor
    contexts: Tensor | None
    completeness_error: float


def attribute(
    block: CorrelationBlock | FullBlock, logits_L: Tensor, reference_L: Tensor, targets: Tensor
) -> BlockAttribution:
    """Splits a block's output for the labels `targets` (t,). Cost: t (L R + L) beside two passes of the block."""
    gate = ENTRY[block.entry]
    moved_L = gate(logits_L) - gate(reference_L)
    kept = logits_L[targets] if block.residual else torch.zeros_like(logits_L[targets])
    output = block(logits_L[None])[0, targets]
    without = block(reference_L[None])[0, targets]
    base = without - reference_L[targets] if block.residual else without
    if isinstance(block, FullBlock):
        evidence, contexts = block.weight[targets] * moved_L, None
    else:
        slope_R, difference_R = chord(block, logits_L, reference_L)
        spread_tR = block.spread_weight[targets]
        evidence = (spread_tR * slope_R) @ block.gather_weight.t() * moved_L
        contexts = spread_tR * difference_R
    error = (kept + base + evidence.double().sum(1) - output).abs().max()
    return BlockAttribution(kept, base, evidence, output, contexts, float(error))


def chord(block: CorrelationBlock, logits_L: Tensor, reference_L: Tensor) -> tuple[Tensor, Tensor]:
    """Slope (R,) of the chord of the nonlinearity between reference and document, and its rise (R,)."""
    bend = MIDDLE[block.middle]
    here, there = (block.gather(x[None])[0] + block.gather_bias for x in (logits_L, reference_L))
    run, rise = here - there, bend(here) - bend(there)
    near = run.abs() < 1e-5  # the chord of two equal points is the tangent
    tangent = torch.where(here > 0, 1.0, here.exp()) if block.middle == "elu" else torch.ones_like(here)
    return torch.where(near, tangent, rise / torch.where(near, 1.0, run)), rise


def context_evidence(block: CorrelationBlock, logits_L: Tensor, reference_L: Tensor, context: int) -> Tensor:
    """(L,) what each label's evidence moved context number `context` by; sums to its rise against the reference."""
    gate = ENTRY[block.entry]
    slope_R, _ = chord(block, logits_L, reference_L)
    return (gate(logits_L) - gate(reference_L)) * block.gather_weight[:, context] * slope_R[context]
