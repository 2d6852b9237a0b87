"""How fast frozen features are: ONNX Runtime against torch, and files to features against a plain data loader.

    python benchmarks/extraction.py path/to/photos [--backbone efficientnet_lite0] [--rounds 3] [--count 64]

Photos (any JPEGs below the folder) are brought to 1280 × 960 first. Both sides run in turn, A B A B, in one process with
the same number of threads; medians are compared. Targets: ≥ 5 × eager NCHW, ≥ 4 × eager channels_last at a cosine of
0.9999 on every tap; files to features ≥ 5 × at a cosine of 0.999.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=64)
    asked = parser.parse_args()

    import torch

    from headstart import backbones
    from headstart.backbones._images import threads

    backbone = backbones.find(asked.backbone)
    torch.set_num_threads(threads())
    print(f"{asked.backbone}, {backbone.preprocess.side} px, {threads()} threads, medians of {asked.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        files = enlarged(asked.photos, Path(folder), asked.count)
        networks(backbone, files, asked.rounds)
        whole_way(backbone, files, asked.rounds)


def networks(backbone: Any, files: list[Path], rounds: int) -> None:
    """The network alone, on 32 prepared photos, every tap."""
    import torch

    from headstart.backbones._images import BATCH as OURS
    from headstart.backbones._images import session

    images = backbone.prepare(files[:BATCH])
    opened, taps = session(backbone), [tap.name for tap in backbone.taps]

    def ours() -> list[np.ndarray]:
        parts = [opened.run(taps, {"images": images[start : start + OURS]}) for start in range(0, len(images), OURS)]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def torch_side(layout: Any) -> Callable[[], list[np.ndarray]]:
        module = backbone.network().module.to(memory_format=layout)  # its own: torch follows the layout of the weights too
        return lambda: eager(backbone, module, torch.from_numpy(images), layout)

    sides = {"eager NCHW": torch_side(torch.contiguous_format), "eager channels_last": torch_side(torch.channels_last)}
    rows, seconds = alternate({"ONNX Runtime": ours, **sides}, rounds)
    for name in sides:
        close = np.concatenate([cosines(a, b) for a, b in zip(rows["ONNX Runtime"], rows[name], strict=False)])
        report(f"{len(images)} prepared photos", "ONNX Runtime", name, seconds, len(images), close)


def whole_way(backbone: Any, files: list[Path], rounds: int) -> None:
    """From JPEG files to the last feature row."""
    import torch

    module = backbone.network().module
    loader = torch.utils.data.DataLoader(Decoded(files, backbone.preprocess), batch_size=BATCH, num_workers=2)

    def plain() -> np.ndarray:
        return np.concatenate([eager(backbone, module, images, torch.contiguous_format)[-1] for images in loader])

    def ours() -> np.ndarray:
        return backbone.features(files, ["head"])["head"].rows

    rows, seconds = alternate({"Headstart": ours, "Pillow + DataLoader + eager": plain}, rounds)
    close = cosines(rows["Headstart"], rows["Pillow + DataLoader + eager"])
    report(f"{len(files)} JPEG files", "Headstart", "Pillow + DataLoader + eager", seconds, len(files), close)


class Decoded:
    """A data set of fully decoded photos: what a first script would do."""

    def __init__(self, files: list[Path], preprocess: Any) -> None:
        self.files, self.preprocess = files, preprocess

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        import torch
        from PIL import Image, ImageOps

        side = self.preprocess.side
        photo = ImageOps.exif_transpose(Image.open(self.files[index])).convert("RGB")
        square = ImageOps.fit(photo, (side, side), Image.Resampling[self.preprocess.resample])
        return torch.from_numpy(np.array(square))


def eager(backbone: Any, module: Any, images: Any, layout: Any) -> list[np.ndarray]:
    """Pooled rows of every feature tap, one torch operation after the other."""
    import torch

    from headstart.backbones._convnet_torch import _convolve

    made, mean, scale = backbone.architecture, *(torch.tensor(getattr(backbone.preprocess, x)) for x in ("mean", "scale"))
    with torch.inference_mode():
        x = ((images.float() - mean) * scale).permute(0, 3, 1, 2).contiguous(memory_format=layout)
        x, rows = _convolve(module, made, made.stem, x), []
        for block in made.blocks:
            start = x
            for conv in block.layers:
                x = _convolve(module, made, conv, x)
            x = x + start if block.residual else x
            rows.append(x.mean((2, 3)).numpy())
        return [*rows, _convolve(module, made, made.head, x).mean((2, 3)).numpy()]


def alternate(sides: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, Any], dict[str, float]]:
    """The last answer of each side, and the median of its seconds; once before for warming up."""
    rows = {name: run() for name, run in sides.items()}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            begin = time.perf_counter()
            rows[name] = run()
            seconds[name].append(time.perf_counter() - begin)
    return rows, {name: statistics.median(found) for name, found in seconds.items()}


def report(what: str, fast: str, slow: str, seconds: dict[str, float], count: int, close: np.ndarray) -> None:
    ratio, speeds = seconds[slow] / seconds[fast], [count / seconds[name] for name in (fast, slow)]
    near = f"cosine min {close.min():.7f} mean {close.mean():.7f}"
    print(f"{what}: {fast} {speeds[0]:.1f}/s, {slow} {speeds[1]:.1f}/s: {ratio:.1f}x, {near}")


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def enlarged(source: Path, folder: Path, count: int) -> list[Path]:
    """``count`` photos of ``source`` as 1280 × 960 JPEGs in ``folder``."""
    from PIL import Image, ImageOps

    found = sorted(file for file in source.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        raise SystemExit(f"There are no JPEG files below {source}.")
    files = []
    for index in range(count):
        photo = Image.open(found[index * len(found) // count % len(found)]).convert("RGB")
        files.append(folder / f"{index:04d}.jpg")
        ImageOps.fit(photo, (1280, 960), Image.Resampling.LANCZOS).save(files[-1], quality=90)
    return files


if __name__ == "__main__":
    main()
