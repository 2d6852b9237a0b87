"""One photo: how it is decoded, bounded, told apart, shown, and described without any network.

What happens to each odd kind of file stands as a table in ``docs/data.md``.
"""

from __future__ import annotations

import base64
import html
import io
import os
import stat
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart import _io
from headstart.errors import ProblemError

if TYPE_CHECKING:
    from PIL import Image as Pillow

MAX_PIXELS = 64_000_000  # a decoded photo then stays under 256 MB
MAX_BYTES = 512 * 2**20
# Formats that Pillow decodes by itself. Others (EPS calls Ghostscript) never reach a decoder.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
THREADS = min(8, os.cpu_count() or 1)

# Chosen by 3 x 4-fold validation on 400 training photos of garments: 0.65; 96 and 12 without colours: 0.61.
SIDE, CELL, BINS, COLOURS = 64, 8, 9, 4
THUMBNAIL, THUMBNAIL_BYTES = 160, 8192


@dataclass(frozen=True)
class Image:
    """A photo or drawing, given as a path, as the bytes of a file, or as a uint8 array (H, W) or (H, W, C).

    Only the first frame of an animation counts. The EXIF orientation is applied once; transparency lies on white.
    """

    name = "image"
    plural = "images"

    def check(self, raw: Any) -> None:
        """``ProblemError`` with a short reason unless the whole image can be decoded within the pixel budget."""
        self.load(raw, side=8)  # the smallest JPEG scale still reads the file to its end

    def load(self, raw: Any, *, side: int | None = None) -> Pillow.Image:
        """The upright RGB image.

        With ``side``, a JPEG may come out smaller, but its short side is at least ``2 * side`` if it was before: the
        decoder skips detail that a resize to ``side`` would throw away (3 times faster, features alike to 0.999).
        """
        if isinstance(raw, np.ndarray):
            return _from_array(raw)
        try:
            return _decode(raw, side)
        except ProblemError:
            raise
        except OSError as error:
            if error.errno is not None:
                raise ProblemError(f"cannot be read: {error.strerror}") from error
            raise ProblemError(_reason(error)) from error
        except Exception as error:  # decoders meet hostile bytes: whatever they raise says the same thing
            raise ProblemError(_reason(error)) from error

    def fingerprint(self, raw: Any) -> str:
        """The digest of the file's bytes; of shape and bytes for an array."""
        if isinstance(raw, np.ndarray):
            return _io.digest(f"{raw.dtype.str}{raw.shape}".encode() + np.ascontiguousarray(raw).tobytes())
        try:
            return _io.digest(_content(raw))
        except OSError as error:
            raise ProblemError(f"cannot be read: {error.strerror or error}") from error

    def fit_plain(self, inputs: Sequence[Any]) -> dict[str, np.ndarray]:
        """Nothing: neither gradients nor colours need training items."""
        return {}

    def plain(self, inputs: Sequence[Any], state: dict[str, np.ndarray]) -> np.ndarray:
        """Shape and colour of the photo and of its mirror image, (n, 2, width).

        Histograms of oriented gradients (Dalal & Triggs, 2005), then the mean colours of a 4 x 4 grid, in 0..1. A kernel
        machine that trains on both views and averages over both reaches what small networks reach only with many more
        photos.
        """
        out = np.zeros((len(inputs), 2, _width()))
        with ThreadPoolExecutor(THREADS) as pool:
            for start in range(0, len(inputs), 64):
                pixels = np.stack(list(pool.map(self._square, inputs[start : start + 64])))
                out[start : start + 64, 0] = _shape_and_colour(pixels)
                out[start : start + 64, 1] = _shape_and_colour(pixels[:, :, ::-1])
        return out

    def views(self, count: int) -> tuple[str, ...]:
        """The mirror image, then crops, every other one of them mirrored too."""
        return ("flip", *(f"crop-{k}{'-flip' * (k % 2)}" for k in range(1, count)))[:count]

    def work(self, raw: Any) -> float:
        return 1.0

    def show(self, raw: Any, name: str) -> str:
        """A figure with a small inline JPEG and the escaped name; only words if the image cannot be read."""
        caption = html.escape(name.encode("utf-8", "backslashreplace").decode())
        try:
            picture = self.load(raw, side=THUMBNAIL)
            content = base64.b64encode(_thumbnail(picture)).decode()
        except ProblemError as error:
            return f"<figure><p>{html.escape(str(error))}</p><figcaption>{caption}</figcaption></figure>"
        image = f'<img src="data:image/jpeg;base64,{content}" alt="">'
        return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"

    def _square(self, raw: Any) -> np.ndarray:
        from PIL.Image import Resampling

        return np.asarray(self.load(raw, side=SIDE).resize((SIDE, SIDE), Resampling.BILINEAR))


