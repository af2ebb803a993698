"""`segtool serve` against the runtime called in a loop, and what comes of twice as many requests as it can answer.

    python benchmarks/serving.py [--model MODEL] [--out DIR]

480x360, 11 classes; JPEG in, PNG mask out, over HTTP on the loopback address. Without MODEL, the network of the preset
camvid-small, untrained, with a CRF of five iterations.
"""

import argparse
import asyncio
import io
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from common import RESULTS, cpu_name, picture, print_rows, write_results
from deployment import HEIGHT, ITERATIONS, WIDTH, untrained
from PIL import Image

from segtool.export.onnx_export import export_onnx
from segtool.runtime import load
from segtool.runtime.serving.cluster import Plan, serving
from segtool.runtime.serving.limits import Limits

PORT, IMAGES, TURNS = 8765, 24, 5
ROUNDS = 4  # of the images in a turn: the first and the last request of a turn find the server idle
WAITING = 8
URL = f"http://127.0.0.1:{PORT}/models/m/segment"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--model", type=Path)
    arguments.add_argument("--seconds", type=float, default=60, help="of the overload")
    arguments.add_argument("--out", type=Path, default=RESULTS)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or exported(Path(folder))
        rows = [throughput(model, batch) for batch in (1, 4)]
        busy = overload(model, rows[0]["served images/s"], options.seconds)
    print_rows(rows)
    print()
    print_rows([busy])
    print(f"\n{cpu_name()}, {os.cpu_count()} cores, which the clients share")
    print(write_results("serving", rows, options.out, overload=busy))


def exported(folder: Path) -> Path:
    export_onnx(untrained(folder), folder / "m.onnx", iterations=ITERATIONS)
    return folder / "m.onnx"


def pictures() -> list[Any]:
    image = picture(WIDTH, HEIGHT)[0].permute(1, 2, 0).byte().numpy().copy()
    return [np.ascontiguousarray(np.roll(image, 16 * i, axis=1)) for i in range(IMAGES)]


def jpeg(image: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def plan(model: Path, batch: int) -> Plan:
    cores = os.cpu_count() or 1
    return Plan({"m": model}, cpus=cores, batch=batch, port=PORT, limits=Limits(waiting=WAITING))


def throughput(model: Path, batch: int) -> dict[str, Any]:
    """Images a second, the loop and the server in turn."""
    images = pictures()
    bodies = [jpeg(image) for image in images]
    runtime = load(model, threads=os.cpu_count())
    loops, served = [], []
    with serving(plan(model, batch)):
        asyncio.run(ask(bodies, 2 * batch))
        for _ in range(TURNS):
            start = time.perf_counter()
            for i in range(0, ROUNDS * IMAGES, batch):
                runtime.batch([images[j % IMAGES] for j in range(i, i + batch)])
            loops.append(ROUNDS * IMAGES / (time.perf_counter() - start))
            start = time.perf_counter()
            answers = asyncio.run(ask(ROUNDS * bodies, 4 * batch))
            served.append(ROUNDS * IMAGES / (time.perf_counter() - start))
            assert {status for status, _ in answers} == {200}
    ratios = [a / b for a, b in zip(served, loops, strict=True)]
    return {
        "batch": batch,
        "runtime in a loop images/s": round(statistics.median(loops), 2),
        "served images/s": round(statistics.median(served), 2),
        "ratio": round(statistics.median(ratios), 3),
    }


async def ask(bodies: list[bytes], clients: int) -> list[tuple[int, float]]:
    """Every body once, from several clients; status and seconds of each answer."""
    found: list[tuple[int, float]] = []
    waiting = iter(bodies)
    async with httpx.AsyncClient(timeout=120, verify=False) as client:  # no certificates are read: it is plain HTTP

        async def one_client() -> None:
            for body in waiting:
                found.append(await one(client, body))

        await asyncio.gather(*(one_client() for _ in range(clients)))
    return found


async def one(client: httpx.AsyncClient, body: bytes) -> tuple[int, float]:
    start = time.perf_counter()
    answer = await client.post(URL, content=body)
    return answer.status_code, time.perf_counter() - start


def overload(model: Path, rate: float, seconds: float) -> dict[str, Any]:
    """Twice as many requests a second as it can answer, whether answered or not."""
    bodies = [jpeg(image) for image in pictures()]

    async def arrive() -> list[tuple[int, float]]:
        async with httpx.AsyncClient(timeout=120, verify=False, limits=httpx.Limits(max_connections=None)) as client:
            tasks = []
            for i in range(int(2 * rate * seconds)):
                tasks.append(asyncio.create_task(one(client, bodies[i % IMAGES])))
                await asyncio.sleep(1 / (2 * rate))
            return await asyncio.gather(*tasks)

    with serving(plan(model, 1)):
        asyncio.run(ask(bodies, 2))
        found = asyncio.run(arrive())
    times = {status: [t for s, t in found if s == status] for status in (200, 503)}
    assert len(times[200]) + len(times[503]) == len(found)
    return {
        "arriving/s": round(2 * rate, 2),
        "answered/s": round(len(times[200]) / seconds, 2),
        "inside at most": plan(model, 1).inside,
        "p50 s": round(float(np.percentile(times[200], 50)), 2),
        "p99 s": round(float(np.percentile(times[200], 99)), 2),
        "refused": len(times[503]),
        "refusal p99 s": round(float(np.percentile(times[503], 99)), 2),
    }


if __name__ == "__main__":
    main()
