# SPDX-License-Identifier: Apache-2.0
"""One picture file: what is transparent, deep or turned in it, and files that are damaged."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bnn_hw.datasets.picture import Picture, read_pictures
from bnn_hw.errors import ArtefactError, UsageError

RNG = np.random.default_rng(3)


def read(path: Path, background: str = "white") -> Picture:
    (picture,) = read_pictures([path], background)
    return picture


def png(path: Path, bits: int, colour: int, rows: list[bytes], transparent: bytes = b"") -> Path:
    """Writes a PNG file of rows as the format packs them, with a tRNS chunk: depths and chunks that Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    samples = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    header = struct.pack(">IIBBBBB", len(rows[0]) * 8 // (bits * samples), len(rows), bits, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + (chunk(b"tRNS", transparent) if transparent else b"")
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))) + chunk(b"IEND", b"")
    )
    return path


@pytest.mark.parametrize(("name", "colour"), [("white", (255, 255, 255)), ("black", (0, 0, 0)), ("#0a64ff", (10, 100, 255))])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_laid_on_the_background(mode: str, name: str, colour: tuple[int, int, int], tmp_path: Path) -> None:
    levels = RNG.integers(0, 256, (6, 7, len(mode)), np.uint8)
    Image.fromarray(levels, mode).save(tmp_path / "a.png")
    picture = read(tmp_path / "a.png", name)
    channels = 1 if mode == "LA" and len(set(colour)) == 1 else 3
    assert picture.pixels.shape == (6, 7, channels)
    assert picture.transparent
    for at in np.ndindex(6, 7, channels):
        *seen, alpha = levels[at[:2]].tolist()
        exact = (alpha * seen[at[2] % len(seen)] + (255 - alpha) * colour[at[2]]) / 255
        assert picture.pixels[at] == round(exact), at


@pytest.mark.parametrize("name", ["paper", "", "#12", "#11223344", "rgba(1,2,3,4)"])
def test_another_background_is_refused(name: str) -> None:
    rule = f"background must be an opaque colour such as white, black or #rrggbb, not {name!r}"
    with pytest.raises(UsageError, match=f"^{rule.replace('(', chr(92) + '(').replace(')', chr(92) + ')')}$"):
        read_pictures([], name)


@pytest.mark.parametrize(
    ("bits", "row", "transparent", "pixels"),
    [
        (1, b"\xf0", 1, [255, 255, 255, 255, 0, 0, 0, 0]),
        (1, b"\xf0", 0, [255, 255, 255, 255, 9, 9, 9, 9]),
        (2, b"\x1b", 0, [9, 85, 170, 255]),
        (2, b"\x1b", 2, [0, 85, 9, 255]),
        (4, b"\x1f\xf2", 15, [17, 9, 9, 34]),
        (8, b"\1\2\3", 2, [1, 9, 3]),
        (16, b"\x12\x34\xab\xcd\xab\xce", 0xABCD, [0x12, 9, 0xAB]),
    ],
)
def test_a_transparent_grey_at_each_depth(bits: int, row: bytes, transparent: int, pixels: list[int], tmp_path: Path) -> None:
    """Laid on level 9; a picture of one bit is white where its transparent pixels are, so that they are laid on white."""
    background = "white" if bits == 1 and transparent else "#090909"
    path = png(tmp_path / "a.png", bits, 0, [row, row], struct.pack(">H", transparent))
    assert read(path, background).pixels.tolist() == [[[pixel] for pixel in pixels]] * 2


@pytest.mark.parametrize(("bits", "unit"), [(8, 1), (16, 256)])
def test_a_transparent_colour_at_each_depth(bits: int, unit: int, tmp_path: Path) -> None:
    levels = np.array([[[1, 2, 3], [3, 2, 1]]]) * unit
    row = levels.astype(">u2" if bits == 16 else np.uint8).tobytes()
    path = png(tmp_path / "a.png", bits, 2, [row], struct.pack(">3H", *levels[0, 0]))
    assert read(path, "#090909").pixels.tolist() == [[[9, 9, 9], [3, 2, 1]]]


def test_a_picture_that_vanishes_on_its_background_is_refused(tmp_path: Path) -> None:
    shape = Image.new("L", (4, 4), 0)
    shape.putpixel((1, 1), 255)
    for level, background, other in ((255, "white", "black"), (0, "black", "white")):
        Image.merge("LA", [Image.new("L", (4, 4), level), shape]).save(tmp_path / "a.png")
        rule = r"^.*a\.png: nothing of this transparent picture is seen on its background"
        with pytest.raises(ArtefactError, match=f"{rule}; give --background {other}$"):
            read(tmp_path / "a.png", background)
        assert len(np.unique(read(tmp_path / "a.png", other).pixels)) == 2


