# SPDX-License-Identifier: Apache-2.0
"""Random affine maps: the identity, known shifts and turns, and reproducible draws."""

import pytest
import torch

from bnn_training.augment import AffineRange, random_affine

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
IMAGES = torch.randint(0, 256, (3, 9, 11), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
NAMES = ("rotation", "rows_scale", "columns_scale", "shear", "down", "right")


def affine(monkeypatch: pytest.MonkeyPatch, reach: AffineRange, images: torch.Tensor = IMAGES, **draws: float) -> torch.Tensor:
    """Returns the images under the map whose draws, -1 to 1, are these and otherwise 0."""
    values = torch.tensor([draws.get(name, 0.0) for name in NAMES])
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: ((values + 1) / 2)[:, None].expand(*shape))
    return random_affine(images, reach, torch.Generator())


def test_no_reach_is_the_identity() -> None:
    result = random_affine(IMAGES, AffineRange(), torch.Generator().manual_seed(5))
    assert (result.shape, result.dtype) == (IMAGES.shape, torch.float32)
    assert torch.allclose(result, IMAGES.float(), atol=1e-3)


def test_shift_by_whole_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map says where each pixel comes from, so a positive shift moves the image up or left, and 0 comes in."""
    down = affine(monkeypatch, AffineRange(shift_pixels=2), down=0.5)
    assert torch.allclose(down[:, :-1], IMAGES[:, 1:].float(), atol=1e-2)
    assert torch.allclose(down[:, -1], torch.zeros(3, 11), atol=1e-2)
    left = affine(monkeypatch, AffineRange(shift_pixels=3), right=-1.0)
    assert torch.allclose(left[:, :, 3:], IMAGES[:, :, :-3].float(), atol=1e-2)
    assert torch.allclose(left[:, :, :3], torch.zeros(3, 9, 3), atol=1e-2)


def test_shift_by_half_a_pixel_is_bilinear(monkeypatch: pytest.MonkeyPatch) -> None:
    half = affine(monkeypatch, AffineRange(shift_pixels=1), right=0.5)
    assert torch.allclose(half[:, :, :-1], (IMAGES[:, :, :-1].float() + IMAGES[:, :, 1:]) / 2, atol=1e-2)


def test_quarter_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    square = IMAGES[:, :, :9]
    turned = affine(monkeypatch, AffineRange(rotation_degrees=90), square, rotation=1.0)
    expected = torch.rot90(square, 1, (1, 2)).float(), torch.rot90(square, -1, (1, 2)).float()
    assert any(torch.allclose(turned, way, atol=1e-2) for way in expected)


def test_scale_and_shear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the scale reads every second pixel from the middle on; shear moves rows against each other."""
    wide = affine(monkeypatch, AffineRange(scale=1.0), columns_scale=1.0)
    assert torch.allclose(wide[:, :, 3:8], IMAGES[:, :, 1:10:2].float(), atol=1e-2)
    assert torch.allclose(wide[:, :, :2], torch.zeros(3, 9, 2), atol=1e-2)
    tall = affine(monkeypatch, AffineRange(scale=1.0), rows_scale=1.0)
    assert torch.allclose(tall[:, 2:7], IMAGES[:, 0:9:2].float(), atol=1e-2)
    square = IMAGES[:, :, :9]
    sheared = affine(monkeypatch, AffineRange(shear=1.0), square, shear=1.0)
    assert torch.allclose(sheared[:, 4], square[:, 4].float(), atol=1e-2)
    assert torch.allclose(sheared[:, 6, :-2], square[:, 6, 2:].float(), atol=1e-2)


def test_each_image_has_a_map_of_its_own() -> None:
    reach = AffineRange(10, 0.1, 0.1, 1.5)
    images = IMAGES[:1].expand(4, -1, -1)
    results = [random_affine(images, reach, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.allclose(results[0][0], results[0][1])


def test_draws_keep_within_their_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of one bright pixel in the middle move it by one pixel at the most."""
    images = torch.zeros(200, 9, 9, dtype=torch.uint8)
    images[:, 4, 4] = 255
    moved = random_affine(images, AffineRange(shift_pixels=1), torch.Generator().manual_seed(9))
    assert torch.allclose(moved[:, 3:6, 3:6].sum((1, 2)), torch.full((200,), 255.0), atol=0.1)
    positions = (moved.sum(1) * torch.arange(9)).sum(1) / 255
    assert positions.min() < 3.2
    assert positions.max() > 4.8
