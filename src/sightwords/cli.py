"""The command line: options become a configuration, the stage runs, its result is told.

`--help` must answer at once: a command's configuration is imported when that command is called, its stage when it runs.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated, Any, NamedTuple, Protocol

from cyclopts import App, Parameter

import sightwords
from sightwords.errors import SightwordsError

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


class Command(NamedTuple):
    """A command: names in `sightwords` of its function and of its configuration, and what it does."""

    function: str
    config: str
    help: str
    needs_options: bool = True
    interruptible: bool = False  # takes `stopping`, which the first Ctrl-C makes true


COMMANDS = {
    "describe": Command(
        "describe", "DescribeConfig", "Let a multimodal model describe every image.", interruptible=True
    ),
    "import": Command(
        "import_descriptions",
        "ImportConfig",
        "Take over descriptions that exist already: CSV, JSONL, Parquet, or a published torch list.",
    ),
    "merge": Command("merge", "MergeConfig", "Bring description sets together, also damaged ones."),
    "embed": Command("embed", "EmbedConfig", "Turn descriptions into text vectors."),
    "train": Command(
        "train", "TrainConfig", "Train a plain network, taught by text (--embeddings) or not (the baseline)."
    ),
    "evaluate": Command("evaluate", "EvaluateConfig", "Measure a trained network on validation images."),
    "compare": Command(
        "compare",
        "CompareConfig",
        "Prove what the text gains: arms x networks x seeds, with controls, intervals and a report.",
    ),
    "search": Command("search", "SearchConfig", "Rank images by a sentence, with an aligned run."),
    "explain": Command(
        "explain", "ExplainConfig", "Show predictions for images, and the training descriptions nearest to them."
    ),
    "audit": Command("audit", "AuditConfig", "Find the images whose description contradicts their label."),
    "export": Command(
        "export", "ExportConfig", "Write the plain network for others: timm, torchvision, ONNX, torch.export, the hub."
    ),
    "predict": Command("predict", "PredictConfig", "Let a run's network or an exported one name what images show."),
    "browse": Command(
        "browse", "BrowseConfig", "Look at descriptions in the browser: search, edit, reject, ask again."
    ),
    "demo": Command("demo", "DemoConfig", "Run the whole pipeline, offline, on photographs.", needs_options=False),
}
for _name, _command in COMMANDS.items():
    app.command(f"{__name__}:{_name}", name=_name, help=_command.help)  # imported when it is called for


def __getattr__(name: str) -> Callable[..., Result]:
    """Return the function behind a command; the library that parses the command line asks for it by name."""
    if name not in COMMANDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    command = COMMANDS[name]
    kind = getattr(sightwords, command.config)

    def run(config: Any = None) -> Result:
        stage: Callable[..., Result] = getattr(sightwords, command.function)
        if not command.interruptible:
            return stage(config or kind())
        with Interruption(config.grace_s, show=int(os.environ.get("RANK", 0)) == 0) as interruption:
            return stage(config, interruption.requested)

    if command.needs_options:
        run.__defaults__ = None
    run.__annotations__["config"] = kind if command.needs_options else kind | None
    return run


class Interruption:
    """In its `with` block a first Ctrl-C or SIGTERM only sets `requested`; a second one raises KeyboardInterrupt.

    The end of the grace period counts as the second one. Before `requested` is first asked, one signal is enough.

    Args:
        grace_s: time that answers in flight get, in seconds.
        show: whether to say on stderr what happens.
    """

    def __init__(self, grace_s: float, show: bool = True) -> None:
        self.grace_s, self.show = grace_s, show
        self._requested = self._asked = False
        self._before: dict[signal.Signals, Any] = {}
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Interruption:
        for number in (signal.SIGINT, signal.SIGTERM):  # schedulers of clusters send the second
            self._before[number] = signal.signal(number, self._arrived)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def requested(self) -> bool:
        """Return whether the run is to stop."""
        self._asked = True
        return self._requested

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        if self._requested or not self._asked:
            raise KeyboardInterrupt
        self._requested = True
        # a real signal, which also ends a wait of the main thread
        self._timer = threading.Timer(self.grace_s, signal.pthread_kill, (threading.get_ident(), signal.SIGINT))
        self._timer.daemon = True
        self._timer.start()
        if self.show:
            text = f"\nStopping: up to {self.grace_s:g} s for the answers in flight. Ctrl-C again stops at once.\n"
            os.write(2, text.encode())  # print may have been interrupted itself, and must not be entered twice


app.meta.suppress_keyboard_interrupt = False


@app.meta.default
def _launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="YAML file with options of the command; flags go before it.")] = None,
) -> None:
    if config is not None:
        from cyclopts.config import Yaml

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
