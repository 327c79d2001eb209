"""Write docs/reference/ from the code: `python scripts/write_reference.py`. A test holds the pages to it."""

from __future__ import annotations

from pathlib import Path

import sightwords
from sightwords import align
from sightwords.cli import app

FOLDER = Path(__file__).parents[1] / "docs" / "reference"


def commands() -> str:
    """Return the page of all commands with all options."""
    text = app.generate_docs(output_format="markdown", include_hidden=False)
    return text.replace("# sightwords\n", "# Commands\n", 1).rstrip() + "\n"


def python() -> str:
    """Return the page of the public names, whose docstrings are filled in when the site is built."""
    lines = ["# Python", "", (sightwords.__doc__ or "").split("\n\n")[0], ""]
    names = [name for name in sightwords.__all__ if name not in ("__version__", "align")]
    lines += [f"::: sightwords.{name}\n" for name in names]
    lines += ["# sightwords.align", "", (align.__doc__ or "").strip(), ""]
    lines += [f"::: sightwords.align.{name}\n" for name in align.__all__]
    return "\n".join(lines).rstrip() + "\n"


PAGES = {"commands.md": commands, "python.md": python}


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
