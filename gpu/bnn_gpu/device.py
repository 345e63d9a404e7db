# SPDX-License-Identifier: Apache-2.0
"""A GPU: its memory, its kernels, launches, graphs and timers, by the CUDA driver. Needs a driver only once it is opened."""

import ctypes
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any, Final

import numpy as np

from bnn_gpu.arrays import DeviceArray
from bnn_gpu.compiler import INSTALL, cubin, target_of
from bnn_gpu.launches import Kernel, Launch
from bnn_hw.errors import ToolError

__all__ = ["Device", "device_of", "open_device"]

_UINT8: Final = 0  # CU_TENSOR_MAP_DATA_TYPE_UINT8
_SWIZZLE_128B: Final = 3  # CU_TENSOR_MAP_SWIZZLE_128B
_L2_256B: Final = 3  # CU_TENSOR_MAP_L2_PROMOTION_L2_256B


@dataclass(eq=False)
class Device:
    """An open GPU. `target`: what kernels are compiled for; `overlap`: whether a kernel may start before the previous one ends;
    `clusters`: whether the blocks of a cluster may share the data they load.

    `stream` arguments are handles of CUDA streams, 0 the default one. Each method makes the device's context the current one.
    """

    index: int
    name: str
    capability: tuple[int, int]
    multiprocessors: int
    clock_mhz: float
    l2_bytes: int
    target: str
    context: Any
    overlap: bool = True
    clusters: bool = True
    functions: dict[Kernel, Any] = field(default_factory=dict)

    def allocate(self, shape: tuple[int, ...], dtype: str, stream: int = 0, *, zero: bool = False) -> DeviceArray:
        """Returns new memory, zeroed or uninitialized."""
        driver = self._driver()
        array = DeviceArray(0, tuple(shape), np.dtype(dtype), None)
        memory = _Memory(self, _ask(driver.cuMemAlloc(max(array.nbytes, 1))))
        if zero:
            _ask(driver.cuMemsetD8Async(memory.address, 0, max(array.nbytes, 1), stream))
            self.synchronize(stream)  # other streams may use it next
        return DeviceArray(int(memory.address), array.shape, array.dtype, memory)

    def upload(self, array: np.ndarray, stream: int = 0) -> DeviceArray:
        """Returns a GPU copy of a CPU array; the copy is complete when this returns."""
        array = np.ascontiguousarray(array)
        placed = self.allocate(array.shape, array.dtype.str)
        if array.nbytes:
            _ask(self._driver().cuMemcpyHtoDAsync(placed.address, array.ctypes.data, array.nbytes, stream))
            self.synchronize(stream)
        return placed

    def download(self, array: DeviceArray, stream: int = 0) -> np.ndarray:
        """Returns a copy in the CPU's memory, after all work on the stream."""
        out = np.empty(array.shape, array.dtype)
        if out.nbytes:
            _ask(self._driver().cuMemcpyDtoHAsync(out.ctypes.data, array.address, out.nbytes, stream))
        self.synchronize(stream)
        return out

    def copy(self, to: DeviceArray, source: DeviceArray, stream: int = 0) -> None:
        """Copies an array to another of its size."""
        _ask(self._driver().cuMemcpyDtoDAsync(to.address, source.address, source.nbytes, stream))

    def fill(self, array: DeviceArray, byte: int, stream: int = 0) -> None:
        """Sets each byte of an array."""
        _ask(self._driver().cuMemsetD8Async(array.address, byte, array.nbytes, stream))

    def synchronize(self, stream: int = 0) -> None:
        """Waits for all work on a stream. Raises `ToolError` where a kernel has failed."""
        _ask(self._driver().cuStreamSynchronize(stream))

    def tensor_map(self, address: int, rows: int, row_bytes: int, stride_bytes: int, box_rows: int) -> bytes:
        """Returns a CUtensorMap of bytes [rows, row_bytes] in boxes of 128 bytes, with the 128-byte swizzle and zeros outside."""
        self._driver()
        storage = ctypes.create_string_buffer(128 + 63)
        place = -(-ctypes.addressof(storage) // 64) * 64
        longs, ints = ctypes.c_uint64 * 2, ctypes.c_uint32 * 2
        error = _encode_tiled()(
            place,
            _UINT8,
            2,
            address,
            longs(row_bytes, rows),
            longs(stride_bytes),
            ints(128, box_rows),
            ints(1, 1),
            0,
            _SWIZZLE_128B,
            _L2_256B,
            0,
        )
        if error:
            raise ToolError(
                f"the CUDA driver makes no tensor map of {rows} rows of {row_bytes} bytes at {address:#x}: error {error}"
            )
        return ctypes.string_at(place, 128)

    def launch(self, launch: Launch, stream: int = 0) -> None:
        """Starts a kernel on a stream."""
        driver = self._driver()
        config = driver.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = launch.grid
        config.blockDimX, config.blockDimY, config.blockDimZ = launch.block
        config.sharedMemBytes, config.hStream = launch.shared_bytes, driver.CUstream(stream)
        config.numAttrs = 0
        if launch.overlaps and self.overlap and self.capability >= (9, 0):
            attribute = driver.CUlaunchAttribute()
            attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
            attribute.value.programmaticStreamSerializationAllowed = 1
            config.attrs, config.numAttrs = [attribute], 1
        arguments = ctypes.create_string_buffer(launch.arguments, len(launch.arguments))
        pointers = (ctypes.c_void_p * 1)(ctypes.addressof(arguments))
        _ask(driver.cuLaunchKernelEx(config, self._function(launch), ctypes.addressof(pointers), 0))

    def graph(self, launches: Sequence[Launch]) -> Any:
        """Returns launches as one CUDA graph."""
        driver = self._driver()
        for launch in launches:
            self._function(launch)  # a graph cannot contain the loading of code
        stream = _ask(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))
        _ask(driver.cuStreamBeginCapture(stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL))
        try:
            for launch in launches:
                self.launch(launch, int(stream))
        finally:
            graph = _ask(driver.cuStreamEndCapture(stream))
        executable = _ask(driver.cuGraphInstantiate(graph, 0))
        _ask(driver.cuGraphDestroy(graph))
        _ask(driver.cuStreamDestroy(stream))
        return _Graph(self, executable)

    def replay(self, graph: Any, stream: int = 0) -> None:
        """Starts a graph on a stream."""
        _ask(self._driver().cuGraphLaunch(graph.executable, stream))

    def elapsed_ms(self, work: Callable[[], None], stream: int = 0) -> float:
        """Returns how long the work that `work` puts on a stream takes, between two events."""
        return self.each_ms(work, lambda: None, 1, stream)[0]

    def each_ms(self, work: Callable[[], None], before: Callable[[], None], count: int, stream: int = 0) -> list[float]:
        """Returns how long each of some executions of `work` takes, between events of its own; `before` precedes each, untimed.

        All are enqueued before the first is waited for: where `before` takes the GPU longer than the host takes to enqueue `work`,
        the host's time is not measured.
        """
        driver = self._driver()
        events = [(_ask(driver.cuEventCreate(0)), _ask(driver.cuEventCreate(0))) for _ in range(count)]
        for start, end in events:
            before()
            _ask(driver.cuEventRecord(start, stream))
            work()
            _ask(driver.cuEventRecord(end, stream))
        _ask(driver.cuEventSynchronize(events[-1][1]))
        elapsed = [float(_ask(driver.cuEventElapsedTime(start, end))) for start, end in events]
        for event in (event for pair in events for event in pair):
            _ask(driver.cuEventDestroy(event))
        return elapsed

    def _driver(self) -> ModuleType:
        driver = _driver()
        _ask(driver.cuCtxSetCurrent(self.context))
        return driver

    def _function(self, launch: Launch) -> Any:
        """Returns the kernel of a launch, compiled and loaded once."""
        function = self.functions.get(launch.kernel)
        if function is None:
            driver = self._driver()
            module = _ask(driver.cuModuleLoadData(cubin(launch.kernel, self.target)))
            function = _ask(driver.cuModuleGetFunction(module, launch.kernel.name.encode()))
            attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            if launch.shared_bytes:
                _ask(driver.cuFuncSetAttribute(function, attribute, launch.shared_bytes))
            self.functions[launch.kernel] = function
        return function


