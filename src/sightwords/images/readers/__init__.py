"""Readers of the layouts that data sets come in; each lists images as `Listing` and reads no pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from sightwords.errors import DataError
from sightwords.images.readers.folder import list_folder
from sightwords.images.readers.listing import SPLIT_NAMES, Listing, Row, expand_pattern, split_of_name
from sightwords.images.readers.shard import list_shards
from sightwords.images.readers.table import list_table

__all__ = ["Listing", "list_source"]

Reader = Callable[[Path, str], dict[str, list[Row]]]  # file and its split -> rows by split
TABLE_SUFFIXES = {".csv", ".tsv", ".parquet"}


def list_source(
    source: str, split: str | None, image_column: str | None = None, label_column: str | None = None
) -> dict[str, Listing]:
    """List the images of a source by split.

    Args:
        source: folder, table, or pattern of tables or shards.
        split: the split that all of the source belongs to, or None where the source names its own splits.
        image_column: column of the image in a table; None finds it.
        label_column: column of the label in a table; None finds it.

    Returns:
        Split name ("train", "val") to the images in it.

    Raises:
        DataError: the source does not exist or is of no known layout.
    """
    files = _files(source)
    suffixes = {file.suffix.lower() for file in files}
    if suffixes <= {".tar"} and files:
        return _by_split(files, split, lambda file, own: {own: list_shards([file])})
    if suffixes <= TABLE_SUFFIXES and files:
        return _by_split(files, split, lambda file, own: list_table(file, own, image_column, label_column))
    if Path(source).is_dir():
        return list_folder(Path(source), split)
    raise DataError(f"{source} is of no known layout. Allowed: {_LAYOUTS}")


_LAYOUTS = (
    "a folder with train/CLASS/*.jpg and val/CLASS/*.jpg, a table (.csv, .tsv, .parquet), a folder of Parquet "
    "files, or tar shards."
)


def _files(source: str) -> list[Path]:
    """Return the table or shard files that a source names, or none where it is a folder of images."""
    path = Path(source)
    if path.is_dir():
        for suffix in ("*.tar", "*.parquet"):
            files = sorted(path.glob(suffix)) or sorted(path.glob(f"*/{suffix}"))
            if files:
                return files
        return []
    if path.is_file():
        return [path]
    files = expand_pattern(source)
    if not files:
        raise DataError(f"{source} does not exist. Allowed: {_LAYOUTS}")
    return files


def _by_split(files: Iterable[Path], split: str | None, read: Reader) -> dict[str, Listing]:
    rows: dict[str, list[Row]] = {}
    for file in files:
        for name, found in read(file, split or split_of_name(file)).items():
            rows.setdefault(name, []).extend(found)
    listed = {name: Listing.of(own) for name, own in rows.items()}
    unknown = sorted(set(listed) - set(SPLIT_NAMES.values()))
    if unknown:
        raise DataError(f"Unknown split {unknown[0]!r}. Allowed: {', '.join(sorted(SPLIT_NAMES))}.")
    if "val" not in listed and "test" in listed and "train" in listed:
        listed["val"] = listed["test"]  # CIFAR and others are published with train and test only
    return listed
