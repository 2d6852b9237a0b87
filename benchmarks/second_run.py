"""What the cache saves: extraction of one folder in new processes, first, again, and with 1 % of the files changed.

    python benchmarks/second_run.py IMAGE_FOLDER [--copies 3]

The folder's photos are copied to a temporary place ``copies`` times, each copy re-encoded at another quality so that every
file is different. Each row is a whole process (`headstart extract`), wall and processor seconds; the cache starts empty.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

PROBE = "import sys; from headstart.cli import main; sys.argv = ['headstart', 'extract', {!r}, '--backbone', {!r}]\n"
TORCH = "try:\n    main()\nexcept SystemExit:\n    pass\nprint('torch' in sys.modules, file=sys.stderr)"


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("folder", type=Path)
    words.add_argument("--copies", type=int, default=3)
    asked = words.parse_args()
    with tempfile.TemporaryDirectory() as place:
        data, cache = Path(place) / "data", Path(place) / "cache"
        photos = sorted(asked.folder.rglob("*.jpg"))
        for copy in range(asked.copies):
            for photo in photos:
                target = data / photo.parent.name / f"{copy}-{photo.parent.parent.name}-{photo.name}"
                target.parent.mkdir(parents=True, exist_ok=True)
                Image.open(photo).convert("RGB").save(target, quality=90 - copy)
        count = len(photos) * asked.copies
        run(data / photos[0].parent.name, cache, warm=True)  # the graph is written once for a machine
        first, again, third = run(data, cache), run(data, cache), run(data, cache)
        changed = sorted(data.rglob("*.jpg"))[:: max(1, 100)]
        for photo in changed:
            Image.open(photo).save(photo, quality=70)
        later = run(data, cache)
        print(f"{count} photos")
        print("| run | wall s | cpu s | share of the first (wall) | torch imported |\n| --- | --- | --- | --- | --- |")
        named = {"first": first, "second": again, "third": third, f"{len(changed)} files changed": later}
        for name, (wall, cpu, torch) in named.items():
            print(f"| {name} | {wall:.2f} | {cpu:.2f} | {100 * wall / first[0]:.1f} % | {torch} |")


def run(data: Path, cache: Path, *, warm: bool = False) -> tuple[float, float, str]:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    code = PROBE.format(str(data), "efficientnet_lite0") + TORCH
    environment = {**os.environ, "HEADSTART_CACHE": str(cache)}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if found.returncode and not warm:
        raise SystemExit(found.stderr)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, found.stderr.strip().splitlines()[-1] if found.stderr.strip() else "?"


if __name__ == "__main__":
    main()