@dataclass(eq=False)
class _Memory:
    device: Device
    address: Any

    def __del__(self) -> None:
        try:
            self.device._driver().cuMemFree(self.address)
        except Exception:  # at the interpreter's end the driver may be gone before us
            return


@dataclass(eq=False)
class _Graph:
    device: Device
    executable: Any

    def __del__(self) -> None:
        try:
            self.device._driver().cuGraphExecDestroy(self.executable)
        except Exception:  # as above
            return


def open_device(index: int = 0, *, overlap: bool = True, clusters: bool = True, wgmma: bool = True) -> Device:
    """Opens a GPU; on Hopper, `overlap`, `clusters` and `wgmma` say which of these features are used.

    Raises `ToolError` if the driver or that GPU is missing, or if the kernels cannot be compiled for it.
    """
    driver = _driver()
    try:
        (error,) = driver.cuInit(0)
    except Exception as missing:  # cuda.bindings raises several classes of error for a missing driver library
        raise ToolError("no GPU: the NVIDIA driver is not installed on this machine") from missing
    if error != driver.CUresult.CUDA_SUCCESS:
        raise ToolError(f"no GPU: the NVIDIA driver says {error.name}")
    count = _ask(driver.cuDeviceGetCount())
    if not 0 <= index < count:
        raise ToolError(f"no GPU {index}: this machine has {count}")
    handle = _ask(driver.cuDeviceGet(index))
    ask = driver.CUdevice_attribute
    major, minor, processors, clock_khz, l2_bytes = (
        _ask(driver.cuDeviceGetAttribute(attribute, handle))
        for attribute in (
            ask.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            ask.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            ask.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT,
            ask.CU_DEVICE_ATTRIBUTE_CLOCK_RATE,
            ask.CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE,
        )
    )
    name = _ask(driver.cuDeviceGetName(256, handle)).rstrip(b"\0").decode()
    context = _ask(driver.cuDevicePrimaryCtxRetain(handle))
    target = target_of((major, minor))
    if not wgmma:
        target = target.removesuffix("a")  # Hopper without the instructions that only sm_90a has
    return Device(
        index, name, (major, minor), processors, clock_khz / 1000, l2_bytes, target, context, overlap=overlap, clusters=clusters
    )


