"""Run the benchmarks and write what they print into docs/benchmarks.md, with the machine named: `make bench`.

    python benchmarks/bench.py                  # all, about half an hour on two cores
    python benchmarks/bench.py loader training  # only these; the other sections stay

The part between the two markers of the page is written anew; dated records of other machines below it stay.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import re
import shlex
import subprocess
import sys
from pathlib import Path

from pairs import machine

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench wrote -->"
SETS: dict[str, list[str]] = {
    "align_step": ["--steps 8"],
    "loader": ["--image-size 224 64 --images 256 --repeats 5"],
    "training": ["--model resnet18 --images 256 --repeats 3", "--model test_resnet --images 512 --repeats 5"],
    "evaluation": ["--image-size 224 --repeats 5", "--image-size 64 --repeats 5"],
    "text_memory": [""],
    "start": [""],
    "embed": ["--texts 1500 --repeats 1"],
    "describe_server": ["--requests 4000 --repeats 3"],
    "describe_local": ["--images 32 --max-new-tokens 24 --repeats 3"],
    "align_memory": ["--rows 16384 --dimension 256 --losses plain clip sigmoid relational"],
    "index": ["--files 1300000 --classes 1000"],
    "growth": [""],
    "search": ["--repeats 3"],
    "browse": [""],
}


def section(name: str) -> str:
    """Run one benchmark with each of its sets of options; return its section in Markdown.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    file = HERE / f"{name}.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or name
    question, _, rest = text.partition("\n")
    parts = [f"## {question}", re.sub(r"^ {4}python .*\n+", "", rest, flags=re.M).strip()]
    for options in SETS[name]:
        command = [sys.executable, str(file), *shlex.split(options)]
        print(f"$ python benchmarks/{name}.py {options}", flush=True)
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        print(done.stdout, flush=True)
        parts += [f"`python benchmarks/{name}.py {options}`".replace(" `", "`"), _shown(done.stdout)]
    return "\n\n".join(parts)


def _shown(printed: str) -> str:
    """Return what a benchmark printed: Markdown tables as they are, everything else as code."""
    blocks = re.split(r"\n{2,}", printed.strip())
    return "\n\n".join(block if block.lstrip().startswith("|") else f"```\n{block}\n```" for block in blocks)


def merge(page: str, sections: dict[str, str], head: str) -> str:
    """Return the page with these sections written anew, by their titles, and all else as it was.

    Args:
        page: the page so far.
        sections: by name.
        head: what stands on top of them: date and machine.
    """
    before, _, rest = page.partition(BEGIN)
    within, _, after = rest.partition(END)
    kept = {part.splitlines()[0]: part.strip() for part in re.split(r"^(?=## )", within, flags=re.M)[1:]}
    kept.update({text.splitlines()[0]: f"{text.strip()}\n\n{head}" for text in sections.values()})
    body = "\n\n".join(kept.values())
    return f"{before.rstrip()}\n\n{BEGIN}\n\n{body}\n\n{END}\n\n{after.lstrip()}"


def main() -> None:
    """Run what is asked for and write the page after each, so that nothing measured is lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SETS)}; all without")
    names = parser.parse_args().names or list(SETS)
    if unknown := set(names) - set(SETS):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}; there are {', '.join(SETS)}")
    failed = []
    for name in names:
        head = f"*{datetime.date.today()}, {machine()}.*"
        try:
            written = merge(PAGE.read_text(encoding="utf-8"), {name: section(name)}, head)
        except subprocess.CalledProcessError:
            failed.append(name)
            continue
        PAGE.write_text(written, encoding="utf-8")
    if failed:
        sys.exit(f"These failed, and their sections are as before: {', '.join(failed)}")


if __name__ == "__main__":
    main()
