"""Bytes of the tensors that live while code runs, by phase. Counts what PyTorch operators make, on any device."""

from __future__ import annotations

import weakref
from collections import defaultdict

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Tracker(TorchDispatchMode):
    """Peak bytes of each phase, `peaks[name]`, tensors made before the tracker left out; `live` is what lives now.

    Memory that an operator takes and gives back inside itself is not seen. Costs some microseconds an operator.
    moments: a list that is told what lives after each operator, and where a phase begins.
    """

    def __init__(self, moments: list[int] | None = None):
        super().__init__()
        self.moments = moments
        self.live = 0
        self.peaks: dict[str, int] = defaultdict(int)
        self._phase = ""
        self._known: dict[int, weakref.ref] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled under a tracker, and to say so PyTorch would import its compiler: two seconds."""
        return False

    def phase(self, name: str) -> None:
        self._phase = name
        self.peaks[name] = max(self.peaks[name], self.live)
        if self.moments is not None:
            self.moments.append(self.live)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        before = {storage._cdata for storage in _storages((args, kwargs))}
        result = function(*args, **kwargs)
        for storage in _storages(result):
            if storage._cdata not in before and storage._cdata not in self._known:
                self._count(storage)
        self.peaks[self._phase] = max(self.peaks[self._phase], self.live)
        if self.moments is not None:
            self.moments.append(self.live)
        return result

    def _count(self, storage) -> None:
        key, size = storage._cdata, storage.nbytes()

        def gone(_):
            self.live -= size
            del self._known[key]

        self.live += size
        self._known[key] = weakref.ref(storage, gone)


def _storages(values) -> list[torch.UntypedStorage]:
    tensors = [value for value in tree_leaves(values) if isinstance(value, Tensor)]
    return [part.untyped_storage() for tensor in tensors for part in _parts(tensor)]


def _parts(tensor: Tensor) -> list[Tensor]:
    if tensor.layout is torch.strided:
        return [tensor]
    if tensor.layout is torch.sparse_coo:
        return [tensor._indices(), tensor._values()]
    return [tensor.crow_indices(), tensor.col_indices(), tensor.values()]
