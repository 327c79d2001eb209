"""Tables of descriptions in all their kinds, and the ways in which they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sightwords.descriptions.config import ImportConfig
from sightwords.descriptions.import_readers import read_table
from sightwords.errors import DataError
from sightwords.images.keys import image_key


def _read(path: Path, **options: str):
    return read_table(ImportConfig(path, images="unused", out=Path("D.db"), **options))


def _pairs(path: Path, **options: str) -> list[tuple[str, str]]:
    return [(row.reference, row.text) for row in _read(path, **options).rows]


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
    found = _read(_write(tmp_path / "s.jsonl", lines))
    assert [(row.reference, row.text) for row in found.rows] == [("a.png", "one"), ("a.png", "two"), ("b.png", "three")]
    assert found.num_empty == 1
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "s.parquet")
    assert [row.text for row in _read(tmp_path / "s.parquet").rows] == ["one", "two", "three"]


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


def test_empty_texts_are_counted_and_spaces_dropped(tmp_path):
    found = _read(_write(tmp_path / "s.csv", "image,text\na.png,  red \nb.png,\nc.png,   \nd.png\n"))
    assert [(row.reference, row.text) for row in found.rows] == [("a.png", "red")]
    assert found.num_empty == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.csv", "image,text\na.png,red, round\n", "Line 2 .* more cells than the header"),
        ("s.csv", 'image,text\na.png,"red\n', "not a readable .csv"),
        ("s.csv", b"image,text\na.png,\xff\xfe\n", "not a readable .csv"),
        ("s.csv", "", "none of the columns"),
        ("s.csv", "picture,text\na,b\n", "none of the columns key, image.*--source-column: picture, text"),
        ("s.csv", "image,words\na,b\n", "none of the columns text.*--text-column: image, words"),
        ("s.jsonl", '{"image": "a", "text": "b"}\n{"image":\n', "Line 2 .* not valid JSON"),
        ("s.jsonl", '{"image": "a", "text": "\\ud800"}\n', "Line 1 .* not valid JSON"),
        ("s.jsonl", '["a"]\n', "Line 1 .* not a JSON object"),
        ("s.jsonl", '{"image": "a", "text": 3}\n', "Line 1 .* has 3 where a text"),
        ("s.jsonl", '{"image": ["a"], "text": "b"}\n', "Line 1 .* names its image by"),
        ("s.parquet", b"PAR1 nonsense", "not a readable Parquet"),
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


EXPORTED = {"key": "k", "prompt": "p", "describer": "d", "sample": 0, "text": "t", "status": "ok"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"status": "fine"}, "status 'fine'"),
        ({"sample": None}, "sample ''"),
        ({"sample": -1}, "sample is -1"),
        ({"sample": 1.5}, "sample is 1.5"),
        ({"sample": 2**40}, "sample is"),
        ({"sample": "one"}, "could not convert"),
        ({"parameters": "{"}, "not a row of an exported"),
        ({"parameters": "[1]"}, "not a JSON object"),
    ],
)
def test_damaged_exports_are_refused(tmp_path, change, message):
    path = _write(tmp_path / "s.jsonl", json.dumps(EXPORTED) + "\n" + json.dumps({**EXPORTED, **change}) + "\n")
    with pytest.raises(DataError, match=f"Line 2.*{message}"):
        _read(path)


def test_an_export_may_be_read_as_a_plain_table(tmp_path):
    path = _write(tmp_path / "s.jsonl", json.dumps(EXPORTED) + "\n")
    found = _read(path, text_column="text")
    assert (found.prompts[0].name, found.describers[0].identifier) == ("imported", "import:s.jsonl")
    assert _read(path).prompts[0].name == "p"
