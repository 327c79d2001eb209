"""A contact sheet: images, each with what was written about it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from sightwords.files import atomic_path

PICTURE, TEXT_WIDTH, MARGIN, COLUMNS = 144, 300, 16, 3
INK, FAINT, PAPER = (32, 32, 36), (110, 110, 118), (250, 248, 244)


def write_sheet(path: Path, entries: Sequence[tuple[Path, str, str]], title: str) -> None:
    """Write a PNG with a row of picture, heading and text for each entry.

    Args:
        path: where.
        entries: (image file, heading, text).
        title: line at the top.
    """
    cell_width, cell_height = PICTURE + TEXT_WIDTH + 2 * MARGIN, PICTURE + MARGIN
    num_rows = -(-len(entries) // COLUMNS)
    width, height = COLUMNS * cell_width + MARGIN, num_rows * cell_height + 4 * MARGIN
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), title, INK, ImageFont.load_default(20))
    for i, entry in enumerate(entries):
        row, column = divmod(i, COLUMNS)
        _cell(sheet, draw, MARGIN + column * cell_width, 3.5 * MARGIN + row * cell_height, entry)
    with atomic_path(path) as temporary:
        sheet.save(temporary, "PNG")


def _cell(sheet: Image.Image, draw: ImageDraw.ImageDraw, left: float, top: float, entry: tuple[Path, str, str]) -> None:
    file, heading, text = entry
    with Image.open(file) as image:
        sheet.paste(image.convert("RGB").resize((PICTURE, PICTURE), Image.Resampling.LANCZOS), (int(left), int(top)))
    left += PICTURE + MARGIN * 0.75
    draw.text((left, top), heading, INK, ImageFont.load_default(15))
    lines = textwrap.wrap(text, 46)[:8]
    draw.multiline_text((left, top + 22), "\n".join(lines), FAINT, ImageFont.load_default(12), spacing=3)
