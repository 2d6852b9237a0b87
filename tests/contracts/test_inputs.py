"""Laws of every kind of input, and what becomes of odd and hostile images."""

from __future__ import annotations

import base64
import io
import os
import re
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageOps

from headstart import registry
from headstart.errors import ProblemError
from headstart.inputs.image import THUMBNAIL_BYTES, Image, hog
from headstart.inputs.numbers import Numbers
from headstart.inputs.text import MAX_CHARACTERS, Text

RED, BLUE, WHITE, BLACK = (255, 0, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def file_of(picture: Pillow.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def noise(seed: int, shape: tuple[int, ...] = (48, 64, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, data: bytes, extra: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


# A few items of each kind, and one that is not of the kind.
SAMPLES = {
    "image": ([noise(1), file_of(Pillow.fromarray(noise(2))), file_of(Pillow.fromarray(noise(3)), "JPEG")], b"words"),
    "numbers": ([np.array([1.0, 2.0, np.nan]), np.array([0.5, -1.0, 3.0]), np.array([2.0, 0.0, 9.0])], np.array([np.inf])),
    "text": (["The card has not arrived.", "Wo ist meine Karte? Ist sie verloren?", "カードはどこですか。"], " \n"),
}


@pytest.fixture(params=[name for name in registry.names("inputs") if name in SAMPLES])
def kind(request):
    return registry.get("inputs", request.param)()


def test_every_built_in_kind_has_samples():
    assert set(registry.names("inputs")) <= set(SAMPLES)


def test_good_items_pass_and_bad_ones_give_a_reason(kind):
    good, bad = SAMPLES[kind.name]
    for raw in good:
        kind.check(raw)
        kind.load(raw)
    with pytest.raises(ProblemError) as caught:
        kind.check(bad)
    assert 5 < len(str(caught.value)) < 160


def test_fingerprints_tell_items_apart_and_nothing_else(kind):
    good, _ = SAMPLES[kind.name]
    prints = [kind.fingerprint(raw) for raw in good]
    assert len(set(prints)) == len(good)
    assert all(re.fullmatch("[0-9a-f]{32}", mark) for mark in prints)
    assert prints == [kind.fingerprint(raw.copy() if isinstance(raw, np.ndarray) else raw) for raw in good]


def dense(features):
    return features.toarray() if hasattr(features, "toarray") else features


def test_plain_features_of_an_item_depend_on_the_item_alone(kind):
    good, _ = SAMPLES[kind.name]
    state = kind.fit_plain(good)
    whole = dense(kind.plain(good, state))
    assert whole.ndim == (2 if kind.name == "text" else 3)
    assert whole.shape[-1] > 0
    assert np.isfinite(whole).all()
    for i, raw in enumerate(good):
        np.testing.assert_array_equal(dense(kind.plain([raw], state))[0], whole[i])
    assert kind.plain([], state).shape == (0, *whole.shape[1:])


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "a\nb", "\udcff", "é" * 500]
)
def test_show_escapes_and_never_fails(kind, name):
    good, bad = SAMPLES[kind.name]
    for raw in (*good, bad, None, object()):
        shown = kind.show(raw, name)
        assert shown.startswith("<figure>")
        assert "<script" not in shown
        assert "<img src=x" not in shown
        shown.encode("utf-8")


# --- images: what becomes of each mode --------------------------------------------------------------------------------

QUARTERS = Pillow.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16))
MODES = {
    "rgb": (file_of(Pillow.new("RGB", (4, 4), RED)), RED),
    "grey": (file_of(Pillow.new("L", (4, 4), 7)), (7, 7, 7)),
    "one bit": (file_of(Pillow.new("1", (4, 4), 1)), WHITE),
    "palette": (file_of(Pillow.new("RGB", (4, 4), RED).quantize(4)), RED),
    "palette with transparency": (file_of(Pillow.new("RGBA", (4, 4), (255, 0, 0, 0)).quantize(4)), WHITE),
    "transparent colour": (file_of(Pillow.new("RGB", (4, 4), RED), transparency=RED), WHITE),
    "alpha": (file_of(Pillow.new("RGBA", (4, 4), (0, 0, 0, 0))), WHITE),
    "half alpha": (file_of(Pillow.new("RGBA", (4, 4), (0, 0, 0, 51))), (204, 204, 204)),
    "grey with alpha": (file_of(Pillow.new("LA", (4, 4), (0, 0))), WHITE),
    "cmyk": (file_of(Pillow.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"), (254, 0, 0)),
    "16 bit": (file_of(Pillow.fromarray(np.full((4, 4), 0x80FF, dtype=np.uint16))), (128, 128, 128)),
    "32-bit float": (file_of(Pillow.fromarray(np.eye(4, dtype=np.float32) * 9 - 3), "TIFF"), WHITE),
    "animated gif": (
        file_of(Pillow.new("RGB", (4, 4), RED), "GIF", save_all=True, append_images=[Pillow.new("RGB", (4, 4))]),
        RED,
    ),
    "1 pixel": (file_of(Pillow.new("RGB", (1, 1), BLUE)), BLUE),
    "bmp": (file_of(Pillow.new("RGB", (4, 4), BLUE), "BMP"), BLUE),
    "webp": (file_of(Pillow.new("RGB", (4, 4), BLUE), "WEBP", lossless=True), BLUE),
    "grey array": (np.full((4, 4), 9, dtype=np.uint8), (9, 9, 9)),
    "array of one channel": (np.full((4, 4, 1), 9, dtype=np.uint8), (9, 9, 9)),
    "array with alpha": (np.zeros((4, 4, 4), dtype=np.uint8), WHITE),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_defined_rgb(name):
    raw, expected = MODES[name]
    Image().check(raw)
    loaded = Image().load(raw)
    assert loaded.mode == "RGB"
    np.testing.assert_allclose(loaded.getpixel((0, 0)), expected, atol=2)


def test_16_bit_keeps_the_order_of_greys():
    greys = np.asarray(Image().load(file_of(QUARTERS)))[..., 0].ravel()
    np.testing.assert_array_equal(greys, np.arange(256))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(format, orientation):
    corners = np.zeros((32, 48, 3), dtype=np.uint8)
    corners[:16, :24], corners[16:, 24:] = RED, BLUE
    picture = Pillow.fromarray(corners)
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    options = {"tiffinfo": exif} if format == "TIFF" else {"exif": exif}
    raw = file_of(picture, format, **options)
    with Pillow.open(io.BytesIO(file_of(picture, "PNG", exif=exif))) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"), dtype=int)
    for side in (None, 8):
        loaded = Image().load(raw, side=side).resize((expected.shape[1], expected.shape[0]), Pillow.Resampling.NEAREST)
        assert np.abs(np.asarray(loaded, dtype=int) - expected).mean() < 12


def test_a_drafted_photo_keeps_twice_the_side_that_is_wanted():
    photo = Pillow.fromarray(noise(4, (15, 20, 3))).resize((1280, 960), Pillow.Resampling.BICUBIC)
    raw = file_of(photo, "JPEG", quality=95)
    drafted = Image().load(raw, side=192)
    assert drafted.size == (640, 480)
    full = Image().load(raw)
    assert full.size == (1280, 960)
    small = [np.asarray(one.resize((256, 192), Pillow.Resampling.BILINEAR), dtype=float) for one in (drafted, full)]
    assert np.abs(small[0] - small[1]).mean() < 1
    assert Image().load(file_of(Pillow.new("RGB", (600, 4000)), "JPEG"), side=192).size == (600, 4000)


# --- images: what is refused ------------------------------------------------------------------------------------------

LONG_ZEROS = zlib.compress(bytes(50_000_000), 9)
WHOLE = {format: file_of(Pillow.fromarray(noise(5)), format) for format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")}
REFUSED = {
    "zero bytes": (b"", "empty"),
    "words": (b"not a photo", "not an image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "not an image"),
    "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    "a bomb in the header": (png(65535, 65535, zlib.compress(bytes(999))), "pixels"),
    "over the budget": (png(8001, 8001, zlib.compress(bytes(999))), "8,001 x 8,001 pixels"),
    "a bomb in a text chunk": (png(4, 4, zlib.compress(bytes(52)), chunk(b"zTXt", b"a\0\0" + LONG_ZEROS)), "damaged"),
    "a bomb in a colour profile": (png(4, 4, zlib.compress(bytes(52)), chunk(b"iCCP", b"a\0\0" + LONG_ZEROS)), "damaged"),
    "float array": (np.zeros((4, 4, 3)), "uint8"),
    "two channels": (np.zeros((4, 4, 2), dtype=np.uint8), "uint8"),
    "empty array": (np.zeros((0, 4, 3), dtype=np.uint8), "0 pixels"),
    "no file": ("no/such/photo.jpg", "No such file"),
    "a zero in the path": ("a\0b", "path"),
    "a folder": (os.getcwd(), "cannot be read"),
    "a number": (7, "int"),
    **{f"half a {format}": (whole[: len(whole) // 2], "") for format, whole in WHOLE.items()},
    **{f"nearly all of a {format}": (WHOLE[format][:-200], "") for format in ("JPEG", "PNG", "BMP")},
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_images_are_refused_quickly_with_a_short_reason(name):
    raw, words = REFUSED[name]
    start = time.process_time()
    with pytest.raises(ProblemError) as caught:
        Image().check(raw)
    assert words in str(caught.value)
    assert len(str(caught.value)) < 160
    assert time.process_time() - start < 1


def test_a_stream_that_unpacks_to_more_than_the_picture_is_not_unpacked():
    start = time.process_time()
    assert Image().load(png(4, 4, LONG_ZEROS)).getpixel((0, 0)) == BLACK
    assert time.process_time() - start < 0.5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    with pytest.raises(ProblemError, match="regular file"):
        Image().check(tmp_path / "a.jpg")


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_exif_is_no_reason_to_refuse_the_pixels():
    raw = file_of(Pillow.new("RGB", (16, 16), RED), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert Image().load(raw).size == (16, 16)


def test_a_file_and_its_bytes_have_one_fingerprint(tmp_path):
    content = file_of(Pillow.new("RGB", (4, 4)))
    for name in ("a.png", "<script>\n.png", "ü" * 60):
        (tmp_path / name).write_bytes(content)
        assert (
            Image().fingerprint(tmp_path / name) == Image().fingerprint(str(tmp_path / name)) == Image().fingerprint(content)
        )
    assert Image().fingerprint(np.zeros((2, 8), np.uint8)) != Image().fingerprint(np.zeros((4, 4), np.uint8))


@pytest.mark.parametrize("size", [(3, 5), (640, 480), (2000, 30)])
def test_thumbnails_are_small_whatever_the_photo(size):
    shown = Image().show(noise(6, (*size, 3)), "x")
    content = base64.b64decode(re.search(r"base64,([^\"]+)", shown).group(1))
    assert len(content) <= THUMBNAIL_BYTES
    with Pillow.open(io.BytesIO(content)) as small:
        assert max(small.size) <= 160


# --- classical features -----------------------------------------------------------------------------------------------


def test_the_second_view_is_the_mirror_image():
    photo = noise(7, (64, 64, 3))
    both = Image().plain([photo, np.ascontiguousarray(photo[:, ::-1])], {})
    np.testing.assert_allclose(both[0, 1], both[1, 0])
    np.testing.assert_allclose(both[0, 0], both[1, 1])


def test_gradient_histograms_see_the_direction_of_stripes_and_not_their_contrast():
    wave = np.sin(np.arange(64) / 2)
    upright = np.tile(wave, (64, 1))
    as_photo = lambda grey, contrast: np.repeat((128 + contrast * grey)[None, :, :, None], 3, axis=3).astype(np.uint8)  # noqa: E731
    strong, weak, lying = (hog(as_photo(*one))[0] for one in ((upright, 100), (upright, 50), (upright.T, 100)))
    cosine = lambda a, b: a @ b / np.linalg.norm(a) / np.linalg.norm(b)  # noqa: E731
    assert cosine(strong, weak) > 0.97
    assert cosine(strong, lying) < 0.3
    assert np.isfinite(hog(np.zeros((1, 64, 64, 3), np.uint8))).all()


def test_numbers_are_filled_scaled_and_flagged():
    rows = [np.array(row) for row in ([1.0, 5.0, np.nan, 2.0], [3.0, 5.0, 4.0, np.nan], [5.0, 5.0, 6.0, 4.0])]
    state = Numbers().fit_plain(rows)
    table = Numbers().plain(rows, state)[:, 0]
    assert table.shape == (3, 5)  # three columns vary, two had gaps
    np.testing.assert_allclose(table[:, 0], [-np.sqrt(1.5), 0, np.sqrt(1.5)])
    np.testing.assert_allclose(table[:, 1], [0, -np.sqrt(1.5), np.sqrt(1.5)])  # the gap became the median, 5
    np.testing.assert_array_equal(table[:, 3:], [[1, 0], [0, 1], [0, 0]])
    with pytest.raises(ProblemError, match="2 columns; in training they had 4"):
        Numbers().plain([np.zeros(2)], state)


def test_numbers_that_no_sum_can_hold_are_refused():
    with pytest.raises(ProblemError, match=r"1e\+308 in column 2"):
        Numbers().check(np.array([0.0, 1e308]))
    Numbers().check(np.array([1e100, -1e100, np.nan]))


def test_equal_numbers_have_one_fingerprint():
    assert Numbers().fingerprint([0.0, np.nan]) == Numbers().fingerprint(np.array([-0.0, -np.nan]))
    assert Numbers().fingerprint([1, 2]) == Numbers().fingerprint(np.array([1.0, 2.0], dtype=np.float32))


# --- texts ------------------------------------------------------------------------------------------------------------

REFUSED_TEXTS = {
    "nothing": ("", "is empty"),
    "blanks": (" \t\n\u00a0", "nothing but blanks"),
    "a zero byte": ("ab\0c", "NUL) at character 3"),
    "half a character": ("ab\ud83dc", "lone surrogate) at character 3"),
    "too long": ("x" * (MAX_CHARACTERS + 1), "1,000,001 characters"),
    "a number": (5, "is a int"),
    "bytes": (b"abc", "is a bytes"),
    "a list": (["a", "b"], "is a list"),
    "no words": ((), "no words"),
    "an empty word": (("a", " "), "nothing for word 2"),
    "a word that is none": (("a", 2), "a int for word 2"),
    "a zero byte in a word": (("a", "b\0"), "NUL"),
    "words that are too long": (("x" * 600_000, "y" * 600_000), "characters"),
}


@pytest.mark.parametrize("name", REFUSED_TEXTS)
def test_bad_texts_are_refused_with_a_short_reason(name):
    raw, words = REFUSED_TEXTS[name]
    for verb in (Text().check, Text().fingerprint):
        with pytest.raises(ProblemError) as caught:
            verb(raw)
        assert words in str(caught.value)
        assert len(str(caught.value)) < 160


@pytest.mark.parametrize("raw", ["x", "😀", "\u200b.", "e\u0301", "\u202etext", "x" * MAX_CHARACTERS, ("a b", "c"), ("x",)])
def test_odd_texts_are_texts(raw):
    Text().check(raw)
    assert Text().load(raw) is raw


def test_a_text_is_known_by_its_letters_and_by_how_it_is_divided():
    texts = [
        "a b",
        "a  b",
        "A b",
        "é",
        "e\u0301",
        ("a", "b"),
        ("a b",),
        ("ab",),
        ("a", "b", "c"),
        ("a b", "c"),
        ("a", "b c"),
    ]
    assert len({Text().fingerprint(raw) for raw in texts}) == len(texts)


def test_a_long_text_is_shown_by_its_ends():
    shown = Text().show("begin " + "<b>&" * 10_000 + " end", "x")
    assert len(shown) < 4000
    assert "begin" in shown
    assert " end" in shown
    assert "39,410 characters" in shown
    assert "<b>" not in shown
    assert "Angela Merkel &lt;" in Text().show(("Angela", "Merkel", "<"), "x")
