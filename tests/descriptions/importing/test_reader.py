"""Tables of descriptions in all their kinds, and the ways in which they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sightwords.descriptions.config import ImportConfig
from sightwords.descriptions.import_readers import read_source
from sightwords.errors import DataError
from sightwords.images.keys import image_key


def _pairs(path: Path, content: str | bytes | list[dict] | None = None, **options: str) -> list[tuple[str, str]]:
    """Write a table, and return its rows as they are read."""
    if path.suffix == ".parquet" and isinstance(content, list):
        pq.write_table(pa.Table.from_pylist(content), path)
    elif isinstance(content, list):
        path.write_text("\n\n".join(map(json.dumps, content)) + "\n")
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [tuple(row) for row in read_source(ImportConfig(path, images="unused", out=Path("D.db"), **options))]


WANTED = [("a.png", 'red, "bright"\nand round'), ("b.png", "blue ünd 青")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.csv", '\ufeffImage,Caption\r\na.png,"red, ""bright""\nand round"\r\nb.png,blue ünd 青\r\n'),
        ("s.TSV", 'text\tpath\n"red, ""bright""\nand round"\ta.png\nblue ünd 青\tb.png\n'),
        ("s.jsonl", [{"image": name, "description": text} for name, text in WANTED]),
        ("s.parquet", [{"file_name": name, "text": text} for name, text in WANTED]),
    ],
)
def test_every_kind_of_table_is_read(tmp_path, name, content):
    assert _pairs(tmp_path / name, content) == WANTED


@pytest.mark.parametrize("name", ["s.jsonl", "s.parquet"])
def test_several_texts_of_an_image(tmp_path, name):
    rows = [{"image": "a.png", "captions": ["one", "", "two"]}, {"image": "b.png", "captions": ["three"]}]
    assert _pairs(tmp_path / name, rows) == [("a.png", "one"), ("a.png", ""), ("a.png", "two"), ("b.png", "three")]


def test_image_bytes_name_the_image_by_their_key(tmp_path):
    rows = [
        {"image": {"bytes": b"pixels", "path": "x.png"}, "text": "a"},
        {"image": {"bytes": None, "path": "y.png"}, "text": "b"},
    ]
    assert _pairs(tmp_path / "s.parquet", rows) == [(image_key(b"pixels"), "a"), ("y.png", "b")]


def test_columns_can_be_named_and_are_preferred_in_order(tmp_path):
    path = tmp_path / "s.csv"
    assert _pairs(path, "name,key,caption,text,other,where\nn,k,c,t,o,w\n") == [("k", "t")]
    assert _pairs(path, text_column="other", source_column="where") == [("w", "o")]
    with pytest.raises(DataError, match=r"no column 'x' \(--text-column\)"):
        _pairs(path, text_column="x")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.csv", "image,text\na.png,red, round\n", "Expected 2 columns, got 3"),
        ("s.csv", b"image,text\na.png,\xff\xfe\n", "not a readable .csv"),
        ("s.csv", "", "not a readable .csv"),
        ("s.csv", "picture,text\na,b\n", "key, image.*--source-column: picture, text"),
        ("s.csv", "image,words\na,b\n", "text.*--text-column: image, words"),
        ("s.jsonl", '{"image": "a", "text": "b"}\n{"image":\n', "not a readable .jsonl"),
        ("s.jsonl", '{"image": "a", "text": "\\ud800"}\n', "not a readable .jsonl"),
        ("s.jsonl", '["a"]\n', "not a readable .jsonl"),
        ("s.jsonl", '{"image": "a", "text": 3}\n', "has 3 where a text"),
        ("s.jsonl", '{"image": ["a"], "text": "b"}\n', "names an image by"),
        ("s.parquet", b"PAR1 nonsense", "not a readable .parquet"),
        ("s.docx", "x", "Allowed: .csv"),
        ("none.csv", None, "There is no file"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        _pairs(tmp_path / name, content)
