"""`segtool serve` in a process of its own, and requests to it."""

import asyncio
import contextlib
import io
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import psutil
from PIL import Image


class Server:
    """A running server: `url` of the model tiny, `metrics` of Prometheus, `process` of the command."""

    def __init__(self, port: int, metrics_port: int, process: psutil.Process) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/models/tiny/segment"
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self.process = process

    def replicas(self) -> list[psutil.Process]:
        """The processes that run the model."""
        return self._of("tiny")

    def gateway(self) -> psutil.Process:
        """The process that listens."""
        (found,) = self._of("_gateway")
        return found

    def _of(self, deployment: str) -> list[psutil.Process]:
        title = f"ray::ServeReplica:segtool:{deployment}"
        return [p for p in self.process.children(recursive=True) if _title(p).startswith(title)]

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = httpx.get(self.metrics_url, timeout=30).text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))

    def wait_for_metric(self, name: str, at_least: float) -> float:
        """Ray reports metrics every few seconds."""
        end = time.monotonic() + 40
        while (value := self.metric(name)) < at_least:
            assert time.monotonic() < end, f"{name} is {value}, not {at_least}"
            time.sleep(1)
        return value

    def load(self, bodies: list[bytes], clients: int) -> list[tuple[int, float]]:
        """Sends every body once, from several clients; status and seconds of each answer."""

        async def all_of_them() -> list[tuple[int, float]]:
            found, waiting = [], iter(bodies)
            limits = httpx.Limits(max_connections=clients)
            async with httpx.AsyncClient(timeout=120, limits=limits) as client:

                async def one_client() -> None:
                    for body in waiting:
                        start = time.perf_counter()
                        answer = await client.post(self.url, content=body)
                        found.append((answer.status_code, time.perf_counter() - start))
                        if answer.status_code == 503:
                            await asyncio.sleep(0.02)

                await asyncio.gather(*(one_client() for _ in range(clients)))
            return found

        return asyncio.run(all_of_them())


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def free_port() -> int:
    """Below those that the system hands out: Ray makes hundreds of connections, one of which may take a port that was
    free a moment ago. And above those of its workers."""
    for port in random.sample(range(20_000, 32_000), 100):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port")


@contextmanager
def running(model: Path, log: Path, *options: str, address: str | None = None) -> Iterator[Server]:
    """The command, until the block is left; it must end by itself then."""
    port, metrics_port = free_port(), free_port()
    where = ["--metrics-port", str(metrics_port)] if address is None else ["--address", address]
    command = [sys.executable, "-m", "segtool", "serve", f"tiny={model}", "--port", str(port), *where, *options]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        end = time.monotonic() + 120
        while "documentation" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        yield Server(port, metrics_port, psutil.Process(process.pid))
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, log.read_text()


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()
