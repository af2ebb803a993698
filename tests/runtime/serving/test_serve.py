"""`segtool serve` with Ray: the same masks, bounded under load, and nothing lost when a replica dies."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from segtool.runtime import load

from .server import free_port, png, running


@pytest.fixture(scope="module")
def server(tiny_onnx, tmp_path_factory):
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    with running(tiny_onnx, log, "--replicas", "2", "--cpus", "1", "--batch", "4", "--queue", "8") as server:
        yield server


@pytest.fixture(scope="module")
def bodies(photo):
    """Different images of one size."""
    return [png(np.roll(photo, 7 * i, axis=1)) for i in range(16)]


def test_masks_are_the_runtimes(server, tiny_onnx, photo):
    assert httpx.get(f"{server.root}/ready", timeout=30).status_code == 200
    head = httpx.head(f"{server.root}/health", timeout=30)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", "2")
    answer = httpx.post(server.url, content=png(photo), timeout=60)
    mask = np.array(Image.open(io.BytesIO(answer.content)))
    np.testing.assert_array_equal(mask, load(tiny_onnx)(photo).labels)
    steps = [part.split(";")[0] for part in answer.headers["server-timing"].split(", ")]
    assert steps == ["decode", "segment", "encode"]


def test_a_damaged_image_is_refused_by_the_replica(server, photo):
    whole = png(photo)
    answer = httpx.post(server.url, content=whole[: len(whole) // 2], timeout=60)
    assert answer.status_code == 422
    assert "unreadable image" in answer.json()["error"]


def test_images_that_come_together_are_run_together(server, bodies):
    statuses = [status for status, _ in server.load(bodies * 2, clients=8)]
    assert statuses == [200] * 32
    images = server.wait_for_metric("ray_segtool_images_total", 32)
    assert server.metric("ray_segtool_runs_total") < images
    assert server.wait_for_metric("ray_segtool_requests_total", 32) >= 32
    assert server.metric("ray_segtool_pixels_total") >= 32 * 97 * 131


def test_too_many_requests_are_refused_and_the_others_answered(server, bodies):
    """2 replicas of 2 batches of 4, and 8 that wait: 24 at most are inside. benchmarks/serving.py takes the time."""
    assert {status for status, _ in server.load(bodies * 2, clients=16)} == {200}
    found = server.load(bodies * 16, clients=64)
    statuses = [status for status, _ in found]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 24
    assert {status for status, _ in server.load(bodies, clients=4)} == {200}


def test_a_replica_that_is_killed_loses_nothing(server, bodies):
    before = server.replicas()
    assert len(before) == 2

    def kill():
        time.sleep(1.0)
        before[0].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    found = server.load(bodies * 12, clients=8)
    killer.join()
    assert [status for status, _ in found] == [200] * len(found)
    end = time.monotonic() + 60
    while len(server.replicas()) < 2:
        assert time.monotonic() < end, "no new replica"
        time.sleep(0.5)


def test_no_other_machine_reaches_it(server):
    """What listens, listens on the loopback address; but Serve's replicas, which ask for a token."""
    import grpc

    processes = [server.process, *server.process.children(recursive=True)]
    listening = [c for p in processes for c in _listening(p)]
    assert len(listening) > 5
    outside = [c.laddr.port for c in listening if c.laddr.ip not in ("127.0.0.1", "::ffff:127.0.0.1", "::1")]
    assert len(outside) <= 3  # two replicas and the gateway
    for port in outside:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/ray.serve.ASGIService/HandleRequest")
            with pytest.raises(grpc.RpcError) as refusal:
                call(b"", timeout=10)
            assert refusal.value.code() == grpc.StatusCode.UNAUTHENTICATED


def _listening(process):
    try:
        return [c for c in process.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    except psutil.Error:
        return []


def run(*arguments):
    command = [sys.executable, "-m", "segtool", "serve", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "200"})


