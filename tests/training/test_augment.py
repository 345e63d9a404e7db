# SPDX-License-Identifier: Apache-2.0
"""Random affine maps: the identity, known shifts, turns and mirrors, what lies beyond the edges, and reproducible draws."""

from collections import Counter

import pytest
import torch

from bnn_training.augment import AffineRange, random_affine

torch.set_num_threads(1)  # the products are small: threads would only wait for each other
IMAGES = torch.randint(0, 256, (3, 9, 11, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
PIXELS = IMAGES.permute(0, 3, 1, 2).float()  # as they come out: [images, channels, rows, columns]
NAMES = ("rotation", "rows_scale", "columns_scale", "shear", "down", "right")


def affine(
    monkeypatch: pytest.MonkeyPatch,
    reach: AffineRange,
    images: torch.Tensor = IMAGES,
    *,
    mirrored: bool = False,
    **draws: float,
) -> torch.Tensor:
    """Returns the images under the map whose draws, -1 to 1, are these and otherwise 0."""
    values = torch.tensor([draws.get(name, 0.0) for name in NAMES])

    def rand(*shape: int, generator: torch.Generator, device: torch.device) -> torch.Tensor:
        if shape == (len(NAMES), len(images)):
            return ((values + 1) / 2)[:, None].expand(*shape)
        return torch.full(shape, 0.49 if mirrored else 0.5)

    monkeypatch.setattr(torch, "rand", rand)
    return random_affine(images, reach, torch.Generator())


def test_no_reach_is_the_identity() -> None:
    result = random_affine(IMAGES, AffineRange(), torch.Generator().manual_seed(5))
    assert (result.shape, result.dtype) == ((3, 2, 9, 11), torch.float32)
    assert torch.equal(result, PIXELS)


@pytest.mark.parametrize("border", ["reflection", "zeros"])
def test_shift_by_whole_pixels(border: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A map says where each pixel comes from, so a positive shift moves the image up or left.

    In comes 0, or the image reflected at its edge: the last row again, then the one before it.
    """
    down = affine(monkeypatch, AffineRange(shift_pixels=4, border=border), down=0.5)  # type: ignore[arg-type]
    assert torch.allclose(down[:, :, :-2], PIXELS[:, :, 2:], atol=1e-2)
    beyond = PIXELS[:, :, [8, 7]] if border == "reflection" else torch.zeros(3, 2, 2, 11)
    assert torch.allclose(down[:, :, -2:], beyond, atol=1e-2)
    left = affine(monkeypatch, AffineRange(shift_pixels=3, border=border), right=-1.0)  # type: ignore[arg-type]
    assert torch.allclose(left[:, :, :, 3:], PIXELS[:, :, :, :-3], atol=1e-2)
    beyond = PIXELS[:, :, :, [2, 1, 0]] if border == "reflection" else torch.zeros(3, 2, 9, 3)
    assert torch.allclose(left[:, :, :, :3], beyond, atol=1e-2)


def test_reflection_is_the_border_unless_another_is_asked_for() -> None:
    assert AffineRange().border == "reflection"


def test_shift_by_half_a_pixel_is_bilinear(monkeypatch: pytest.MonkeyPatch) -> None:
    half = affine(monkeypatch, AffineRange(shift_pixels=1), right=0.5)
    assert torch.allclose(half[..., :-1], (PIXELS[..., :-1] + PIXELS[..., 1:]) / 2, atol=1e-2)


@pytest.mark.parametrize(
    ("draw", "shift"), [(-0.999, -3), (-0.72, -3), (-0.7, -2), (-0.15, -1), (-0.14, 0), (0.14, 0), (0.15, 1), (0.7, 2), (0.999, 3)]
)
def test_whole_pixels_blur_nothing(draw: float, shift: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to 3 pixels: the seven whole numbers share the draws from -1 to 1 evenly."""
    columns = torch.arange(11) + shift
    columns = torch.where(columns < 0, -1 - columns, torch.where(columns > 10, 21 - columns, columns))  # reflected
    moved = affine(monkeypatch, AffineRange(shift_pixels=3.9, whole_pixels=True), right=draw)
    assert torch.allclose(moved, PIXELS[..., columns], atol=1e-2)
    assert torch.equal(moved.round(), PIXELS[..., columns])


def test_whole_shifts_are_equally_frequent_in_rows_and_columns() -> None:
    images = torch.zeros(5000, 9, 9, 1, dtype=torch.uint8)
    images[:, 4, 4] = 255
    reach = AffineRange(shift_pixels=2, whole_pixels=True)
    moved = random_affine(images, reach, torch.Generator().manual_seed(3))[:, 0]
    places = Counter(divmod(place, 9) for place in moved.flatten(1).argmax(1).tolist())
    assert set(places) == {(row, column) for row in range(2, 7) for column in range(2, 7)}
    assert all(130 < count < 270 for count in places.values())  # 200 each


def test_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    mirrored = affine(monkeypatch, AffineRange(mirror=True), mirrored=True)
    assert torch.equal(mirrored.round(), PIXELS.flip(3))
    assert torch.equal(affine(monkeypatch, AffineRange(mirror=True)).round(), PIXELS)
    both = affine(monkeypatch, AffineRange(mirror=True, shift_pixels=2), mirrored=True, right=1.0)
    assert torch.equal(both.round()[..., 2:], PIXELS.flip(3)[..., :-2])


def test_half_of_the_images_are_mirrored_each_with_all_its_channels() -> None:
    images = IMAGES[:1].expand(1000, -1, -1, -1)
    moved = random_affine(images, AffineRange(mirror=True), torch.Generator().manual_seed(4)).round()
    mirrored = (moved == PIXELS[:1].flip(3)).flatten(1).all(1)
    assert torch.equal(mirrored, ~(moved == PIXELS[:1]).flatten(1).all(1))
    assert 440 < mirrored.sum() < 560


def test_quarter_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = affine(monkeypatch, AffineRange(rotation_degrees=90), IMAGES[:, :, :9], rotation=1.0)
    square = PIXELS[..., :9]
    expected = torch.rot90(square, 1, (2, 3)), torch.rot90(square, -1, (2, 3))
    assert any(torch.allclose(turned, way, atol=1e-2) for way in expected)


def test_scale_and_shear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the scale reads every second pixel from the middle on; shear moves rows against each other."""
    wide = affine(monkeypatch, AffineRange(scale=1.0, border="zeros"), columns_scale=1.0)
    assert torch.allclose(wide[..., 3:8], PIXELS[..., 1:10:2], atol=1e-2)
    assert torch.allclose(wide[..., :2], torch.zeros(3, 2, 9, 2), atol=1e-2)
    tall = affine(monkeypatch, AffineRange(scale=1.0), rows_scale=1.0)
    assert torch.allclose(tall[:, :, 2:7], PIXELS[:, :, 0:9:2], atol=1e-2)
    sheared = affine(monkeypatch, AffineRange(shear=1.0), IMAGES[:, :, :9], shear=1.0)
    square = PIXELS[..., :9]
    assert torch.allclose(sheared[:, :, 4], square[:, :, 4], atol=1e-2)
    assert torch.allclose(sheared[:, :, 6, :-2], square[:, :, 6, 2:], atol=1e-2)


def test_each_image_has_a_map_of_its_own() -> None:
    reach = AffineRange(10, 0.1, 0.1, 1.5)
    images = IMAGES[:1].expand(4, -1, -1, -1)
    results = [random_affine(images, reach, torch.Generator().manual_seed(seed)) for seed in (7, 7, 8)]
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    assert not torch.allclose(results[0][0], results[0][1])


def test_channels_move_together() -> None:
    """Three channels give what each gives alone."""
    images = torch.cat([IMAGES, IMAGES[..., :1]], 3)
    reach = AffineRange(10, 0.1, 0.1, 1.5, mirror=True)
    whole = random_affine(images, reach, torch.Generator().manual_seed(7))
    for channel in range(3):
        alone = random_affine(images[..., channel : channel + 1], reach, torch.Generator().manual_seed(7))
        assert torch.equal(whole[:, channel], alone[:, 0])
    assert torch.equal(whole[:, 0], whole[:, 2])


def test_draws_keep_within_their_reach() -> None:
    """Images of one bright pixel in the middle move it by one pixel at the most."""
    images = torch.zeros(200, 9, 9, 1, dtype=torch.uint8)
    images[:, 4, 4] = 255
    moved = random_affine(images, AffineRange(shift_pixels=1), torch.Generator().manual_seed(9))[:, 0]
    assert torch.allclose(moved[:, 3:6, 3:6].sum((1, 2)), torch.full((200,), 255.0), atol=0.1)
    positions = (moved.sum(1) * torch.arange(9)).sum(1) / 255
    assert positions.min() < 3.2
    assert positions.max() > 4.8
