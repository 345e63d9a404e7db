# SPDX-License-Identifier: Apache-2.0
"""Naive models, written to be obviously right: plain Python integers and loops, no code shared with what they check."""

from collections.abc import Iterable, Iterator, Sequence

from bnn_hw.network.network import Conv, Dense, DenseRelu, MaxPool, Network

__all__ = [
    "naive_class",
    "naive_conv",
    "naive_dot",
    "naive_fires",
    "naive_half_matches",
    "naive_matches",
    "naive_padded",
    "naive_pool",
    "naive_rectified",
    "naive_trace",
    "naive_unwords",
    "naive_windows",
    "naive_words",
]

Image = list[list[list[int | None]]]  # rows, columns, channels; None is the true zero that goes around bits


def naive_matches(x: Sequence[int], w: Sequence[int]) -> int:
    """Returns at how many places two vectors of bits are equal."""
    matches = 0
    for index in range(len(w)):
        if int(x[index]) == int(w[index]):
            matches += 1
    return matches


def naive_dot(x: Sequence[int], w: Sequence[int]) -> int:
    """Returns the sum of integers, each added where its weight is 1 and subtracted where it is 0."""
    total = 0
    for index in range(len(w)):
        if w[index]:
            total += int(x[index])
        else:
            total -= int(x[index])
    return total


def naive_fires(x: Sequence[int], w: Sequence[int], threshold: int, dtype: str) -> int:
    """Returns 1 if a neuron with these weights and this threshold fires, else 0."""
    value = naive_matches(x, w) if dtype == "bit" else naive_dot(x, w)
    if value >= int(threshold):
        return 1
    return 0


def naive_rectified(total: int, scale: int, offset: int, shift: int) -> int:
    """Returns a sum, scaled and moved, divided by a power of two and rounded down, as the nearest integer of 0 to 255."""
    value = (total * int(scale) + int(offset)) // 2**shift
    if value < 0:
        return 0
    if value > 255:
        return 255
    return value


def naive_half_matches(x: Sequence[int | None], w: Sequence[int]) -> int:
    """Returns two for each place where bits are equal, and one for each where x is a true zero."""
    halves = 0
    for index in range(len(w)):
        if x[index] is None:
            halves += 1
        elif int(x[index]) == int(w[index]):  # type: ignore[arg-type]
            halves += 2
    return halves


def naive_padded(x: Sequence[int], shape: Sequence[int], padding: Sequence[int], value: int | None) -> Image:
    """Returns an image with so many rows above and below, and columns left and right, of pixels of `value`."""
    rows, columns, channels = shape
    above, below, left, right = padding
    image = Image()
    for row in range(-above, rows + below):
        image.append([])
        for column in range(-left, columns + right):
            inside = 0 <= row < rows and 0 <= column < columns
            first = (row * columns + column) * channels
            image[-1].append(list(x[first : first + channels]) if inside else [value] * channels)
    return image


def naive_windows(image: Image, size: Sequence[int], stride: Sequence[int]) -> Iterator[list[list[int | None]]]:
    """Yields the pixels under each place of a window, row by row; places whose window would leave the image are left out."""
    top = 0
    while top + size[0] <= len(image):
        start = 0
        while start + size[1] <= len(image[0]):
            yield [image[top + row][start + column] for row in range(size[0]) for column in range(size[1])]
            start += stride[1]
        top += stride[0]


def naive_conv(layer: Conv, x: Sequence[int], shape: Sequence[int], dtype: str) -> list[int]:
    """Returns a convolution's bits, row, column, channel, for an image in that order."""
    value: int | None = layer.padding_value
    true_zeros = dtype == "bit" and layer.padding_value == 0 and any(layer.padding)
    if dtype == "bit":
        value = {-1: 0, 0: None, 1: 1}[layer.padding_value]
    outputs, rows, columns, _ = layer.weights.shape
    weights = layer.weights.reshape(outputs, -1).tolist()
    bits = []
    for pixels in naive_windows(naive_padded(x, shape, layer.padding, value), (rows, columns), layer.stride):
        elements = [element for pixel in pixels for element in pixel]
        for neuron in range(outputs):
            if true_zeros:
                bits.append(int(naive_half_matches(elements, weights[neuron]) >= int(layer.thresholds[neuron])))
            else:
                bits.append(naive_fires(elements, weights[neuron], layer.thresholds[neuron], dtype))  # type: ignore[arg-type]
    return bits


def naive_pool(layer: MaxPool, x: Sequence[int], shape: Sequence[int]) -> list[int]:
    """Returns a pooling's bits, row, column, channel, for an image in that order."""
    bits = []
    for pixels in naive_windows(naive_padded(x, shape, (0, 0, 0, 0), None), layer.size, layer.stride):
        for channel in range(shape[2]):
            channel_bits = [pixel[channel] for pixel in pixels]
            bits.append(int(all(channel_bits) if layer.and_channels[channel] else any(channel_bits)))
    return bits


def naive_trace(network: Network, inputs: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """Returns each hidden layer's bits or integers, and the scores, for one image: its elements, flattened, as integers."""
    x, dtype = [int(element) for element in inputs], network.input.dtype
    activations = []
    for step in network.steps:
        layer = step.layer
        if isinstance(layer, Conv):
            x = naive_conv(layer, x, step.input.shape, dtype)
        elif isinstance(layer, MaxPool):
            x = naive_pool(layer, x, step.input.shape)
        elif isinstance(layer, Dense):
            rows = layer.weights.tolist()
            x = [naive_fires(x, rows[neuron], layer.thresholds[neuron], dtype) for neuron in range(len(rows))]
        else:
            totals = [naive_dot([2 * bit - 1 for bit in x] if dtype == "bit" else x, row) for row in layer.weights.tolist()]
            scales, offsets = layer.scale.tolist(), layer.offset.tolist()
            if not isinstance(layer, DenseRelu):
                return activations, [scales[index] * total + offsets[index] for index, total in enumerate(totals)]
            x = [naive_rectified(total, scales[index], offsets[index], layer.shift) for index, total in enumerate(totals)]
        activations.append(x)
        dtype = "uint8" if isinstance(layer, DenseRelu) else "bit"
    raise AssertionError("the last layer gives scores")


def naive_class(scores: Sequence[int]) -> int:
    """Returns the index of the greatest score; of equals, the lowest."""
    winner = 0
    for index in range(len(scores)):
        if scores[index] > scores[winner]:
            winner = index
    return winner


def naive_words(elements: Sequence[int], bits: int, lanes: int) -> list[int]:
    """Returns elements of so many bits as words of `lanes` elements, lane 0 lowest, the last word filled up with 0."""
    words = []
    for start in range(0, len(elements), lanes):
        word = 0
        for lane, element in enumerate(elements[start : start + lanes]):
            word += (int(element) % 2**bits) * 2 ** (bits * lane)
        words.append(word)
    return words


def naive_unwords(words: Iterable[int], bits: int, lanes: int) -> list[int]:
    """Returns the elements, not negative, of words of `lanes` elements."""
    elements = []
    for word in words:
        for lane in range(lanes):
            elements.append(word // 2 ** (bits * lane) % 2**bits)
    return elements
