# SPDX-License-Identifier: Apache-2.0
"""Naive models, written to be obviously right: plain Python integers and loops, no code shared with what they check."""

from collections.abc import Iterable, Sequence

from bnn_hw.network import Dense, Network

__all__ = ["naive_class", "naive_dot", "naive_fires", "naive_matches", "naive_trace", "naive_unwords", "naive_words"]


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


def naive_trace(network: Network, inputs: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """Returns each binary layer's bits, and the scores, for one image: its elements, flattened, as integers."""
    x, dtype = [int(element) for element in inputs], network.input.dtype
    activations = []
    for layer in network.layers:
        rows = layer.weights.tolist()
        if isinstance(layer, Dense):
            x = [naive_fires(x, rows[neuron], layer.thresholds[neuron], dtype) for neuron in range(len(rows))]
            activations.append(x)
            dtype = "bit"
        else:
            scores = []
            for index, row in enumerate(rows):
                total = naive_dot([2 * bit - 1 for bit in x] if dtype == "bit" else x, row)
                scores.append(int(layer.scale[index]) * total + int(layer.offset[index]))
    return activations, scores


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
