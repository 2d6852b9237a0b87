"""Training items as they might also have been: another crop, side, light, a part that is missing, a mixture of two.

Each kind is one function. Its ``strength`` is a number: 0 leaves everything as it is, 0.5 is what the kind's paper uses, 1 about
twice as much. All randomness comes from a torch generator that is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart.errors import ProblemError, UnknownName

OPS = 2  # of RandAugment, one after the other on each photo
GREY = (0.299, 0.587, 0.114)  # shares of red, green and blue in how light a pixel looks


@dataclass(frozen=True)
class Augmentation:
    """Which kinds, in which order, and how strong. ``flip`` says whether a mirror image means the same (digits: no)."""

    kinds: tuple[str, ...] = ()
    strength: float = 0.5
    flip: bool = True

    @classmethod
    def named(cls, text: str, *, strength: float, flip: bool = True) -> Augmentation:
        """What ``text`` says: ``"flip_crop/mixup"``; ``"none"`` is none. ``UnknownName`` for a kind that does not exist,
        ``ProblemError`` for a strength outside 0 to 1."""
        kinds = tuple(text.split("/")) if text != "none" else ()
        for kind in kinds:
            if kind not in (*PHOTOS, *MIXTURES):
                raise UnknownName.of("kind of augmentation", kind, ["none", *PHOTOS, *MIXTURES], "Join several with '/'.")
        if not 0 <= strength <= 1:
            raise ProblemError(f"The strength of augmentation is {strength:g}; a number from 0 (none) to 1 is needed.")
        return cls(kinds, strength, flip)

    def suited(self, inputs: Any, *, link: str) -> Augmentation:
        """The kinds among these that change a batch like ``inputs``, for a task of this ``link``.

        Photos can be changed as photos; anything that is a tensor can be mixed, unless the task predicts numbers; a
        rectangle needs something with two sides. Texts and states of unequal length stay as they are.
        """
        import torch

        tensor = torch.is_tensor(inputs) and link != "identity"
        fits = {kind: _are_photos(inputs) for kind in PHOTOS} | {"mixup": tensor, "cutmix": tensor and inputs.ndim == 4}
        return replace(self, kinds=tuple(kind for kind in self.kinds if fits[kind] and self.strength))

    def photos(self, inputs: Any, generator: Any) -> Any:
        """A batch with every photo changed anew: uint8 (n, side, side, 3). Anything else comes back as it is."""
        if not _are_photos(inputs) or not self.strength:
            return inputs
        for kind in self.kinds:
            if kind == "flip_crop":
                inputs = flip_crop(inputs, generator, strength=self.strength, flip=self.flip)
            elif kind in PHOTOS:
                inputs = PHOTOS[kind](inputs, generator, strength=self.strength)
        return inputs

    def mixed(self, inputs: Any, generator: Any) -> Mixed | None:
        """The batch mixed with itself in another order, or None. Of several ways to mix, one is drawn for each batch."""
        import torch

        ways = [kind for kind in self.kinds if kind in MIXTURES]
        if not ways or not self.strength:
            return None
        draw = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        way = ways[int(draw.integers(len(ways)))] if len(ways) > 1 else ways[0]
        other = torch.randperm(len(inputs), generator=generator)
        return MIXTURES[way](inputs, other, draw, strength=self.strength)

    @property
    def looks(self) -> bool:
        """Whether a photo is to be changed: where states are cached, other views of it stand for that."""
        return bool(self.strength) and any(kind in PHOTOS for kind in self.kinds)

    def __str__(self) -> str:
        return "/".join(self.kinds) or "none"


@dataclass(frozen=True, eq=False)
class Mixed:
    """``inputs`` that are a share of themselves and the rest of the items at ``other``; so are their targets."""

    inputs: Any
    other: Any
    share: float


def flip_crop(images: Any, generator: Any, *, strength: float = 0.5, flip: bool = True) -> Any:
    """Random crops, mirrored half the time, with other brightness and contrast.

    ``images`` is a uint8 tensor (n, side, side, 3), and so is the answer. A crop has at least 0.35 ** (2 · strength) of the
    area: 0.35 by default, the usual 0.08 or so of ImageNet's recipe at 1.
    """
    import torch

    n, area, light = len(images), 0.35 ** (2 * strength), 0.6 * strength
    draw = torch.rand(6, n, generator=generator)
    size = (area + (1 - area) * draw[0]).sqrt()
    aspect = torch.exp((draw[1] - 0.5) * strength)
    wide, high = (size * aspect.sqrt()).clamp(max=1.0), (size / aspect.sqrt()).clamp(max=1.0)
    mirror = torch.where(draw[2] < (min(0.5, strength) if flip else 0.0), -1.0, 1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = wide * mirror, high
    theta[:, 0, 2], theta[:, 1, 2] = (1 - wide) * (2 * draw[3] - 1), (1 - high) * (2 * draw[4] - 1)
    pixels = _warped(_pixels(images), theta, "zeros")
    gain = 1 + light * (2 * torch.rand(2, n, 1, 1, 1, generator=generator) - 1)
    middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return _images(((pixels - middle) * gain[0] + middle) * gain[1])


def randaugment(images: Any, generator: Any, *, strength: float = 0.5) -> Any:
    """Two of twelve changes to each photo, drawn at random, all of one magnitude (after RandAugment; Cubuk et al. 2020).

    Of the paper's fourteen, histogram equalisation and the identity are left out. The sign of a change is random. At
    strength 1 a photo turns by 30°, shears by 0.3, moves by 0.3 of its side, or its light changes by 0.9.
    """
    import torch

    pixels = _pixels(images)
    for _ in range(OPS):
        chosen = torch.randint(len(CHANGES), (len(pixels),), generator=generator)
        sign = torch.randint(2, (len(pixels),), generator=generator) * 2 - 1
        for place, change in enumerate(CHANGES):
            rows = chosen == place
            if rows.any():
                pixels[rows] = change(pixels[rows], strength * sign[rows].float()).clamp(0, 255)
    return _images(pixels)


def erasing(images: Any, generator: Any, *, strength: float = 0.5) -> Any:
    """In each photo, with probability ``strength``, a rectangle of noise (random erasing; Zhong et al. 2020).

    It has 0.02 to 0.4 of the area and sides of a ratio from 0.3 to 3.3, as in the paper.
    """
    import torch

    n, height, width = images.shape[:3]
    draw = torch.rand(5, n, generator=generator)
    area, ratio = 0.02 + 0.38 * draw[1], torch.exp((2 * draw[2] - 1) * float(np.log(10 / 3)))
    high = ((area * ratio).sqrt() * height).round().clamp(1, height)
    wide = ((area / ratio).sqrt() * width).round().clamp(1, width)
    top, left = (draw[3] * (height - high + 1)).floor(), (draw[4] * (width - wide + 1)).floor()
    down, across = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    top, high, left, wide = (one[:, None, None] for one in (top, high, left, wide))
    inside = (down >= top) & (down < top + high) & (across >= left) & (across < left + wide)
    inside &= (draw[0] < strength)[:, None, None]
    noise = torch.randint(256, images.shape, dtype=torch.uint8, generator=generator)
    return torch.where(inside[..., None], noise, images)


def mixup(inputs: Any, other: Any, draw: np.random.Generator, *, strength: float = 0.5) -> Mixed:
    """A weighted mean of two items, the share from Beta(α, α) with α = 0.4 · strength (Zhang et al. 2018).

    Inside a network it mixes states (manifold mixup; Verma et al. 2019).
    """
    share = float(draw.beta(0.4 * strength, 0.4 * strength))
    return Mixed(share * inputs.float() + (1 - share) * inputs[other].float(), other, share)


def cutmix(inputs: Any, other: Any, draw: np.random.Generator, *, strength: float = 0.5) -> Mixed | None:
    """A rectangle of another item, in a share ``strength`` of the batches, else None (Yun et al. 2019, with α = 1).

    ``inputs`` are photos (n, side, side, 3) or maps (n, channels, height, width). The share is of what is really seen.
    """
    place = 1 if _are_photos(inputs) else 2
    if draw.random() >= strength:
        return None
    root, spans, inside = float(np.sqrt(1 - draw.random())), [slice(None)] * place, 1.0
    for side in inputs.shape[place : place + 2]:
        middle, half = draw.random() * side, root * side / 2
        low, high = round(max(0.0, middle - half)), round(min(float(side), middle + half))
        spans.append(slice(low, high))
        inside *= (high - low) / side
    found = inputs.clone()
    found[tuple(spans)] = inputs[other][tuple(spans)]
    return Mixed(found, other, 1 - inside)


PHOTOS: dict[str, Callable[..., Any]] = {"flip_crop": flip_crop, "randaugment": randaugment, "erasing": erasing}
MIXTURES: dict[str, Callable[..., Mixed | None]] = {"mixup": mixup, "cutmix": cutmix}


def _are_photos(inputs: Any) -> bool:
    import torch

    return torch.is_tensor(inputs) and inputs.ndim == 4 and inputs.dtype == torch.uint8


def _pixels(images: Any) -> Any:
    return images.permute(0, 3, 1, 2).float()


def _images(pixels: Any) -> Any:
    import torch

    return pixels.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _warped(pixels: Any, theta: Any, outside: str) -> Any:
    """``pixels`` (n, 3, side, side) read at places that ``theta`` (n, 2, 3) gives."""
    from torch.nn.functional import affine_grid, grid_sample

    grid = affine_grid(theta, list(pixels.shape), align_corners=False)
    return grid_sample(pixels, grid, padding_mode=outside, align_corners=False)


def _moved(pixels: Any, *, xx: Any = 1.0, xy: Any = 0.0, x: Any = 0.0, yx: Any = 0.0, yy: Any = 1.0, y: Any = 0.0) -> Any:
    """The affine map with these parts, each a number or (n,). The edges are mirrored, so that none looks like a frame."""
    import torch

    theta = torch.zeros(len(pixels), 2, 3)
    for row, parts in enumerate(((xx, xy, x), (yx, yy, y))):
        for column, part in enumerate(parts):
            theta[:, row, column] = part
    return _warped(pixels, theta, "reflection")


def _rotated(pixels: Any, m: Any) -> Any:
    angle = m * float(np.radians(30))
    return _moved(pixels, xx=angle.cos(), xy=-angle.sin(), yx=angle.sin(), yy=angle.cos())


def _blended(pixels: Any, plain: Any, m: Any) -> Any:
    """Away from ``plain`` for a positive m, towards it for a negative one."""
    return plain + (1 + 0.9 * m.view(-1, 1, 1, 1)) * (pixels - plain)


def _grey(pixels: Any) -> Any:
    return (pixels * pixels.new_tensor(GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def _blurred(pixels: Any) -> Any:
    from torch.nn.functional import avg_pool2d, pad

    return avg_pool2d(pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)


def _stretched(pixels: Any, m: Any) -> Any:
    """Towards colours that reach from 0 to 255 in each channel."""
    low, high = pixels.amin(dim=(2, 3), keepdim=True), pixels.amax(dim=(2, 3), keepdim=True)
    return pixels.lerp((pixels - low) * (255 / (high - low).clamp(min=1)), m.abs().view(-1, 1, 1, 1))


def _solarised(pixels: Any, m: Any) -> Any:
    """What is brighter than a threshold becomes its negative."""
    return pixels.where(pixels < 256 * (1 - m.abs()).view(-1, 1, 1, 1), 255 - pixels)


def _posterised(pixels: Any, m: Any) -> Any:
    """Fewer levels: four of the eight bits at magnitude 1."""
    step = 2 ** (4 * m.abs()).round().view(-1, 1, 1, 1)
    return (pixels / step).floor() * step


# Each takes pixels (k, 3, side, side) of 0 to 255 and a signed magnitude (k,) from -1 to 1; 0 changes nothing.
CHANGES: tuple[Callable[[Any, Any], Any], ...] = (
    _rotated,
    lambda pixels, m: _moved(pixels, xy=0.3 * m),
    lambda pixels, m: _moved(pixels, yx=0.3 * m),
    lambda pixels, m: _moved(pixels, x=0.6 * m),  # places run from -1 to 1
    lambda pixels, m: _moved(pixels, y=0.6 * m),
    lambda pixels, m: _blended(pixels, 0 * pixels, m),  # brightness
    lambda pixels, m: _blended(pixels, _grey(pixels).mean(dim=(2, 3), keepdim=True), m),  # contrast
    lambda pixels, m: _blended(pixels, _grey(pixels), m),  # saturation
    lambda pixels, m: _blended(pixels, _blurred(pixels), m),  # sharpness
    _stretched,
    _solarised,
    _posterised,
)