def _shape_and_colour(pixels: np.ndarray) -> np.ndarray:
    block = SIDE // COLOURS
    colours = pixels.reshape(len(pixels), COLOURS, block, COLOURS, block, 3).mean(axis=(2, 4)) / 255
    return np.concatenate([hog(pixels), colours.reshape(len(pixels), -1)], axis=1)


def hog(pixels: np.ndarray) -> np.ndarray:
    """Histograms of oriented gradients of square uint8 images (n, side, side, 3), (n, width) float64.

    At each pixel the colour channel with the strongest gradient votes, split between the two nearest of 9 unsigned
    orientations; cells are normalised in blocks of 2 x 2, clipped at 0.2 and normalised again.
    """
    light = np.sqrt(pixels.astype(np.float32) / 255)
    across, down = np.zeros_like(light), np.zeros_like(light)
    across[:, :, 1:-1] = light[:, :, 2:] - light[:, :, :-2]
    down[:, 1:-1] = light[:, 2:] - light[:, :-2]
    strongest = (across**2 + down**2).argmax(axis=3)[..., None]
    across = np.take_along_axis(across, strongest, axis=3)[..., 0]
    down = np.take_along_axis(down, strongest, axis=3)[..., 0]
    size = np.hypot(across, down)
    place = (np.arctan2(down, across) % np.pi) * (BINS / np.pi) - 0.5
    lower = np.floor(place)
    share = place - lower
    bins = lower.astype(int)
    cells = np.stack([_cells(size, share, bins, bin) for bin in range(BINS)], axis=-1)
    return _normalised_blocks(cells.astype(np.float64))


def _cells(size: np.ndarray, share: np.ndarray, bins: np.ndarray, bin: int) -> np.ndarray:
    votes = size * ((1 - share) * (bins % BINS == bin) + share * ((bins + 1) % BINS == bin))
    n, side = votes.shape[:2]
    return votes.reshape(n, side // CELL, CELL, side // CELL, CELL).sum(axis=(2, 4))


def _normalised_blocks(cells: np.ndarray) -> np.ndarray:
    corners = [cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:]]
    blocks = np.concatenate(corners, axis=-1)
    blocks = blocks / np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + 1e-4)
    blocks = np.minimum(blocks, 0.2)
    blocks = blocks / np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + 1e-4)
    return blocks.reshape(len(cells), -1)


