"""The command line: options become a configuration, the command's function runs, its result is printed.

`--help` must answer at once: a command's configuration is imported when the command is called, its function when it
runs. `--help` leaves out the group "Advanced", `--help-all` shows every option.
"""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from types import FrameType, TracebackType
from typing import Annotated, Any, Protocol

from cyclopts import App, Parameter
from cyclopts.help import DefaultFormatter, HelpPanel, InlineText
from rich.console import Console, ConsoleOptions
from rich.text import Text

import sightwords
from sightwords.errors import SightwordsError

HELP_ALL = "--help-all"
ADVANCED = "Advanced"  # title of the group that `--help` leaves out


def _print_panel(console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
    """Print a group of options; the library calls this for each of them."""
    if panel.title == ADVANCED and HELP_ALL not in sys.argv:
        console.print(f"{HELP_ALL} shows {len(panel.entries)} more options.")
    else:
        for entry in panel.entries:  # a docstring of several lines is one paragraph
            text = entry.description.primary_renderable if isinstance(entry.description, InlineText) else None
            if isinstance(text, Text):
                entry.description.primary_renderable = Text(" ".join(text.plain.split()))
        DefaultFormatter()(console, options, panel)


app = App(
    name="sightwords",
    help="Teach a vision network with words; deploy it without them.",
    version=sightwords.__version__,
    help_flags=["--help", "-h", HELP_ALL],
    help_format="plaintext",
    help_formatter=_print_panel,
    help_epilogue="The usual order: describe (or import), embed, train, evaluate, export. Try it now: sightwords demo",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `main` says what Ctrl-C means
)


class Result(Protocol):
    """What the function of every command returns."""

    def summary(self) -> str:
        """Return what was done and written."""

    @property
    def next_command(self) -> str:
        """Return what to run next, empty where nothing follows."""


COMMANDS = {
    "describe": "Describe every image with a multimodal model.",
    "import": "Import existing descriptions: CSV, JSONL, Parquet, or a published torch list.",
    "merge": "Merge description sets, even damaged ones.",
    "embed": "Turn descriptions into text vectors.",
    "label": "Label images by their descriptions and the names of the classes.",
    "train": "Train a plain network, taught by text (--embeddings) or not (the baseline).",
    "evaluate": "Measure a trained network on the validation images.",
    "compare": "Measure what the text gains: arms x networks x seeds, with controls, intervals and a report.",
    "search": "Rank images by how well they fit a sentence, with an aligned run.",
    "explain": "Show what a run predicts for images, and the training descriptions nearest to them.",
    "audit": "Find images whose description contradicts their label.",
    "export": "Export the plain network: timm, torchvision, ONNX, torch.export, the hub.",
    "predict": "Predict the classes of images with a run or an exported network.",
    "browse": "Browse descriptions: search, edit, reject, ask again.",
    "demo": "Run the whole pipeline, offline, on photographs.",
}
"""The help of each command NAME, which is `sightwords.NAME` and takes a `sightwords.NameConfig`."""
FUNCTIONS = {"import": "import_descriptions"}  # those of another name
for _name, _help in COMMANDS.items():
    app.command(f"{__name__}:{_name}", name=_name, help=_help)  # imported when it is called


def __getattr__(name: str) -> Callable[..., Result]:
    """Return the function of a command; cyclopts asks for it by name."""
    if name not in COMMANDS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    kind = getattr(sightwords, f"{name.title()}Config")

    def run(config: Any = None) -> Result:
        function: Callable[..., Result] = getattr(sightwords, FUNCTIONS.get(name, name))
        if "stopping" not in inspect.signature(function).parameters:
            return function(config or kind())
        with Interruption(config.grace_s, show=int(os.environ.get("RANK", 0)) == 0) as interruption:
            return function(config, interruption.requested)

    if any(option.default is option.default_factory is MISSING for option in fields(kind)):
        run.__defaults__, run.__annotations__["config"] = None, kind
    else:
        run.__annotations__["config"] = kind | None
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
    config: Annotated[Path | None, Parameter(help="YAML file with options of the command; flags override it.")] = None,
) -> None:
    if config is not None:
        from cyclopts.config import Yaml

        app.config = Yaml(config, must_exist=True, use_commands_as_keys=False)
    result = app(tokens)
    if result is not None and int(os.environ.get("RANK", 0)) == 0:
        print(result.summary())
        if result.next_command:
            print(f"Next: {result.next_command}")


def main() -> None:
    """Run the command line; our own errors are printed as one message, without a traceback."""
    # before torch is loaded: threads that spin while they wait take the cores away from the loader's processes
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        app.meta(sys.argv[1:])
    except SightwordsError as error:
        print(f"sightwords: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(
            "sightwords: interrupted. Run the same command to continue (train: with --resume).",
            file=sys.stderr,
        )
        sys.exit(130)
