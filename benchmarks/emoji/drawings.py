"""Give every emoji of a set further drawings, by other hands, from packages of the npm registry.

    npm pack emoji-datasource-twitter@16.0.0 @lobehub/fluent-emoji-3d@1.1.0
    python benchmarks/emoji/prepare.py --out emoji
    python benchmarks/emoji/drawings.py emoji --archives *.tgz --out emoji-3

The drawings are Twemoji (CC-BY 4.0) and Fluent Emoji 3D (MIT). An emoji keeps its class, description and side of
the split, so no drawing of a validation emoji is seen in training. Nothing of the packages lies in this repository.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import re
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from sightwords.errors import ConfigError, DataError, SightwordsError
from sightwords.files import atomic_path
from sightwords.progress import Progress

# the one folder of small single pictures in each package; further packages of this layout work too
PICTURE = re.compile(r"package/(?:assets|img/[a-z]+/64)/([0-9a-f]+(?:-[0-9a-f]+)*)\.(?:png|webp)")
STYLE = "fe0f"


def canonical(stem: str) -> str:
    """Return a file's stem of code points as packages may spell it: no leading zeros, no style selectors."""
    return "-".join(part.lstrip("0") for part in stem.split("-") if part != STYLE)


def archive_name(path: Path) -> str:
    """Return a package's name from the file that `npm pack` wrote: `emoji-datasource-twitter`."""
    return re.sub(r"-\d+(\.\d+)*$", "", path.name.removesuffix(".tgz"))


def pictures(path: Path) -> dict[str, bytes]:
    """Return the pictures of a package by canonical stem.

    Raises:
        DataError: the file is no such package.
    """
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if (match := PICTURE.fullmatch(member.name)) and (file := archive.extractfile(member)):
                    found[canonical(match[1])] = file.read()
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read ({error}). Fetch it again with: npm pack") from error
    if not found:
        raise DataError(f"{path} holds no emoji pictures in package/assets or package/img/NAME/64.")
    return found


def on_white(picture: bytes, size: int) -> bytes:
    """Return a picture as a square RGB PNG of `size` pixels, its transparent parts white."""
    with Image.open(io.BytesIO(picture)) as image:
        cut = image.convert("RGBA").resize((size, size), Image.Resampling.LANCZOS)
    paper = Image.new("RGBA", cut.size, "white")
    buffer = io.BytesIO()
    Image.alpha_composite(paper, cut).convert("RGB").save(buffer, format="PNG")
    return buffer.getvalue()


def drawn(source: Path, archives: Mapping[str, Path], size: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield image path, text and PNG of every drawing of every emoji of the set, those of the set first."""
    with (source / "descriptions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        yield row["image"], row["text"], on_white((source / row["image"]).read_bytes(), size)
    for name, path in archives.items():
        found = pictures(path)
        for row in rows:
            image = Path(row["image"])
            if (picture := found.get(canonical(image.stem))) is None:
                continue
            try:
                yield str(image.with_stem(f"{image.stem}-{name}")), row["text"], on_white(picture, size)
            except UnidentifiedImageError:
                continue  # a picture that Pillow cannot read is one drawing less


def write(source: Path, archives: Mapping[str, Path], size: int, out: Path) -> dict[str, int]:
    """Write the set with all drawings and return how many images each split has.

    A drawing whose bytes are there already is left out: two packages may hold the same picture.

    Raises:
        ConfigError: the place is taken.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already. Choose another --out, or remove it.")
    rows: list[tuple[str, str]] = []
    seen: set[bytes] = set()
    with atomic_path(out.resolve()) as folder, Progress("Drawing", None, "images") as progress:
        for image, text, png in drawn(source, archives, size):
            if png in seen:
                continue
            seen.add(png)
            (folder / image).parent.mkdir(parents=True, exist_ok=True)
            (folder / image).write_bytes(png)
            rows.append((image, text))
            progress.advance()
        with (folder / "descriptions.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("image", "text"), *sorted(rows)])
        meta = json.loads((source / "meta.json").read_text(encoding="utf-8"))
        meta |= {"made_by": "benchmarks/emoji/drawings.py", "archives": [path.name for path in archives.values()]}
        meta["settings"] |= {"size": size}
        counts = {f"num_{split}": sum(image.startswith(split) for image, _ in rows) for split in ("train", "val")}
        (folder / "meta.json").write_text(json.dumps(meta | counts, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return counts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("set", type=Path, help="what prepare.py made")
    parser.add_argument("--archives", type=Path, nargs="+", required=True, metavar="TGZ", help="from `npm pack`")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to make")
    parser.add_argument("--size", type=int, default=64, help="width and height in pixels (default: %(default)s)")
    given = parser.parse_args(arguments)
    try:
        counts = write(given.set, {archive_name(path): path for path in given.archives}, given.size, given.out)
    except SightwordsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{given.out}: {counts['num_train']} train and {counts['num_val']} val images")
    return 0


if __name__ == "__main__":
    sys.exit(main())
