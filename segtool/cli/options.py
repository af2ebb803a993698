"""Arguments and small helpers that several commands share."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segtool.errors import printable

if TYPE_CHECKING:
    from segtool.train.stages.piecewise import PiecewiseTrainer

model_argument = click.argument("model", type=click.Path(path_type=Path))
backend_option = click.option(
    "--backend",
    type=click.Choice(["auto", "tensorrt", "cuda", "cpu"]),
    default="auto",
    show_default=True,
    help="What runs an exported MODEL.",
)
data_option = click.option(
    "--data",
    required=True,
    metavar="SPEC",
    help="Dataset as name:path, such as camvid:data/camvid or synthetic.",
)
_REPLICA_OPTIONS = (
    click.option(
        "--replicas", default=1, show_default=True, type=click.IntRange(1), help="Copies of each model, in Ray."
    ),
    click.option(
        "--cpus",
        type=click.FloatRange(0, min_open=True),
        help="CPU cores for each copy.  [default: this machine's share, or 1]",
    ),
    click.option("--gpus", default=0.0, show_default=True, type=click.FloatRange(0), help="GPUs for each copy."),
)


def replica_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How many copies of a model Ray runs, and what each gets."""
    for option in reversed(_REPLICA_OPTIONS):
        command = option(command)
    return command


def share_of_cores(replicas: int, address: str | None) -> int:
    """Cores for each replica when the user does not say: an equal share here; one on a cluster, which others use."""
    here = address in (None, "local")
    return max(1, (os.cpu_count() or 1) // replicas) if here else 1


auth_option = click.option(
    "--auth",
    metavar="USER:PASSWORD",
    envvar="SEGTOOL_AUTH",
    help="Ask visitors for a name and a password; better in the variable SEGTOOL_AUTH, where no process list shows it.",
)


def parse_auth(auth: str | None) -> tuple[str, str] | None:
    """USER:PASSWORD as the two.

    Raises:
        SegtoolError: one of them is missing.
    """
    user, separator, password = (auth or "").partition(":")
    if auth is not None and not (user and separator and password):
        from segtool.errors import SegtoolError

        raise SegtoolError("--auth needs USER:PASSWORD")
    return (user, password) if auth else None


def exported(model: Path) -> Path:
    """An exported file as it is; of a run folder, its model.onnx.

    Raises:
        SegtoolError: the run has not been exported.
    """
    if not model.is_dir():
        return model
    if not (model / "model.onnx").is_file():
        from segtool.errors import SegtoolError

        raise SegtoolError("the run has not been exported", where=model, mend=f"segtool export {model}")
    return model / "model.onnx"


def parse_size(text: str, option: str) -> tuple[int, int]:
    """HEIGHTxWIDTH as two numbers.

    Raises:
        SegtoolError: anything else.
    """
    height, _, width = text.partition("x")
    if not (height.isdigit() and width.isdigit() and int(height) and int(width)):
        from segtool.errors import SegtoolError

        raise SegtoolError(f"{option} must be HEIGHTxWIDTH", where=text)
    return int(height), int(width)


def check_suffix(path: Path, *suffixes: str, option: str = "--out") -> None:
    """Whether the name of a file to write says what it will be.

    Raises:
        SegtoolError: it ends in none of the suffixes.
    """
    if path.suffix.lower() not in suffixes:
        from segtool.errors import SegtoolError

        raise SegtoolError(f"{option} must end in {' or '.join(suffixes)}", where=path)


def echo(line: str) -> None:
    """Prints one line of progress at once, also into a pipe."""
    click.echo(printable(line))


@contextmanager
def progress_bar(label: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on standard error; yields a function of (done, total)."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(printable(label), markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def run_or_say_how_to_resume(trainer: "PiecewiseTrainer") -> None:
    """Runs it; Ctrl-C ends the process with 130."""
    try:
        trainer.run()
    except KeyboardInterrupt:
        echo("segtool: interrupted; the same command with --resume goes on where it stopped")
        sys.exit(130)
