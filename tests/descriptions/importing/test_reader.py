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


def _read(path: Path, **options: str):
    return read_source(ImportConfig(path, images="unused", out=Path("D.db"), **options))


def _pairs(path: Path, **options: str) -> list[tuple[str, str]]:
    return [tuple(row) for row in _read(path, **options)]


def _write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


WANTED = [("a.png", 'red, "bright"\nand round'), ("b.png", "blue ünd 青")]


def test_csv_with_quotes_lines_and_a_byte_order_mark(tmp_path):
    content = '\ufeffImage,Caption\r\na.png,"red, ""bright""\nand round"\r\nb.png,blue ünd 青\r\n'
    assert _pairs(_write(tmp_path / "s.csv", content)) == WANTED


def test_tsv(tmp_path):
    content = 'text\tpath\n"red, ""bright""\nand round"\ta.png\nblue ünd 青\tb.png\n'
    assert _pairs(_write(tmp_path / "s.TSV", content)) == WANTED


def test_jsonl(tmp_path):
    lines = [json.dumps({"image": name, "description": text}) for name, text in WANTED]
    assert _pairs(_write(tmp_path / "s.jsonl", "\n\n".join(lines) + "\n")) == WANTED


def test_parquet(tmp_path):
    pq.write_table(
        pa.table({"file_name": ["a.png", "b.png"], "text": [text for _, text in WANTED]}), tmp_path / "s.parquet"
    )
    assert _pairs(tmp_path / "s.parquet") == WANTED


def test_several_texts_of_an_image(tmp_path):
    rows = [{"image": "a.png", "captions": ["one", "", "two"]}, {"image": "b.png", "captions": ["three"]}]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "s.parquet")
    for path in (_write(tmp_path / "s.jsonl", lines), tmp_path / "s.parquet"):
        assert _pairs(path) == [("a.png", "one"), ("a.png", ""), ("a.png", "two"), ("b.png", "three")]


def test_image_bytes_name_the_image_by_their_key(tmp_path):
    rows = [
        {"image": {"bytes": b"pixels", "path": "x.png"}, "text": "a"},
        {"image": {"bytes": None, "path": "y.png"}, "text": "b"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "s.parquet")
    assert _pairs(tmp_path / "s.parquet") == [(image_key(b"pixels"), "a"), ("y.png", "b")]


def test_columns_can_be_named_and_are_preferred_in_order(tmp_path):
    path = _write(tmp_path / "s.csv", "name,key,caption,text,other,where\nn,k,c,t,o,w\n")
    assert _pairs(path) == [("k", "t")]
    assert _pairs(path, text_column="other", source_column="where") == [("w", "o")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.csv", "image,text\na.png,red, round\n", "Expected 2 columns, got 3"),
        ("s.csv", "image,text\na.png,red\nb.png\n", "Expected 2 columns, got 1"),
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
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, name, content, message):
    with pytest.raises(DataError, match=message):
        _read(_write(tmp_path / name, content))


def test_a_missing_file_and_a_wrong_column(tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        _read(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"no column 'x' \(--text-column\)"):
        _read(_write(tmp_path / "s.csv", "image,text\na,b\n"), text_column="x")