def _width() -> int:
    return (SIDE // CELL - 1) ** 2 * 4 * BINS + COLOURS**2 * 3


def _content(raw: Any) -> bytes:
    """The file's bytes. Pipes and devices are refused: reading one may never end."""
    if isinstance(raw, (bytes, bytearray, memoryview)):
        content = bytes(raw)
    elif isinstance(raw, (str, os.PathLike)):
        try:
            handle = os.open(raw, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except ValueError as error:
            raise ProblemError("is not a path") from error
        with os.fdopen(handle, "rb") as file:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise ProblemError("is not a regular file")
            if found.st_size > MAX_BYTES:
                raise ProblemError(f"has {found.st_size / 2**20:,.0f} MB; at most {MAX_BYTES / 2**20:.0f} MB are read")
            content = file.read()
    else:
        raise ProblemError(f"is a {type(raw).__name__}; a path, bytes or a uint8 array is needed")
    if not content:
        raise ProblemError("is empty (zero bytes)")
    return content


def _decode(raw: Any, side: int | None) -> Pillow.Image:
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    _hush()
    try:
        opened = Pillow.open(io.BytesIO(_content(raw)), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise ProblemError("is not an image that can be read") from error
    with opened as picture:
        _bound(picture.size)
        if side is not None:
            picture.draft("RGB", (2 * side, 2 * side))  # only JPEG listens
        turn = _orientation(picture)
        picture.load()
        _bound(picture.size)
        upright = _rgb(picture)
        return upright if turn is None else upright.transpose(turn)


@cache
def _hush() -> None:
    """Pillow prints warnings about odd metadata and large headers; both are dealt with here, and the library is silent."""
    warnings.filterwarnings("ignore", module=r"PIL\.")


def _bound(size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ProblemError(f"has {width:,} x {height:,} pixels; at most {MAX_PIXELS / 1e6:.0f} million are decoded")
    if width * height == 0:
        raise ProblemError(f"has {width} x {height} pixels")


def _orientation(picture: Pillow.Image) -> Any:
    """What turns the picture upright. A damaged EXIF block says nothing about the pixels, so it is passed over."""
    from PIL.Image import Transpose

    if picture.format == "TIFF":
        return None  # Pillow turns these itself
    try:
        orientation = picture.getexif().get(0x0112)
    except Exception:
        return None
    return {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }.get(orientation or 1)


def _rgb(picture: Pillow.Image) -> Pillow.Image:
    from PIL import Image as Pillow

    if picture.mode.startswith("I;16"):
        return _from_array((np.asarray(picture).astype(np.uint16) >> 8).astype(np.uint8))
    if picture.mode in ("I", "F"):
        return _from_array(_stretched(np.asarray(picture, dtype=np.float64)))
    if picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        return Pillow.alpha_composite(Pillow.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


def _stretched(values: np.ndarray) -> np.ndarray:
    """32-bit values have no agreed range: black is the least, white the greatest."""
    finite = np.isfinite(values)
    if not finite.any():
        raise ProblemError("has no finite pixel value")
    low, high = values[finite].min(), values[finite].max()
    scaled = (np.where(finite, values, low) - low) / max(high - low, 1e-300)
    return np.round(255 * np.clip(scaled, 0, 1)).astype(np.uint8)


def _from_array(raw: np.ndarray) -> Pillow.Image:
    from PIL import Image as Pillow

    shaped = raw[..., 0] if raw.ndim == 3 and raw.shape[2] == 1 else raw
    if shaped.dtype != np.uint8 or not (shaped.ndim == 2 or (shaped.ndim == 3 and shaped.shape[2] in (3, 4))):
        raise ProblemError(f"is a {raw.dtype} array of shape {raw.shape}; uint8 of (H, W), (H, W, 1), 3 or 4 is needed")
    _bound((shaped.shape[1], shaped.shape[0]))
    return _rgb(Pillow.fromarray(np.ascontiguousarray(shaped)))


def _reason(error: Exception) -> str:
    from PIL.Image import DecompressionBombError, DecompressionBombWarning

    words = str(error)
    if isinstance(error, (DecompressionBombError, DecompressionBombWarning)):
        return f"has too many pixels; at most {MAX_PIXELS / 1e6:.0f} million are decoded"
    if "truncated" in words.lower():
        return "is truncated"
    return f"is damaged ({(words or type(error).__name__)[:80]})"


def _thumbnail(picture: Pillow.Image) -> bytes:
    """JPEG bytes of at most ``THUMBNAIL`` pixels a side: the first of ever coarser versions that is small enough."""
    attempts: list[tuple[int, int]] = [(THUMBNAIL, 80), (THUMBNAIL, 60), (THUMBNAIL, 40), (96, 40), (64, 30)]
    content = b""
    for side, quality in attempts:
        small = picture.copy()
        small.thumbnail((side, side))
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=quality, optimize=True)
        content = buffer.getvalue()
        if len(content) <= THUMBNAIL_BYTES:
            break
    return content
