# SPDX-License-Identifier: Apache-2.0
"""Arrays in GPU memory: our own, and those of others, taken without a copy."""

import sys
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from bnn_hw.errors import ArtefactError, ToolError

__all__ = ["MAX_ELEMENTS", "DeviceArray", "stream_handle", "take_array"]

MAX_ELEMENTS = 1 << 31
_CUDA_DEVICES = (2, 13)  # DLPack's kDLCUDA and kDLCUDAManaged
_DEFAULT_STREAM = 1  # DLPack's number for CUDA's default stream


@dataclass(frozen=True, eq=False)
class DeviceArray:
    """An array in GPU memory, row-major; `owner` keeps the memory. `row_stride`: elements from row to row where not contiguous.

    It has `__cuda_array_interface__`: ``torch.as_tensor(array, device="cuda")`` and ``cupy.asarray(array)`` share its memory.
    Its stream may still have pending work on it.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype
    owner: object
    row_stride: int = 0

    @property
    def size(self) -> int:
        """The number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes of the elements."""
        return self.size * self.dtype.itemsize

    @property
    def stride(self) -> int:
        """The elements from one row to the next."""
        return self.row_stride or prod(self.shape[1:])

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        strides = None
        if self.row_stride:
            inner = np.empty(self.shape[1:], np.uint8).strides
            strides = tuple(step * self.dtype.itemsize for step in (self.row_stride, *inner))
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.address, False), "strides": strides, "version": 3}


def take_array(value: object, name: str, stream: int = 0) -> DeviceArray:
    """Returns an array of torch, CuPy, or anything with `__cuda_array_interface__` or DLPack, sharing its memory.

    Rows may have gaps between them; the elements of a row must be contiguous. With DLPack, later work on `stream` waits for the
    array's pending work. Raises `ArtefactError` for memory of the CPU, for an element type without
    a numpy name, for rows whose elements are not contiguous, and for more than 2**31 elements.
    """
    if isinstance(value, DeviceArray):
        return _checked(value, name)
    device = getattr(value, "__dlpack_device__", None)
    if device is not None and int(device()[0]) not in _CUDA_DEVICES:
        raise ArtefactError(
            f"{name} must be in the memory of a CUDA device, not of the CPU; move it there, as with .cuda() in torch"
        )
    if getattr(value, "requires_grad", False):
        value = value.detach()  # type: ignore[attr-defined]
    try:
        interface = getattr(value, "__cuda_array_interface__", None)
    except TypeError:  # torch, for bfloat16
        interface = None
    if interface is None and device is None:
        raise ArtefactError(f"{name} must be an array on a CUDA device (torch, CuPy, DLPack), not {type(value).__name__}")
    if interface is None:
        return _from_dlpack(value, name, stream)
    dtype = np.dtype(interface["typestr"])
    return _from_strides(value, name, interface["data"][0], tuple(interface["shape"]), dtype, interface.get("strides"))


def stream_handle(stream: object, *arrays: object) -> int:
    """Returns the handle of a stream: an integer, a torch, CuPy or cuda.core stream; without one, that of the arrays.

    That is torch's current stream for torch tensors, the one that `__cuda_array_interface__` names for others, else CUDA's
    default stream, with which other streams wait for each other.
    """
    if isinstance(stream, int):
        return stream
    for attribute in ("cuda_stream", "ptr", "handle"):  # of torch, CuPy, cuda.core
        if hasattr(stream, attribute):
            return int(getattr(stream, attribute))
    if stream is not None:
        raise ArtefactError(f"stream must be a stream of torch, CuPy or cuda.core or its handle, not {type(stream).__name__}")
    torch = sys.modules.get("torch")
    for array in arrays:
        if torch is not None and isinstance(array, torch.Tensor):
            return int(torch.cuda.current_stream(array.device).cuda_stream)
        named = getattr(array, "__cuda_array_interface__", {}).get("stream")
        if named:
            return int(named)
    return 0


def _from_dlpack(value: object, name: str, stream: int) -> DeviceArray:
    view = _memory_view(value, stream or _DEFAULT_STREAM)
    if view.dtype is None:
        raise ArtefactError(f"{name} must be of a type that numpy has, not of {getattr(value, 'dtype', 'another')}")
    itemsize = view.dtype.itemsize
    strides = None if view.strides is None else tuple(step * itemsize for step in view.strides)
    return _from_strides(view, name, view.ptr, tuple(view.shape), view.dtype, strides)


def _memory_view(value: object, stream: int) -> Any:
    try:
        try:
            from cuda.core.utils import StridedMemoryView
        except ImportError:  # cuda-core before 1.0, which some images of GPU machines have
            from cuda.core.experimental.utils import StridedMemoryView
    except ImportError as error:
        raise ToolError(f"cuda-core, which takes arrays by DLPack, is not installed: {error}") from error
    view = getattr(StridedMemoryView, "from_dlpack", StridedMemoryView)  # before 0.4 the class itself took them
    return view(value, stream_ptr=stream)


def _from_strides(
    owner: object, name: str, address: int, shape: tuple[int, ...], dtype: np.dtype, strides: tuple[int, ...] | None
) -> DeviceArray:
    itemsize = int(dtype.itemsize)
    expected = [itemsize * int(prod(shape[axis + 1 :])) for axis in range(len(shape))]
    row_stride = 0
    if strides is not None and 0 not in shape:
        wrong = [axis for axis in range(len(shape)) if shape[axis] > 1 and strides[axis] != expected[axis]]
        if any(wrong) or (wrong and (strides[0] < expected[0] or strides[0] % dtype.itemsize)):
            raise ArtefactError(
                f"{name} must have its rows' elements one after the other, not strides of {strides}; make it contiguous"
            )
        row_stride = strides[0] // dtype.itemsize if wrong else 0
    return _checked(DeviceArray(address, shape, dtype, owner, row_stride), name)


def _checked(array: DeviceArray, name: str) -> DeviceArray:
    if array.size > MAX_ELEMENTS:
        raise ArtefactError(f"{name} must have at most {MAX_ELEMENTS:,} elements, not {array.size:,}; split it")
    if array.address % array.dtype.itemsize:
        raise ArtefactError(
            f"{name} must be aligned to its elements of {array.dtype.itemsize} bytes, not at address {array.address:#x}"
        )
    return array
