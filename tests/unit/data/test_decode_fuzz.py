"""150 seeded mutations of image files: the harmless read to equal pixels, the harmful to an array or a refusal by name.

A flipped bit inside JPEG or TIFF data may legally be another picture, so of the harmful only type, shape and bounds are asked.
PNGs have checksums: there a change that is read must be read to the very pixels.
"""

import io
import random
import struct
import subprocess
import sys
import time
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from gradfaith.data.decode import MAX_PIXELS, decode
from gradfaith.errors import UnreadableImage

SIDE, LIMIT = (33, 47), 5.0  # pixels; seconds per file, hundreds of times what one takes
GREY = np.add.outer(np.arange(33) * 3, np.arange(47) * 3).astype(np.uint8)
PIXELS_OF = {"grey": GREY, "colour": np.stack([GREY, GREY.T[:33, :33].repeat(2, 1)[:, :47], 255 - GREY], axis=-1)}
COUNT = 25  # harmless and harmful files of each format


def saved(kind: str, name: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(PIXELS_OF[name]).save(file, kind, **options)
    return file.getvalue()


def blob(draw: random.Random, most: int = 300) -> bytes:
    return draw.randbytes(draw.randint(0, most))


def jpeg(draw: random.Random, name: str, place: int) -> bytes:
    """Comments and foreign application segments after the start, or bytes after the end."""
    whole = saved("JPEG", name, quality=90)
    if place % 5 == 4:
        return whole + blob(draw)
    marker = draw.choice([b"\xff\xfe", *(bytes([0xFF, 0xE0 + number]) for number in range(3, 13))])
    content = b"nothing known" + blob(draw)
    return whole[:2] + marker + struct.pack(">H", len(content) + 2) + content + whole[2:]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def filtered(pixels: np.ndarray, draw: random.Random) -> bytes:
    """The rows of a PNG with a filter drawn for each: none, sub or up."""
    rows = pixels.reshape(len(pixels), -1)
    step, above, found = rows.shape[1] // pixels.shape[1], np.zeros_like(rows[0]), []
    for row in rows:
        left = np.concatenate([np.zeros(step, np.uint8), row[:-step]])
        which = draw.randrange(3)
        found.append(bytes([which]) + (row - (0, left, above)[which]).astype(np.uint8).tobytes())
        above = row
    return b"".join(found)


def png(draw: random.Random, name: str, place: int) -> bytes:
    """Other compression, row filters and data chunks, ancillary chunks, or bytes after the end."""
    pixels = PIXELS_OF[name]
    header = struct.pack(">IIBBBBB", SIDE[1], SIDE[0], 8, 0 if pixels.ndim == 2 else 2, 0, 0, 0)
    data = zlib.compress(filtered(pixels, draw), draw.randrange(10))
    cut = draw.randrange(len(data))
    extra = [b"", chunk(b"prVt", blob(draw)), chunk(b"tEXt", b"Comment\0words"), chunk(b"tIME", bytes(7))][place % 4]
    end = blob(draw) if place % 3 == 0 else b""
    parts = chunk(b"IHDR", header), extra, chunk(b"IDAT", data[:cut]), chunk(b"IDAT", data[cut:]), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + end


def big_endian(pixels: np.ndarray) -> bytes:
    """A bare TIFF in the other byte order, one strip."""
    planes = 1 if pixels.ndim == 2 else 3
    after = 8 + 2 + 10 * 12 + 4
    tags = [
        (256, 3, 1, SIDE[1] << 16), (257, 3, 1, SIDE[0] << 16), (258, 3, planes, 8 << 16 if planes == 1 else after),
        (259, 3, 1, 1 << 16), (262, 3, 1, (1 if planes == 1 else 2) << 16), (273, 4, 1, after + 6), (277, 3, 1, planes << 16),
        (278, 3, 1, SIDE[0] << 16), (279, 4, 1, pixels.size), (284, 3, 1, 1 << 16),
    ]  # fmt: skip
    directory = b"".join(struct.pack(">HHII", *tag) for tag in tags)
    return b"MM\0*" + struct.pack(">IH", 8, 10) + directory + bytes(4) + struct.pack(">HHH", 8, 8, 8) + pixels.tobytes()


def tiff(draw: random.Random, name: str, place: int) -> bytes:
    """Other compression, strips and byte order, extra tags, or bytes after the end."""
    if place % 5 == 0:
        return big_endian(PIXELS_OF[name]) + blob(draw)
    tags = ImageFileDirectory_v2()
    tags[270], tags[65000 + draw.randrange(500)] = "words", "foreign"
    how = draw.choice([None, "tiff_lzw", "tiff_adobe_deflate", "packbits"])
    strip = draw.randint(1, 40) * PIXELS_OF[name][0].size
    return saved("TIFF", name, compression=how, tiffinfo=tags, strip_size=strip) + blob(draw) * (place % 2)


MAKERS = {"jpg": jpeg, "png": png, "tif": tiff}


def large(whole: bytearray, suffix: str, draw: random.Random) -> bytearray:
    """A header that claims far more than there is."""
    value = draw.choice([7999, 20000, 60000, 65535])
    if suffix == "png":
        whole[16:24] = struct.pack(">II", value, value)
        whole[29:33] = struct.pack(">I", zlib.crc32(bytes(whole[12:29])))
    elif suffix == "jpg":
        at = whole.index(b"\xff\xc0") + 5
        whole[at : at + 4] = struct.pack(">HH", value, value)
    else:
        order = "<" if whole[:2] == b"II" else ">"
        start = struct.unpack(order + "I", whole[4:8])[0] + 2
        for entry in (start, start + 12):  # width and height stand first, tags being sorted
            whole[entry + 2 : entry + 12] = struct.pack(order + "HII", 4, 1, value)
    return whole


def harmed(whole: bytearray, suffix: str, draw: random.Random, place: int) -> bytes:
    kind = place % 4
    if kind == 0:
        for _ in range(draw.randint(1, 20)):
            whole[draw.randrange(len(whole))] ^= draw.randint(1, 255)
    elif kind == 1:
        del whole[draw.randrange(len(whole)) :]
    elif kind == 2:  # lengths and offsets lie in the head: any two words of it change places
        one, other = (2 * draw.randrange(1, min(len(whole), 120) // 2) for _ in range(2))
        whole[one : one + 2], whole[other : other + 2] = whole[other : other + 2], whole[one : one + 2]
    else:
        whole = large(whole, suffix, draw)
    return bytes(whole)


@pytest.fixture(params=MAKERS)
def suffix(request: pytest.FixtureRequest) -> str:
    return request.param


def timed(path: Path, channels: int) -> np.ndarray | UnreadableImage:
    """The array or the refusal; nothing else may be raised, warned of, or take long."""
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as said:
        warnings.resetwarnings()
        warnings.simplefilter("always")
        try:
            found: np.ndarray | UnreadableImage = decode(path, channels)
        except UnreadableImage as error:
            found = error
    assert time.perf_counter() - start < LIMIT, path.name
    assert not said, f"{path.name}: {said[0].message}"
    return found


def test_harmless_mutations_read_to_equal_pixels(tmp_path: Path, suffix: str) -> None:
    draw = random.Random(f"harmless {suffix}")
    different = set()
    for place in range(COUNT):
        name = ("grey", "colour")[place % 2]
        path = tmp_path / f"{place}.{suffix}"
        path.write_bytes(MAKERS[suffix](draw, name, place))
        different.add(path.read_bytes())
        expected = PIXELS_OF[name]
        if suffix == "jpg":
            expected = np.asarray(Image.open(io.BytesIO(saved("JPEG", name, quality=90))))
        np.testing.assert_array_equal(timed(path, 1 if expected.ndim == 2 else 3), expected, err_msg=path.name)
    assert len(different) == COUNT


def test_harmful_mutations_read_to_an_array_or_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    draw, refused = random.Random(f"harmful {suffix}"), 0
    for place in range(COUNT):
        name = ("grey", "colour")[place // 4 % 2]
        path = tmp_path / f"{place}.{suffix}"
        whole = saved("JPEG", name, quality=90) if suffix == "jpg" else MAKERS[suffix](draw, name, 1)
        path.write_bytes(harmed(bytearray(whole), suffix, draw, place))
        found = timed(path, 1)
        if isinstance(found, UnreadableImage):
            assert str(path) in found.problem
            assert "\n" not in found.problem
            refused += 1
        else:
            assert found.dtype == np.uint8
            assert found.ndim == 2
            assert 0 < found.size <= MAX_PIXELS
            if suffix == "png":
                truth = PIXELS_OF[name]
                np.testing.assert_array_equal(
                    found, truth if truth.ndim == 2 else np.asarray(Image.fromarray(truth).convert("L"))
                )
    assert refused >= COUNT // 3, "such mutations are not harmful"


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_viewers_show_it(tmp_path: Path, suffix: str, orientation: int) -> None:
    tagged = Image.Exif()
    tagged[274] = orientation
    halves = np.kron(np.array([[0, 80], [160, 240]], dtype=np.uint8), np.ones((16, 24), dtype=np.uint8))
    Image.fromarray(halves).save(tmp_path / f"a.{suffix}", exif=tagged)
    turned = {
        1: halves, 2: halves[:, ::-1], 3: halves[::-1, ::-1], 4: halves[::-1],
        5: halves.T, 6: halves[::-1].T, 7: halves[::-1, ::-1].T, 8: halves[:, ::-1].T,
    }[orientation]  # fmt: skip
    np.testing.assert_allclose(decode(tmp_path / f"a.{suffix}", 1), turned, atol=3)


def test_stacks_bombs_foreign_and_empty_files_are_refused(tmp_path: Path) -> None:
    picture, other = Image.fromarray(GREY), Image.fromarray(255 - GREY)
    picture.save(tmp_path / "stack.tif", save_all=True, append_images=[other])
    picture.save(tmp_path / "moving.png", save_all=True, append_images=[other])
    picture.convert("RGB").save(
        tmp_path / "several.jpg", format="MPO", save_all=True, append_images=[other.convert("RGB")]
    )
    picture.save(tmp_path / "animal.png", format="GIF")
    Image.new("1", (8001, 8000)).save(tmp_path / "bomb.png")
    Image.new("1", (30000, 8000)).save(tmp_path / "larger.png")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.png").mkdir()
    words = {
        "stack.tif": "several",
        "moving.png": "several",
        "several.jpg": "several",
        "bomb.png": "more than 64 million",
    }
    for name in ("animal.png", "empty.jpg", "folder.png", "larger.png", *words):
        with pytest.raises(UnreadableImage, match=words.get(name, "cannot be read")) as raised:
            decode(tmp_path / name, 1)
        assert name in raised.value.problem


def test_no_flipped_bit_of_a_png_passes_for_another_picture(tmp_path: Path) -> None:
    draw, path = random.Random("bits"), tmp_path / "a.png"
    whole = png(draw, "grey", 1)
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        path.write_bytes(flipped)
        try:
            np.testing.assert_array_equal(decode(path, 1), GREY)
        except UnreadableImage as error:
            assert "a.png" in error.problem  # noqa: PT017 - either is right


def test_pillow_s_warnings_do_not_leak_from_a_process_of_its_own(tmp_path: Path) -> None:
    whole, exif = saved("JPEG", "grey"), b"Exif\0\0II*\0" + struct.pack("<IH", 8, 9)
    (tmp_path / "odd.jpg").write_bytes(whole[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + whole[2:])
    Image.new("1", (12000, 8000)).save(tmp_path / "large.png")
    code = """
import sys; from pathlib import Path; from gradfaith.data.decode import UnreadableImage; from gradfaith.data.decode import decode
for path in map(Path, sys.argv[1:]):
    try: decode(path, 1)
    except UnreadableImage: print("refused", path.name)
"""
    command = [sys.executable, "-W", "default", "-c", code, *(str(path) for path in sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "refused large.png\n", "")
