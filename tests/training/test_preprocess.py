# SPDX-License-Identifier: Apache-2.0
"""Contrast normalization and whitening, on small images, against loops over pixels."""

import math

import numpy as np
import pytest
import torch

from bnn_training.preprocess import PreprocessingName, fit_preprocessing, global_contrast, local_contrast

torch.set_num_threads(1)  # the products are small: threads would only wait for each other


def images(count: int, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Returns images whose neighbouring pixels are alike, as in photographs: uint8."""
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    pixels = rng.normal(0, 20, (count, *shape)).cumsum(1).cumsum(2) / 3 + rng.uniform(60, 190, (count, 1, 1, 1))
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))


def naive_global_contrast(image: np.ndarray) -> np.ndarray:
    values = image.astype(np.float64).flatten().tolist()
    mean = sum(values) / len(values)
    norm = math.sqrt(sum((value - mean) ** 2 for value in values))
    divisor = norm / 55 if norm / 55 >= 1e-8 else 1.0
    return np.array([(value - mean) / divisor for value in values]).reshape(image.shape)


def naive_local_contrast(image: np.ndarray) -> np.ndarray:
    """One channel [rows, columns], by Gaussian means over what of 9 by 9 pixels lies inside the image."""
    rows, columns = image.shape

    def around(values: np.ndarray, row: int, column: int) -> float:
        total = weights = 0.0
        for down in range(-4, 5):
            for right in range(-4, 5):
                if 0 <= row + down < rows and 0 <= column + right < columns:
                    weight = math.exp(-(down**2 + right**2) / (2 * 2.25**2))
                    total += weight * values[row + down, column + right]
                    weights += weight
        return total / weights

    places = [(row, column) for row in range(rows) for column in range(columns)]
    centred = np.zeros_like(image)
    for row, column in places:
        centred[row, column] = image[row, column] - around(image, row, column)
    deviation = np.zeros_like(image)
    for row, column in places:
        deviation[row, column] = math.sqrt(around(centred**2, row, column))
    return centred / np.maximum(np.maximum(deviation, deviation.mean()), 1e-4)


def test_global_contrast_is_a_loop_over_images() -> None:
    pixels = images(6, (5, 4, 3), 1)
    pixels[2] = 7  # of no contrast: it becomes 0, not NaN
    result = global_contrast(pixels)
    assert (result.dtype, result.shape) == (torch.float32, pixels.shape)
    for image, expected in zip(result.numpy(), pixels.numpy(), strict=True):
        assert np.allclose(image, naive_global_contrast(expected), rtol=1e-5, atol=1e-5)
    assert torch.equal(result[2], torch.zeros(5, 4, 3))
    assert torch.linalg.vector_norm(result[0]).item() == pytest.approx(55, rel=1e-5)


def test_global_contrast_by_hand() -> None:
    """Mean 3, differences -2, -1, 1, 2, norm sqrt(10)."""
    result = global_contrast(torch.tensor([[[[1], [2]], [[4], [5]]]], dtype=torch.uint8), scale=math.sqrt(10))
    assert result.flatten().tolist() == pytest.approx([-2, -1, 1, 2], rel=1e-6)


@pytest.mark.parametrize("shape", [(11, 13, 2), (5, 6, 1)], ids=str)
def test_local_contrast_is_a_loop_over_pixels(shape: tuple[int, int, int]) -> None:
    values = images(2, shape, 2).float() - 100
    result = local_contrast(values)
    assert (result.dtype, result.shape) == (torch.float32, values.shape)
    for image, expected in zip(result.numpy(), values.double().numpy(), strict=True):
        for channel in range(shape[2]):
            assert np.allclose(image[..., channel], naive_local_contrast(expected[..., channel]), rtol=1e-4, atol=1e-4)


def test_local_contrast_of_no_contrast_is_zero() -> None:
    assert torch.allclose(local_contrast(torch.full((1, 8, 8, 1), 1.0)), torch.zeros(1, 8, 8, 1), atol=0.05)


def naive_whitening(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and ``V (D + 0.1)**-1/2 V^T`` of the covariance ``V D V^T`` of images [images, pixels]."""
    mean = flat.mean(0)
    covariance = np.zeros((flat.shape[1], flat.shape[1]))
    for image in flat:
        covariance += np.outer(image - mean, image - mean) / len(flat)
    vectors, values, _ = np.linalg.svd(covariance)
    return mean, vectors @ np.diag(1 / np.sqrt(values + 0.1)) @ vectors.T


def test_whitening_is_the_formula() -> None:
    """What it takes from the images that train is used for others too; more images than a chunk."""
    train, test = images(700, (4, 4, 2), 3), images(5, (4, 4, 2), 4)
    preprocess = fit_preprocessing("gcn_zca", train)
    flat = np.stack([naive_global_contrast(image).flatten() for image in train.numpy()])
    mean, whitening = naive_whitening(flat)
    for pixels in (train, test):
        result = preprocess(pixels)
        assert (result.dtype, result.shape) == (torch.float32, pixels.shape)
        expected = [(naive_global_contrast(image).flatten() - mean) @ whitening for image in pixels.numpy()]
        assert np.allclose(result.flatten(1).numpy(), np.stack(expected), rtol=1e-3, atol=2e-3)


def test_whitened_images_are_not_correlated() -> None:
    """Their covariance is the identity, but for the regularization: each direction of variance d keeps d / (d + 0.1).

    Contrast normalization takes the mean out of each image, which leaves one direction without variance.
    """
    pixels = images(3000, (3, 4, 2), 5)
    whitened = fit_preprocessing("gcn_zca", pixels)(pixels).flatten(1).double().numpy()
    before = global_contrast(pixels).flatten(1).double().numpy()
    covariance = np.cov(whitened.T, bias=True)
    variances = np.linalg.eigvalsh(np.cov(before.T, bias=True)).clip(0)
    assert np.abs(whitened.mean(0)).max() < 1e-3
    assert np.allclose(np.linalg.eigvalsh(covariance), np.sort(variances / (variances + 0.1)), atol=1e-3)
    assert (variances[1:] > 1).all()  # so that all directions but one are near the identity
    assert np.abs(covariance - np.eye(24) + 1 / 24).max() < 0.1
    assert np.abs(np.corrcoef(before.T) - np.eye(24)).max() > 0.5  # before, they were


@pytest.mark.parametrize("name", ["gcn_lcn", "gcn_zca", "pixels"])
def test_an_image_is_preprocessed_alone(name: PreprocessingName) -> None:
    """What comes with it makes no difference, nor does where it stands among more images than a chunk."""
    train = images(60, (6, 5, 3), 6)
    preprocess = fit_preprocessing(name, train)
    many = preprocess(train.repeat(10, 1, 1, 1))
    assert many.shape == (600, 6, 5, 3)
    for index in (0, 59, 499, 500, 599):
        assert torch.allclose(many[index], preprocess(train[index % 60][None])[0], rtol=1e-4, atol=1e-4)


def test_local_follows_global_contrast() -> None:
    pixels = images(3, (8, 8, 3), 7)
    result = fit_preprocessing("gcn_lcn", pixels)(pixels)
    assert torch.allclose(result, local_contrast(global_contrast(pixels)), atol=1e-5)
    assert torch.equal(fit_preprocessing("pixels", pixels)(pixels), pixels.float())
