# SPDX-License-Identifier: Apache-2.0
"""What each process of a distributed training runs in the tests: `python distributed_training.py FOLDER DEATH RECIPE...`.

Each recipe is trained into FOLDER/<its name>-<rank of the process>, or into FOLDER/<its name> for all where DEATH is the name of
a file: then the first process kills itself in the middle of the second epoch, unless the file is there, and makes it before.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Final

import numpy as np
import torch

from bnn_hw.datasets import Dataset, Split
from bnn_training.distributed import process_group, rank
from bnn_training.recipes import Recipe
from bnn_training.trainer import train

__all__ = ["DATASET", "TRAININGS"]

_DENSE: Final = Recipe("dense", "stripes", "24-16", epochs=3, batch=20, validation=30, bfloat16=False, seed=4)
_CONV: Final = Recipe(
    "conv",
    "stripes",
    "6C3-MP2-12",
    epochs=2,
    batch=20,
    optimizer="shift_adamax",
    learning_rate=2**-6,
    shift_batch_norm=True,
    padding=1,
    input_dtype="int8",
    validation=30,
    bfloat16=False,
    seed=1,  # with which no sum lies so near a sign's or a rounding's edge that the order of its terms decides
)
# Nothing in them is by chance but order and first weights, so that the number of processes makes no difference.
TRAININGS: Final = {recipe.name: recipe for recipe in (_DENSE, _CONV)}


def _stripes(images: int, seed: int) -> Split:
    """Returns noisy 8x8 images: class 0 is bright above, class 1 left, class 2 in the middle."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, images, np.uint8)
    pixels = rng.integers(0, 180, (images, 8, 8, 1), np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        (image[:4], image[:, :4], image[2:6, 2:6])[label][:] += 75
    return Split(pixels, labels)


DATASET: Final = Dataset("stripes", tuple("012"), _stripes(230, 1), _stripes(50, 2))


def _main(folder: Path, death: str, names: list[str]) -> None:
    def on_step(epoch: int, done: int, steps: int) -> None:
        if death and epoch == 2 and done == steps // 2 and not Path(death).exists():
            Path(death).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    torch.set_num_threads(1)
    with process_group(os.environ, torch.device("cpu")) as device:
        for name in names:
            own = folder / (name if death else f"{name}-{rank()}")
            train(TRAININGS[name], DATASET, own, device=device, on_step=on_step)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