def device_of(array: DeviceArray, name: str) -> int:
    """Returns the index of the GPU whose memory an array is in. Raises `ToolError` if it is not in GPU memory."""
    driver = _driver()
    open_device()
    attribute = driver.CUpointer_attribute.CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    error, index = driver.cuPointerGetAttribute(attribute, array.address)
    if error != driver.CUresult.CUDA_SUCCESS:
        raise ToolError(f"{name} lies at {array.address:#x}, which is no GPU's memory: {error.name}")
    return int(index)


@cache
def _encode_tiled() -> Any:
    """Returns the driver's cuTensorMapEncodeTiled: it needs maps aligned to 64 bytes, which cuda.bindings does not ensure."""
    function = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1").cuTensorMapEncodeTiled
    pointer, number = ctypes.c_void_p, ctypes.c_int
    function.argtypes = [pointer, number, ctypes.c_uint32, ctypes.c_uint64, pointer, pointer, pointer, pointer, *[number] * 4]
    return function


def _driver() -> ModuleType:
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise ToolError(f"cuda-bindings, the interface of the CUDA driver, is not installed ({error}): {INSTALL}") from error
    return driver


def _ask(answer: tuple[Any, ...]) -> Any:
    """Returns a driver call's results without its error code. Raises `ToolError` for an error."""
    error, *results = answer
    if error.value:
        raise ToolError(f"the CUDA driver says {error.name}")
    return results[0] if results else None
