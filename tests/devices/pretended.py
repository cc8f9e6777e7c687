"""A second device that is pretended: tensors whose numbers lie in the CPU's memory, but which say that they do not.

PyTorch's `meta` device lends its name. A tensor there is a wrapper around one on the CPU; an operation that mixes both
sides fails as on a GPU, so does NumPy's view of it, and code that asks `device.type == "cpu"` takes its other branch.
What a GPU would compute, and how fast, is not seen this way: only that everything is where it must be.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator

import pytest
import torch
from pytorch_lightning.accelerators import Accelerator
from pytorch_lightning.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

NAME = "meta"
# CUDA takes indices and sources that lie on the CPU, and the lengths of packed texts must
MIX = ("aten.index.", "aten.index_put", "aten._index_put_impl_", "aten._unsafe_index", "aten.copy_", "aten._to_copy")
PACKED = "aten._pack_padded_sequence.", "aten._pad_packed_sequence."


class Pretended(Tensor):
    @staticmethod
    def __new__(cls, held: Tensor):
        if held.layout != torch.strided:
            raise RuntimeError(f"a pretended tensor cannot be {held.layout}")
        return Tensor._make_wrapper_subclass(
            cls, held.size(), strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype,
            device=NAME, requires_grad=held.requires_grad,
        )  # fmt: skip

    def __init__(self, held: Tensor):
        self.held = held

    def __repr__(self) -> str:
        return f"Pretended({self.held})"

    def __reduce_ex__(self, protocol):  # a checkpoint that is loaded to the CPU
        return self.detach().cpu().__reduce_ex__(protocol)

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), keywords=None):
        """What does not reach the dispatcher, or not as it was asked."""
        keywords = keywords or {}
        if function in (Tensor.tolist, Tensor.__format__):
            arguments = (arguments[0].cpu(), *arguments[1:])
        with torch._C.DisableTorchFunctionSubclass():
            return function(*arguments, **keywords)

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), keywords=None):
        return _run(function, arguments, keywords or {})


def _run(function, arguments, keywords):
    name = str(function)
    leaves = [leaf for leaf in tree_leaves((arguments, keywords)) if isinstance(leaf, Tensor)]
    there = [leaf for leaf in leaves if isinstance(leaf, Pretended)]
    here = [leaf for leaf in leaves if not isinstance(leaf, Pretended) and leaf.dim()]
    if there and here and not name.startswith((*MIX, *PACKED)):
        raise RuntimeError(
            f"{name}: tensors on the pretended device and on the CPU, of {[tuple(t.shape) for t in here]}"
        )
    asked = keywords.get("device")
    goes = bool(there) if asked is None else torch.device(asked).type == NAME
    if name.startswith("aten.copy_"):
        goes = isinstance(arguments[0], Pretended)
    generator = keywords.get("generator")
    if goes and generator is not None and generator.device.type != NAME:
        raise RuntimeError(f"{name}: a generator of the CPU for the pretended device")
    if asked is not None:
        keywords = keywords | {"device": torch.device("cpu")}
    if "pin_memory" in keywords:
        keywords = keywords | {"pin_memory": False}
    answer = function(*tree_map(_held, arguments), **tree_map(_held, keywords))
    if not goes:
        return answer
    before = {id(leaf.held): leaf for leaf in there} if function._schema.is_mutable else {}

    def put(leaf):
        known = before.get(id(leaf))
        return known if known is not None else Pretended(leaf) if isinstance(leaf, Tensor) else leaf

    return (put(answer[0]), answer[1]) if name.startswith(PACKED) else tree_map(put, answer)


def _held(leaf):
    return leaf.held if isinstance(leaf, Pretended) else leaf


class _Matrix:
    """A sparse one, of which only the product with a dense one is asked for: a wrapper cannot be sparse."""

    def __init__(self, held: Tensor):
        self.held = held

    def __matmul__(self, dense: Pretended) -> Pretended:
        return Pretended(self.held @ dense.held)


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        return _run(function, arguments, keywords or {})


class _Functions(TorchFunctionMode):
    """What does not reach the dispatcher."""

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        keywords = dict(keywords or {})
        if function in (torch.tensor, torch.as_tensor) and keywords.get("device") is not None:
            device = keywords.pop("device")
            return function(*arguments, **keywords).to(device)
        return function(*arguments, **keywords)


@contextlib.contextmanager
def pretended() -> Iterator[None]:
    """The device is there, and PyTorch's lists of what devices can do have it."""
    optimizer = importlib.import_module("torch.optim.optimizer")  # torch.optim hides it
    fused = optimizer._get_fused_kernels_supported_devices()
    enabled, dtype, compressed = torch.is_autocast_enabled, torch.get_autocast_dtype, torch.sparse_csr_tensor

    class Autocast(torch.autocast):
        def __init__(self, device_type, *arguments, **keywords):
            super().__init__(_known(device_type), *arguments, **keywords)

    def csr(*arguments, **keywords):
        matrix = compressed(*tree_map(_held, arguments), **tree_map(_held, keywords))
        return _Matrix(matrix) if isinstance(arguments[0], Pretended) else matrix

    with pytest.MonkeyPatch.context() as patch, _Operations(), _Functions():
        patch.setattr(optimizer, "_get_fused_kernels_supported_devices", lambda: [*fused, NAME])
        patch.setattr(torch, "autocast", Autocast)
        patch.setattr(torch, "is_autocast_enabled", lambda *device: enabled(*map(_known, device)))
        patch.setattr(torch, "get_autocast_dtype", lambda device: dtype(_known(device)))
        patch.setattr(torch, "sparse_csr_tensor", csr)
        patch.setattr(torch, "inference_mode", torch.no_grad)  # which takes no wrappers
        yield


def _known(device_type: str) -> str:
    return "cpu" if device_type == NAME else device_type


class PretendedAccelerator(Accelerator):
    """For Lightning."""

    def setup_device(self, device: torch.device) -> None:
        pass

    def teardown(self) -> None:
        pass

    @staticmethod
    def parse_devices(devices):
        return devices

    @staticmethod
    def get_parallel_devices(devices):
        return [torch.device(NAME)]

    @staticmethod
    def auto_device_count() -> int:
        return 1

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def name() -> str:
        return "pretended"


class _Strategy(SingleDeviceStrategy):
    """A parameter that is moved stays the same object, as on a GPU."""

    def model_to_device(self) -> None:
        with swapped():
            super().model_to_device()

    def teardown(self) -> None:
        with swapped():
            super().teardown()


@contextlib.contextmanager
def swapped():
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(False)


def trainer_settings() -> dict:
    return {"accelerator": PretendedAccelerator(), "strategy": _Strategy(torch.device(NAME)), "devices": 1}
