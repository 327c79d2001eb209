"""The options of the import, as a command line, a recipe and a Python call give them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cyclopts import App
from cyclopts.config import Yaml

from sightwords.descriptions.config import ImportConfig
from sightwords.errors import ConfigError


def _parse(arguments: list[str], recipe: Path | None = None) -> ImportConfig:
    app = App(result_action="return_value")
    if recipe is not None:
        app.config = (Yaml(recipe, must_exist=True, use_commands_as_keys=False),)

    @app.command(name="import")
    def command(config: ImportConfig) -> ImportConfig:
        return config

    return app(["import", *arguments], exit_on_error=False, print_error=False)


def test_source_is_positional_and_images_a_flag():
    given = "S.csv --images DIR --out D.db --train X --classes C --source-column c --text-column t --split train"
    config = _parse(given.split())
    assert (config.source, config.images, config.out) == (Path("S.csv"), "DIR", Path("D.db"))
    assert (config.train, config.classes, config.source_column, config.text_column) == ("X", Path("C"), "c", "t")
    assert config.split == "train"


def test_defaults():
    config = _parse(["folder/S.csv", "--images", "DIR", "--out", "D.db"])
    assert (config.split, config.prompt, config.describer_name) == ("all", "imported", "import:S.csv")


def test_recipe_gives_the_same_options(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("source: S.csv\nimages: DIR\nout: D.db\nsplit: val\nlimit: 7\n")
    config = _parse([], recipe)
    assert config == ImportConfig(Path("S.csv"), images="DIR", out=Path("D.db"), split="val", limit=7)
    assert _parse(["T.csv", "--limit", "3"], recipe).source == Path("T.csv")


def test_strings_become_paths():
    config = ImportConfig("S.csv", images="DIR", out="D.db")  # type: ignore[arg-type]
    assert isinstance(config.source, Path)
    assert isinstance(config.out, Path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "--images"),
        ({"train": "T", "split": "val"}, "--split val"),
        ({"images": "I", "limit": 0}, "--limit is 0"),
        ({"images": "I", "prompt": " "}, "--prompt is empty"),
        ({"images": "I", "describer": ""}, "--describer is empty"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ImportConfig(Path("S.csv"), out=Path("D.db"), **options)


CONFIGURED = (
    *("browsing", "comparison", "demonstration", "descriptions", "evaluation"),
    *("exporting", "images", "labels", "text", "training"),
)


@pytest.mark.parametrize("package", CONFIGURED)
def test_configurations_import_nothing_heavy(package):
    heavy = "{'torch', 'numpy', 'PIL', 'pyarrow', 'transformers'}"
    code = f"import sys, sightwords.{package}.config; sys.exit(repr({heavy} & sys.modules.keys() or ''))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stderr.strip() in ("", "''")
