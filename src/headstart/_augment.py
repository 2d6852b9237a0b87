"""Photos as they might also have been taken: the same subject, another crop, side, light."""

from __future__ import annotations

from typing import Any


def augmented(images: Any, generator: Any, *, area: float = 0.35, flip: bool = True, light: float = 0.3) -> Any:
    """Random crops of at least ``area`` of each image, mirrored half the time, with other brightness and contrast.

    ``images`` is a uint8 tensor (n, side, side, 3), and so is the answer. Anything else (rows of numbers, states inside a
    network) comes back as it is.
    """
    import torch
    from torch.nn.functional import affine_grid, grid_sample

    if not torch.is_tensor(images) or images.ndim != 4 or images.dtype != torch.uint8:
        return images
    n = len(images)
    draw = torch.rand(6, n, generator=generator)
    size = (area + (1 - area) * draw[0]).sqrt()
    aspect = torch.exp((draw[1] - 0.5) * 0.5)
    wide, high = (size * aspect.sqrt()).clamp(max=1.0), (size / aspect.sqrt()).clamp(max=1.0)
    mirror = torch.where(draw[2] < 0.5, -1.0, 1.0) if flip else torch.ones(n)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = wide * mirror, high
    theta[:, 0, 2], theta[:, 1, 2] = (1 - wide) * (2 * draw[3] - 1), (1 - high) * (2 * draw[4] - 1)
    pixels = images.permute(0, 3, 1, 2).float()
    pixels = grid_sample(pixels, affine_grid(theta, list(pixels.shape), align_corners=False), align_corners=False)
    gain = 1 + light * (2 * torch.rand(2, n, 1, 1, 1, generator=generator) - 1)
    middle = pixels.mean(dim=(1, 2, 3), keepdim=True)
    pixels = ((pixels - middle) * gain[0] + middle) * gain[1]
    return pixels.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
