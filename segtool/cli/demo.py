"""segtool demo"""

from pathlib import Path

import click

from segtool.cli.models import exported
from segtool.cli.options import auth_option, echo, parse_auth


@click.command("demo")
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--examples", type=click.Path(path_type=Path), help="Folder of images to offer on the page.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=7860, show_default=True, type=click.IntRange(1, 65535))
@auth_option
@click.option("--max-megapixels", default=16.0, show_default=True, help="Largest image that is accepted.")
def command(
    models: tuple[Path, ...], examples: Path | None, host: str, port: int, auth: str | None, max_megapixels: float
) -> None:
    """Open a web page that segments uploaded images with an exported MODEL, or compares several.

    A run folder stands for its model.onnx.
    """
    import segtool.runtime
    from segtool.demo.app import MAX_FILE, build_demo
    from segtool.errors import SegtoolError

    visitor = parse_auth(auth)
    loaded = {_name(model, models): segtool.runtime.load(exported(model)) for model in models}
    page = build_demo(loaded, examples, int(1e6 * max_megapixels))
    echo(f"serving on http://{host}:{port}  (Ctrl-C ends it)")
    try:
        page.launch(
            server_name=host,
            server_port=port,
            quiet=True,
            footer_links=["api"],
            auth=visitor,
            max_file_size=MAX_FILE,
            state_session_capacity=64,
        )
    except OSError as error:
        raise SegtoolError(f"cannot listen on {host}:{port}", mend="choose another --port") from error


def _name(model: Path, models: tuple[Path, ...]) -> str:
    """What visitors see: the file's or folder's name; with its folder where that would name two."""
    same = [other for other in models if other.name == model.name]
    return model.name if len(same) == 1 else f"{model.resolve().parent.name}/{model.name}"
