"""The command line. Each command lives in a module of its own and imports its part only when it runs."""

import os
import sys
import warnings
from importlib import import_module
from typing import Any

import click

from segtool import __version__
from segtool.errors import SegtoolError, SegtoolWarning

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
def cli(debug: bool, trust_code: bool) -> None:
    """Train, evaluate and deploy semantic segmentation with a dense CRF inside the model.

    MODEL is a run folder, a checkpoint (.safetensors), an .onnx file or an .engine.
    """
    if trust_code:
        from segtool.user_code import TRUST_VARIABLE

        os.environ[TRUST_VARIABLE] = "1"  # so that worker processes know it too


def main() -> None:
    """Entry point: errors a user can cause are one line and exit code 2."""
    debug = "--debug" in sys.argv
    # Before PyTorch is imported: threads of OpenMP that wait would spin, and on a machine that does other work too they
    # would take the cores from those that they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    warnings.showwarning = _shown(warnings.showwarning)
    try:
        cli()
    except SegtoolError as error:
        if debug:
            raise
        click.echo(f"segtool: {error}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        extra = _EXTRA_OF.get((error.name or "").partition(".")[0])
        if debug or extra is None:
            raise
        click.echo(f"segtool: {error.name} is not installed (pip install 'segtool[{extra}]')", err=True)
        sys.exit(2)


def _shown(others: Any) -> Any:
    """How warnings are shown: segtool's own as one line, others as before."""

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, SegtoolWarning):
            click.echo(f"segtool: {message}", err=True)
        else:
            others(message, category, *where, **more)

    return show


_EXTRA_OF = {
    "torch": "train",
    "torchvision": "train",
    "lightning": "train",
    "segmentation_models_pytorch": "train",
    "timm": "train",
    "transformers": "transformers",
    "tensorboard": "train",
    "psutil": "train",
    "safetensors": "train",
    "matplotlib": "eval",
    "jinja2": "eval",
    "pandas": "eval",
    "pyarrow": "eval",
    "scipy": "eval",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "cpu",
    "gradio": "demo",
    "av": "video",
    "ray": "serve",
    "fastapi": "serve",
    "fastapi_offline": "serve",
}