def test_what_cannot_be_served_is_said_in_one_line(tmp_path, tiny_onnx):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.onnx").write_bytes(b"hello")
    cases = [
        ([tmp_path / "none.onnx"], "segtool: no such model"),
        ([tmp_path / "bad.onnx"], "segtool: ONNX Runtime cannot load the file"),
        ([tmp_path / "empty"], "segtool: the run has not been exported"),
        ([f"a b={tiny_onnx}"], "segtool: a name may hold letters, digits, dots, _ and -: a b (NAME=MODEL)"),
        ([tiny_onnx, tiny_onnx], "segtool: two models have one name: tiny (NAME=MODEL)"),
        ([tiny_onnx, "--auth", "me"], "segtool: --auth needs USER:PASSWORD"),
    ]
    for arguments, text in cases:
        found = run(*arguments)
        assert found.returncode == 2
        assert text in found.stderr
        assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_what_ray_cannot_do_is_said_in_one_line(tmp_path, tiny_onnx, server):
    port = server.root.rpartition(":")[2]
    cases = [
        ([tiny_onnx, "--address", f"127.0.0.1:{free_port()}"], "segtool: no Ray"),
        ([tiny_onnx, "--replicas", 99, "--cpus", 1], "99 replicas with 1 CPU each do not fit"),
        ([tiny_onnx, "--gpus", 1], "1 replicas with 1 GPU each do not fit: Ray with 0 GPU (choose other --replicas"),
        ([tiny_onnx, "--port", port], f"cannot listen on 127.0.0.1:{port}"),
        ([tiny_onnx, "--backend", "cuda"], "could not be started: this ONNX Runtime was built without CUDA (pip"),
    ]
    for arguments, text in cases:
        found = run(*arguments)
        assert text in found.stderr
        assert found.returncode == 2
        assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_a_password_and_an_answer_that_takes_too_long(tiny_onnx, tmp_path, photo, monkeypatch):
    monkeypatch.setenv("SEGTOOL_AUTH", "me:secret")
    with running(tiny_onnx, tmp_path / "log.txt", "--timeout", "0.001") as server:
        assert httpx.post(server.url, content=png(photo), timeout=60).status_code == 401
        answer = httpx.post(server.url, content=png(photo), timeout=60, auth=("me", "secret"))
        assert answer.status_code == 504
        assert answer.json() == {"error": "no answer within 0.001 s", "mend": "try again later"}
        assert httpx.get(f"{server.root}/ready", timeout=60).status_code == 200


@pytest.mark.slow
def test_the_command_ends_when_it_is_told_to(tmp_path, tiny_onnx):
    with running(tiny_onnx, tmp_path / "log.txt") as server:
        processes = [server.process, *server.process.children(recursive=True)]
        server.process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive


@pytest.mark.slow
def test_a_gateway_that_is_killed_comes_back(tmp_path, tiny_onnx, photo):
    with running(tiny_onnx, tmp_path / "log.txt") as server:
        server.gateway().kill()
        end, status = time.monotonic() + 60, None
        while status != 200:
            assert time.monotonic() < end
            time.sleep(0.5)
            with contextlib.suppress(httpx.TransportError):
                status = httpx.post(server.url, content=png(photo), timeout=60).status_code


class Slow:
    """Requests that take longer than anything waits by itself: each waits for more images in its batch."""

    OPTIONS = ("--batch", "32", "--batch-wait", "25000")

    def __init__(self, server, body, count):
        self.server = server
        self.pool = ThreadPoolExecutor(count)
        self.answers = [self.pool.submit(httpx.post, server.url, content=body, timeout=120) for _ in range(count)]
        time.sleep(2)

    def press_ctrl_c(self):
        """As a terminal does: every process of the command gets it."""
        os.killpg(self.server.process.pid, signal.SIGINT)

    def done(self):
        return [answer for answer in self.answers if answer.done()]

    def statuses(self):
        return [answer.result(60).status_code for answer in self.answers]


@pytest.mark.slow
def test_what_is_inside_at_the_end_is_answered_and_what_comes_is_refused_at_once(tmp_path, tiny_onnx, photo):
    with running(tiny_onnx, tmp_path / "log.txt", *Slow.OPTIONS) as server:
        slow = Slow(server, png(photo), 12)
        slow.press_ctrl_c()
        time.sleep(1)
        for method, address in (("POST", server.url), ("GET", f"{server.root}/ready")):
            new = httpx.request(method, address, content=png(photo), timeout=60)
            assert (new.status_code, new.headers["retry-after"]) == (503, "1")
            assert new.json() == {"error": "the server is ending", "mend": "try again later"}
        assert slow.done() == [], "they are still inside"
        assert slow.statuses() == [200] * 12
        server.process.wait(60)


@pytest.mark.slow
@pytest.mark.parametrize("by", ["a second Ctrl-C", "--grace"])
def test_requests_are_refused_where_nobody_waits_for_them(tmp_path, tiny_onnx, photo, by):
    grace = ("--grace", "1") if by == "--grace" else ()
    with running(tiny_onnx, tmp_path / "log.txt", *Slow.OPTIONS, *grace) as server:
        slow = Slow(server, png(photo), 3)
        slow.press_ctrl_c()
        if by != "--grace":
            time.sleep(1)
            assert slow.done() == []
            slow.press_ctrl_c()
        answers = [answer.result(20) for answer in slow.answers]  # before they would have been answered
        assert [answer.status_code for answer in answers] == [503] * 3
        assert answers[0].json() == {"error": "the server ended before the answer was there", "mend": "send it again"}
        server.process.wait(60)
