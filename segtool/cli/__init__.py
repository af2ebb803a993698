"""The command line. Each command lives in a module of its own and imports its part only when it runs."""

import os
import sys
import threading
import warnings
from importlib import import_module
from typing import Any

import click

from segtool import __version__
from segtool.errors import SegtoolWarning, printable

# name -> module below segtool.cli; in the order of the help page.
_COMMANDS = {
    "quickstart": "quickstart",
    "data": "data",
    "train": "train",
    "eval": "evaluate",
    "predict": "predict",
    "bench": "bench",
    "export": "export",
    "build": "build",
    "verify": "verify",
    "demo": "demo",
    "serve": "serve",
    "doctor": "doctor",
}


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        return import_module(f"segtool.cli.{_COMMANDS[cmd_name]}").command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from difflib import get_close_matches

        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], _COMMANDS, n=1)
            ctx.fail(f"no such command: {args[0]}" + (f" (did you mean {near[0]}?)" if near else ""))
        return super().resolve_command(ctx, args)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="segtool")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
@click.option("--trust-code", is_flag=True, help="Let models whose network is Python code import that code.")
@click.option("--max-pixels", type=click.IntRange(1), help="Largest image that is read.  [default: 100 million pixels]")
def cli(debug: bool, trust_code: bool, max_pixels: int | None) -> None:
    """Train, evaluate and deploy semantic segmentation with a dense CRF inside the model.

    MODEL is a run folder, a checkpoint (.safetensors), an .onnx file or an .engine.
    """
    if trust_code:
        from segtool.user_code import TRUST_VARIABLE

        os.environ[TRUST_VARIABLE] = "1"  # so that worker processes know it too
    if max_pixels is not None:
        from segtool.images import LIMIT_VARIABLE

        os.environ[LIMIT_VARIABLE] = str(max_pixels)


def main() -> None:
    """Entry point. Every error is one line: with exit code 2 if it can be mended by whoever called, 1 if segtool is at
    fault, 130 after Ctrl-C. `--debug` shows tracebacks."""
    # Before PyTorch is imported: threads of OpenMP that wait would spin, and on a machine that does other work too they
    # would take the cores from those that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    warnings.showwarning = _shown(warnings.showwarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # they name no file
    threading.excepthook = _told
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in sys.argv:
            raise
        from segtool.cli.boundary import tell

        sys.exit(tell(error))


def _told(ended: threading.ExceptHookArgs) -> None:
    """Of a thread that a library runs and nobody waits for, such as TensorBoard's writer."""
    if issubclass(ended.exc_type, SystemExit):
        return
    if "--debug" in sys.argv:
        sys.excepthook(ended.exc_type, ended.exc_value or ended.exc_type(), ended.exc_traceback)
    elif ended.exc_value is not None:
        from segtool.cli.boundary import tell

        tell(ended.exc_value)


def _shown(others: Any) -> Any:
    """How warnings are shown: segtool's own as one line, others as before."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, SegtoolWarning):
            click.echo(f"segtool: {printable(str(message))}", err=True)
        else:
            others(message, category, *where, **more)

    return show
