"""What a store knows of its labels: frequencies, bands and hierarchy."""

from __future__ import annotations

import numpy as np

from xmtc.data.store import Store


class LabelSide:
    """Labels 0 .. L - 1 of a store."""

    def __init__(self, store: Store):
        self.store = store

    @property
    def size(self) -> int:
        return self.store.num_labels

    def frequency(self) -> np.ndarray:
        """(L,) int64: training documents of each label."""
        return np.bincount(self.store.parts["train"].label_ids, minlength=self.size)

    def bands(self, head: float = 0.1, torso: float = 0.4) -> dict[str, np.ndarray]:
        """head, torso, tail -> labels, most frequent first; shares are of labels, and labels never met are tail."""
        frequency = self.frequency()
        order = np.argsort(-frequency, kind="stable")
        stops = [int(np.ceil(round(share * self.size, 6))) for share in (head, head + torso)]
        met = int((frequency > 0).sum())
        first, second = (min(stop, met) for stop in stops)
        return {"head": order[:first], "torso": order[first:second], "tail": order[second:]}

    def parents(self) -> list[tuple[int, int]]:
        """(label, the label above it), both labels of the store; what lies above but is no label is left out."""
        number = {label: i for i, label in enumerate(self.store.labels)}
        pairs = ((number.get(child), number.get(above)) for child, above in self.store.label_parents())
        return sorted((child, above) for child, above in pairs if child is not None and above is not None)
