"""Make ``examples/clothing`` from a copy of clothing-dataset-small: ``python make_clothing.py SOURCE [OUT]``.

SOURCE holds train/, validation/ and test/ with one folder a class. For each of the 10 garments, 40 photos are drawn
from train and 20 from test, filled up from validation where test has fewer. A photo that looks like one already chosen
(same class or not, either part) is passed over, so that no exam photo has a twin to learn from. The draw is seeded:
the same source gives the same files.
"""

from __future__ import annotations

import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

TRAIN, EXAM = 40, 20  # photos a class
SIDE, QUALITY = 192, 74  # the short side in pixels; 600 photos stay under 6 MB
NEAR = 10  # of 128 bits: photos whose hashes differ in fewer look alike
SEED = 2024


def look(photo: Image.Image) -> np.ndarray:
    """128 bits that small changes of size, light and compression leave alone: signs of differences on a small grid."""
    grey = np.asarray(photo.convert("L").resize((9, 9), Image.Resampling.BOX), dtype=int)
    return np.concatenate([(np.diff(grey[:8], axis=1) > 0).ravel(), (np.diff(grey[:, :8], axis=0) > 0).ravel()])


def candidates(folders: list[Path], seed: str) -> Iterator[Path]:
    """The photos of the folders, one folder after the other, each shuffled."""
    for folder in folders:
        files = sorted(folder.glob("*.jpg"))
        random.Random(f"{SEED}/{seed}/{folder.parent.name}").shuffle(files)
        yield from files


def choose(source: Path, garment: str, part: str, *, seen: list[np.ndarray]) -> list[Image.Image]:
    """The photos of one garment for one part; their hashes are added to ``seen``."""
    folders = [source / "train"] if part == "train" else [source / "test", source / "validation"]
    wanted = TRAIN if part == "train" else EXAM
    chosen: list[Image.Image] = []
    for file in candidates([folder / garment for folder in folders], garment):
        with Image.open(file) as opened:
            photo = ImageOps.exif_transpose(opened).convert("RGB")
        # the mirror image too: shops turn photos round
        hashes = [look(photo), look(ImageOps.mirror(photo))]
        if any((hash != other).sum() < NEAR for other in seen for hash in hashes):
            print(f"passed over, looks like a chosen one: {file.parent.parent.name}/{garment}/{file.name}")
            continue
        seen.append(hashes[0])
        chosen.append(photo)
        if len(chosen) == wanted:
            return chosen
    raise SystemExit(f"{source} has only {len(chosen)} photos of '{garment}' for {part}; {wanted} are needed.")


def save(photo: Image.Image, path: Path) -> None:
    """Write the photo at the size and quality of the example, without metadata."""
    scale = min(1.0, SIDE / min(photo.size))
    size = (round(photo.width * scale), round(photo.height * scale))
    path.parent.mkdir(parents=True, exist_ok=True)
    photo.resize(size, Image.Resampling.LANCZOS).save(path, "JPEG", quality=QUALITY, optimize=True, progressive=True)


def main(source: Path, out: Path) -> None:
    """Write train/ and test/ below ``out``; older ones go."""
    garments = sorted(folder.name for folder in (source / "train").iterdir() if folder.is_dir())
    seen: list[np.ndarray] = []
    for part in ("test", "train"):  # the exam first: test has few photos to spare
        shutil.rmtree(out / part, ignore_errors=True)
        for garment in garments:
            for number, photo in enumerate(choose(source, garment, part, seen=seen), start=1):
                save(photo, out / part / garment / f"{garment}-{number:02d}.jpg")
    files = list(out.rglob("*.jpg"))
    print(f"{len(files)} photos, {sum(file.stat().st_size for file in files) / 1e6:.2f} MB in {out}")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parent / "clothing")