def test_a_picture_that_is_transparent_all_over_is_the_background(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 3), (9, 9, 9, 0)).save(tmp_path / "a.png")
    picture = read(tmp_path / "a.png", "#010203")
    assert picture.transparent
    assert (picture.pixels == (1, 2, 3)).all()


def test_pictures_of_16_bits_keep_their_upper_8(tmp_path: Path) -> None:
    """Pillow's own conversion cuts them off at 255. TIFF files hold them in either order of bytes."""
    deep = RNG.integers(0, 1 << 16, (4, 5), np.uint16)
    for name, mode in (("a.png", "I;16"), ("a.tif", "I;16"), ("b.tif", "I;16B"), ("a.pgm", "I;16")):
        Image.frombytes(mode, (5, 4), deep.astype(">u2" if mode == "I;16B" else "<u2").tobytes()).save(tmp_path / name)
        picture = read(tmp_path / name)
        assert np.array_equal(picture.pixels[..., 0], deep >> 8), name
        assert (picture.greatest, picture.pixels.dtype) == (deep.max(), np.uint8)


@pytest.mark.parametrize(("levels", "range_"), [([0, 1 << 16], "0..65536"), ([-1, 5], "-1..5")])
def test_pictures_of_32_bits_are_refused(levels: list[int], range_: str, tmp_path: Path) -> None:
    Image.fromarray(np.array([levels], np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ArtefactError, match=rf"its pixels must be in 0\.\.65535, not {range_}; save it as PNG"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
@pytest.mark.parametrize("orientation", range(10))
def test_a_picture_is_turned_as_its_exif_data_say(orientation: int, suffix: str, tmp_path: Path) -> None:
    """EXIF says on which sides of what is seen the first row and the first column lie."""
    stored = np.kron(np.array([[0, 100, 200], [250, 150, 50]], np.uint8), np.ones((16, 16), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / f"a.{suffix}", exif=exif)
    seen = {
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.T,
        6: stored.T[:, ::-1],
        7: stored.T[::-1, ::-1],
        8: stored.T[::-1],
    }.get(orientation, stored)
    picture = read(tmp_path / f"a.{suffix}")
    assert picture.turned == (orientation in range(2, 9))
    pixels = picture.pixels[..., 0]
    assert pixels.shape == seen.shape
    assert np.abs(pixels.astype(int) - seen).max() < (8 if suffix == "jpg" else 1)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_a_picture_with_damaged_exif_data_is_read_as_it_is(suffix: str, tmp_path: Path) -> None:
    Image.new("L", (8, 8), 70).save(tmp_path / f"a.{suffix}", exif=b"Exif\0\0MM\0")
    picture = read(tmp_path / f"a.{suffix}")
    assert not picture.turned
    assert np.abs(picture.pixels.astype(int) - 70).max() < 3


def test_of_a_phones_picture_with_a_small_one_behind_it_the_first_is_read(tmp_path: Path) -> None:
    small = [Image.new("RGB", (4, 4), "black")]
    Image.new("RGB", (8, 8), "white").save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=small)
    assert (read(tmp_path / "a.jpg").pixels == np.full((8, 8, 3), 255)).all()


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_a_file_of_several_pictures_is_refused(suffix: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with pytest.raises(ArtefactError, match=rf"a\.{suffix} cannot be read as a picture: it holds several pictures; save it as PNG"):
        read(tmp_path / f"a.{suffix}")


@pytest.mark.filterwarnings("ignore")  # of Pillow's, on what it skips
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tif", "pgm"])
def test_damaged_files_are_read_or_refused(suffix: str, tmp_path: Path) -> None:
    """Whatever bytes change: nothing but a picture or `ArtefactError` comes out."""
    seed = 5
    print(f"seed {seed}")
    rng = np.random.default_rng(seed)
    path, refused = tmp_path / f"a.{suffix}", 0
    Image.fromarray(rng.integers(0, 256, (9, 9), np.uint8)).save(path)
    whole = path.read_bytes()
    for _ in range(150):
        damaged = bytearray(whole[: rng.integers(1, len(whole) + 1)])
        for at in rng.integers(0, len(damaged), 4):
            damaged[at] = rng.integers(0, 256)
        path.write_bytes(damaged)
        try:
            assert read(path).pixels.ndim == 3
        except ArtefactError:
            refused += 1
    assert refused
