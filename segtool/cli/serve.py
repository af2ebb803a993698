"""segtool serve"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from segtool.cli.options import auth_option, backend_option, echo, exported, parse_auth, replica_options, share_of_cores

if TYPE_CHECKING:
    from segtool.runtime import BackendName

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@click.command("serve")
@click.argument("models", metavar="[NAME=]MODEL...", nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535))
@click.option("--address", help="Address of a running Ray cluster, such as auto.  [default: start Ray on this machine]")
@replica_options
@click.option("--batch", default=4, show_default=True, type=click.IntRange(1), help="Most images to run at once.")
@click.option(
    "--batch-wait",
    default=5.0,
    show_default=True,
    type=click.FloatRange(0),
    help="Milliseconds to wait for more images to run at once.",
)
@click.option(
    "--queue",
    default=32,
    show_default=True,
    type=click.IntRange(0),
    help="Requests for a model that may wait; more are refused.",
)
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Seconds a request may take.",
)
@click.option(
    "--grace", type=click.FloatRange(0), help="Seconds that a shutdown waits for answers.  [default: --timeout + 15]"
)
@click.option("--max-megapixels", default=16.0, show_default=True, help="Largest image that is accepted.")
@click.option("--max-megabytes", default=32.0, show_default=True, help="Largest file that is accepted.")
@click.option("--metrics-port", type=click.IntRange(1, 65535), help="Port for Prometheus metrics, on this machine.")
@auth_option
@backend_option
def command(
    models: tuple[str, ...],
    host: str,
    port: int,
    address: str | None,
    replicas: int,
    cpus: float | None,
    gpus: float,
    batch: int,
    batch_wait: float,
    queue: int,
    timeout: float,
    grace: float | None,
    max_megapixels: float,
    max_megabytes: float,
    metrics_port: int | None,
    auth: str | None,
    backend: "BackendName",
) -> None:
    """Serve exported MODELs over HTTP with Ray Serve, each as /models/NAME/segment.

    A run folder stands for its model.onnx. With --address every node must find the models at the same path.

    Ctrl-C answers the requests that are inside, and refuses new ones with 503 meanwhile; pressed again, it refuses all.
    """
    from segtool.runtime.serving.cluster import Plan, serving
    from segtool.runtime.serving.limits import Limits

    named = _named(models)
    limits = Limits(
        file_bytes=int(max_megabytes * 2**20),
        pixels=int(1e6 * max_megapixels),
        waiting=queue,
        answer_seconds=timeout,
    )
    plan = Plan(
        models=named,
        backend=backend,
        replicas=replicas,
        cpus=cpus or share_of_cores(replicas * len(named), address),
        gpus=gpus,
        batch=batch,
        batch_seconds=batch_wait / 1000,
        host=host,
        port=port,
        metrics_port=metrics_port,
        auth=parse_auth(auth),
        limits=limits,
        grace=grace,
    )
    echo("starting (some seconds)")
    with serving(plan, address):
        for name in named:
            echo(f"http://{host}:{port}/models/{name}/segment")
        echo(f"documentation: http://{host}:{port}/docs  (Ctrl-C ends it)")
        _until_interrupted()
        echo("answering the requests that are inside  (Ctrl-C refuses them)")


def _until_interrupted() -> None:
    """Returns at the first signal; the next one is a KeyboardInterrupt, wherever it comes."""
    import signal
    import threading

    stop = threading.Event()

    def handle(*_: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)
    stop.wait()


def _named(models: tuple[str, ...]) -> dict[str, Path]:
    """Paths by name: the given one, or the run folder's or file's.

    Raises:
        SegtoolError: a name that no address can hold, or two models of one name.
    """
    from segtool.errors import SegtoolError

    named: dict[str, Path] = {}
    for model in models:
        name, separator, text = model.rpartition("=")
        path = exported(Path(text))
        if not separator:
            name = path.resolve().parent.name if path.stem == "model" else path.stem
        if not _NAME.fullmatch(name):
            raise SegtoolError("a name may hold letters, digits, dots, _ and -", where=name, mend="NAME=MODEL")
        if name in named:
            raise SegtoolError("two models have one name", where=name, mend="NAME=MODEL")
        named[name] = path
    return named
