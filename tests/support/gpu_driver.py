# SPDX-License-Identifier: Apache-2.0
"""Run in a process of its own with the emulated driver: bnn_gpu's device, graphs and networks on it."""

import numpy as np
import pytest

import bnn_gpu
from bnn_hw.errors import ToolError
from bnn_hw.models.packaged import packaged_network, packaged_test_images
from bnn_hw.network import golden


def main() -> None:
    device = bnn_gpu.open_device()
    assert (device.name, device.capability, device.target, device.multiprocessors) == ("emulated", (9, 0), "sm_90a", 4)
    for index in (1, -1):
        with pytest.raises(ToolError, match=f"^no GPU {index}: this machine has 1$"):
            bnn_gpu.open_device(index)
    network = packaged_network("mnist-tiny")
    packaged = packaged_test_images(packaged_network("mnist"))
    assert packaged is not None
    for count in (1, 9):  # by rows, by tiles
        images = packaged.images[:count]
        placed = device.upload(images)
        inference = bnn_gpu.Inference(network, count, "uint8", device)
        for _ in range(2):
            assert np.array_equal(device.download(inference(placed)), golden.scores(network, images))
        assert np.array_equal(device.download(bnn_gpu.infer(network, placed)), golden.scores(network, images))
        assert np.array_equal(device.download(bnn_gpu.classify(network, placed)), golden.classify(network, images))
    assert device.elapsed_ms(lambda: device.replay(next(iter(inference._graphs.values())))) == 1
    nowhere = bnn_gpu.DeviceArray(4096, (1, 784), np.dtype(np.uint8), None)
    with pytest.raises(ToolError, match=r"^images lies at 0x1000, which is no GPU's memory: "):
        bnn_gpu.infer(network, nowhere)
    print("equal")


if __name__ == "__main__":
    main()
