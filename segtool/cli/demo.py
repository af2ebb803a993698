"""segtool demo"""

from pathlib import Path

import click

from segtool.cli.options import echo, model_argument


@click.command("demo")
@model_argument
@click.option("--examples", type=click.Path(path_type=Path), help="Folder of images to offer on the page.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=7860, show_default=True, type=click.IntRange(1, 65535))
@click.option("--auth", metavar="USER:PASSWORD", help="Ask visitors for a name and a password.")
@click.option("--max-megapixels", default=16.0, show_default=True, help="Largest image that is accepted.")
def command(model: Path, examples: Path | None, host: str, port: int, auth: str | None, max_megapixels: float) -> None:
    """Open a web page that segments uploaded images with an exported MODEL.

    A run folder stands for its model.onnx.
    """
    import segtool.runtime
    from segtool.demo.app import MAX_FILE, build_demo
    from segtool.errors import SegtoolError

    if model.is_dir():
        run, model = model, model / "model.onnx"
        if not model.is_file():
            raise SegtoolError("the run has not been exported", where=run, mend=f"segtool export {run}")
    user, separator, password = (auth or "").partition(":")
    if auth is not None and not (user and separator and password):
        raise SegtoolError("--auth needs USER:PASSWORD")
    page = build_demo(segtool.runtime.load(model), examples, int(1e6 * max_megapixels))
    echo(f"serving on http://{host}:{port}  (Ctrl-C ends it)")
    try:
        page.launch(
            server_name=host,
            server_port=port,
            quiet=True,
            footer_links=["api"],
            auth=(user, password) if auth else None,
            max_file_size=MAX_FILE,
            state_session_capacity=64,
        )
    except OSError as error:
        raise SegtoolError(f"cannot listen on {host}:{port}", mend="choose another --port") from error
