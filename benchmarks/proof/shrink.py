"""Shrink a folder of photographs, to carry it to another machine: the longest side 128 pixels, JPEG, names kept.

python benchmarks/proof/shrink.py photos small
"""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps

SIDE, QUALITY = 128, 82


def shrink(pair: tuple[Path, Path]) -> None:
    """Write a smaller image, from and to the two paths."""
    with Image.open(pair[0]) as image:
        small = ImageOps.exif_transpose(image).convert("RGB")
    small.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    pair[1].parent.mkdir(parents=True, exist_ok=True)
    small.save(pair[1], "JPEG", quality=QUALITY)


def main(source: Path, target: Path) -> None:
    """Shrink `train` and `val`; the descriptions join by name, so they are copied."""
    images = [path for split in ("train", "val") for path in sorted((source / split).rglob("*")) if path.is_file()]
    with ProcessPoolExecutor() as processes:
        list(processes.map(shrink, [(path, target / path.relative_to(source)) for path in images], chunksize=64))
    shutil.copy(source / "descriptions.csv", target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{len(images)} images, {size / 1e6:.1f} MB in {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
