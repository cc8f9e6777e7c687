"""Which of the predicted labels are true: the one question every metric here asks of the data."""

from __future__ import annotations

import torch
from torch import Tensor

from xmtc.data.batch import Labels

# A (document, label) pair is one int64 key: 23 bits of document, 40 bits of label. A fixed stride rather than L or the
# largest id keeps the host from having to wait for the device.
LABEL_BITS = 40
MAX_DOCUMENTS = 1 << (63 - LABEL_BITS)


def hits(topk_BK: Tensor, labels: Labels) -> Tensor:
    """(B, K) bool: is predicted label topk_BK[b, j] a gold label of document b?

    topk_BK: int64, each label at most once a document; negative ids are padding and never hit.
    Cost: O((P + B K) log P) time, O(P + B K) memory; nothing of size L, no wait for the device.
    """
    if topk_BK.ndim != 2 or len(topk_BK) != len(labels):
        raise ValueError(
            f"expected ({len(labels)}, K) predicted labels for {len(labels)} gold sets, "
            f"got shape {tuple(topk_BK.shape)}"
        )
    if len(labels) >= MAX_DOCUMENTS:
        raise ValueError(f"at most {MAX_DOCUMENTS - 1} documents an update, got {len(labels)}")
    documents = torch.arange(len(labels), device=topk_BK.device)
    wanted = (documents[:, None] << LABEL_BITS) + topk_BK
    gold = (labels.rows() << LABEL_BITS) + labels.ids
    # Padding needs no mask: -1 becomes the last of the 2^40 ids of the document before, which no label has.
    # The sort makes a gold set in any order safe; the last key is a sentinel, so that every position found exists.
    gold = torch.cat([gold.sort().values, gold.new_full((1,), torch.iinfo(torch.int64).max)])
    return gold[torch.searchsorted(gold, wanted)] == wanted
