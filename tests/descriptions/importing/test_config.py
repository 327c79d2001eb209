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


def test_a_command_line_and_a_recipe_give_the_options(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("source: folder/S.csv\nimages: DIR\nout: D.db\nsplit: val\nlimit: 7\n")
    app = App(result_action="return_value", config=(Yaml(recipe, must_exist=True, use_commands_as_keys=False),))

    @app.command(name="import")
    def command(config: ImportConfig) -> ImportConfig:
        return config

    def parse(arguments: str) -> ImportConfig:
        return app(["import", *arguments.split()], exit_on_error=False, print_error=False)

    assert parse("") == ImportConfig("folder/S.csv", images="DIR", out="D.db", split="val", limit=7)
    assert (parse("").prompt, parse("").describer_name) == ("imported", "import:S.csv")
    config = parse("T.csv --train X --classes C --source-column c --text-column t --split train")
    assert (config.source, config.train, config.classes, config.split) == (Path("T.csv"), "X", Path("C"), "train")
    assert (config.source_column, config.text_column) == ("c", "t")


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


def test_configurations_import_nothing_heavy():
    packages = "browsing comparison demonstration descriptions evaluation exporting images labels text training"
    names = ", ".join(f"sightwords.{package}.config" for package in packages.split())
    heavy = "{'torch', 'numpy', 'PIL', 'pyarrow', 'transformers'}"
    code = f"import sys, {names}; sys.exit(repr({heavy} & sys.modules.keys() or ''))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stderr.strip() in ("", "''")
