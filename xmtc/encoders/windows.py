"""Token rows of a store -> rows as a pretrained model reads them: special tokens added, long documents in windows.

A store keeps a Hugging Face tokenizer's ids without special tokens. A document of n tokens becomes
1 + ceil((n - window) / stride) rows (one if n <= window), row w holding tokens w * stride ... w * stride + window; each
row gets the tokens that the tokenizer puts before and behind a text ([CLS] and [SEP], <s> and </s>, nothing).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor


@dataclass
class Windows:
    """ids (N, W) int64, mask (N, W) bool, True at tokens; documents (N,) int64, ascending: whose row it is;
    lengths (N,) int64: tokens of the row without special ones, which stand behind the first `before`."""

    ids: Tensor
    mask: Tensor
    documents: Tensor
    lengths: Tensor


@lru_cache(maxsize=8)
def special_tokens(definition: Path) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Ids that the tokenizer in this `tokenizer.json` puts before and behind one text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(definition))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    bare = tokenizer.encode("a", add_special_tokens=False).ids
    dressed = tokenizer.encode("a", add_special_tokens=True).ids
    extra = len(dressed) - len(bare)
    before = next(i for i in range(extra + 1) if dressed[i : i + len(bare)] == bare)
    return tuple(dressed[:before]), tuple(dressed[before + len(bare) :])


def windows(
    tokens_BT: Tensor,
    lengths_B: Tensor,
    before: tuple[int, ...],
    behind: tuple[int, ...],
    padding: int,
    window: int | None = None,
    stride: int | None = None,
) -> Windows:
    """window: tokens of a document in a row, None for all; stride: from one row's start to the next's, window if None.

    Cost: no loop over documents; one wait for the device where the number of rows is read.
    """
    device, B = tokens_BT.device, len(tokens_BT)
    longest = int(lengths_B.max()) if B else 0
    window = min(window or longest, longest)
    stride = stride or window or 1
    counts_B = 1 + torch.div((lengths_B - window).clamp(min=0) + stride - 1, stride, rounding_mode="floor")
    documents = torch.repeat_interleave(torch.arange(B, device=device), counts_B)
    first = torch.cumsum(counts_B, 0) - counts_B
    starts = (torch.arange(len(documents), device=device) - first[documents]) * stride
    lengths = (lengths_B[documents] - starts).clamp(max=window)
    places = torch.arange(window + len(before) + len(behind), device=device) - len(before)  # in the row's own text
    source = (starts[:, None] + places).clamp(0, max(tokens_BT.shape[1] - 1, 0))
    ids = tokens_BT[documents[:, None], source] if B else source
    ids = torch.where(places < lengths[:, None], ids, padding)
    for i, token in enumerate(before):
        ids[:, i] = token
    for i, token in enumerate(behind):
        ids = torch.where(places == lengths[:, None] + i, token, ids)
    mask = places < lengths[:, None] + len(behind)
    return Windows(ids, mask, documents, lengths)
