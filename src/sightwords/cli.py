"""The command line: options become a configuration, the stage runs, its result is told.

Configurations import nothing heavy, so `--help` answers at once; a stage is imported when its command runs.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Protocol

from cyclopts import App, Parameter
from cyclopts.config import Yaml

import sightwords
from sightwords.errors import SightwordsError
from sightwords.stages.compare.config import CompareConfig
from sightwords.stages.demo.config import DemoConfig
from sightwords.stages.describe.config import DescribeConfig
from sightwords.stages.embed.config import EmbedConfig
from sightwords.stages.evaluate.config import EvaluateConfig
from sightwords.stages.export.config import ExportConfig
from sightwords.stages.importing.config import ImportConfig
from sightwords.stages.merge.config import MergeConfig
from sightwords.stages.train.config import TrainConfig

app = App(
    name="sightwords",
    help="Teach a vision network with words; deploy it without them.",
    version=sightwords.__version__,
    help_format="plaintext",
    help_epilogue="The usual order: describe (or import), embed, train, evaluate, export. Try it now: sightwords demo",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `main` says what Ctrl-C means
)


class Result(Protocol):
    """What every stage returns."""

    def summary(self) -> str:
        """Return what was done and written."""

    @property
    def next_command(self) -> str:
        """Return what to run next, empty where nothing follows."""


@app.command
def describe(config: DescribeConfig) -> Result:
    """Let a multimodal model describe every image."""
    return sightwords.describe(config)


@app.command(name="import")
def import_(config: ImportConfig) -> Result:
    """Take over descriptions that exist already: CSV, JSONL, Parquet, or a published torch list."""
    return sightwords.import_descriptions(config)


@app.command
def merge(config: MergeConfig) -> Result:
    """Bring description sets together, also damaged ones."""
    return sightwords.merge(config)


@app.command
def embed(config: EmbedConfig) -> Result:
    """Turn descriptions into text vectors."""
    return sightwords.embed(config)


@app.command
def train(config: TrainConfig) -> Result:
    """Train a plain network, taught by text (--embeddings) or not (the baseline)."""
    return sightwords.train(config)


@app.command
def evaluate(config: EvaluateConfig) -> Result:
    """Measure a trained network on validation images."""
    return sightwords.evaluate(config)


@app.command
def compare(config: CompareConfig) -> Result:
    """Prove what the text gains: arms x networks x seeds, with controls, intervals and a report."""
    return sightwords.compare(config)


@app.command
def export(config: ExportConfig) -> Result:
    """Write the plain network for the stock library."""
    return sightwords.export(config)


@app.command
def demo(config: DemoConfig | None = None) -> Result:
    """Run the whole pipeline, offline, on drawn birds."""
    return sightwords.demo(config or DemoConfig())


app.meta.suppress_keyboard_interrupt = False


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="YAML file with options of the command; flags go before it.")] = None,
) -> None:
    if config is not None:
        app.config = Yaml(config, must_exist=True, use_commands_as_keys=False)
    result = app(tokens)
    if result is not None and int(os.environ.get("RANK", 0)) == 0:
        _tell(result)


def _tell(result: Result) -> None:
    print(result.summary())
    if result.next_command:
        print(f"Next: {result.next_command}")


def main() -> None:
    """Run the command line; errors of ours are told in one message, without a traceback."""
    # before torch is loaded: threads that spin while they wait take the cores away from the loader's processes
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app.meta()
    except SightwordsError as error:
        print(f"sightwords: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(
            "sightwords: interrupted; the same command goes on where it stopped (train: with --resume).",
            file=sys.stderr,
        )
        sys.exit(130)
