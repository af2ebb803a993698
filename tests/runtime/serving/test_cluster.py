"""Two nodes of a Ray cluster on one machine: both work, and one that dies loses no request."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from .server import png, running

_NODES = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
second = cluster.add_node(num_cpus=2)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.readline()
cluster.remove_node(second, allow_graceful=False)
print("removed", flush=True)
sys.stdin.readline()
cluster.shutdown()
"""


@pytest.fixture
def cluster(monkeypatch):
    """The process that holds the nodes; a line to it removes the second. Nothing leaves this machine."""
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    process = subprocess.Popen([sys.executable, "-c", _NODES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.address = process.stdout.readline().strip()
    assert process.address.startswith("127.0.0.1:")
    yield process
    process.communicate("\n\n", timeout=60)


@pytest.mark.slow
def test_two_nodes(tiny_onnx, cluster, tmp_path, photo):
    """A replica needs two cores and a node has two, so that each node has one replica."""
    _predicts(tiny_onnx, cluster, tmp_path, photo)
    options = ("--replicas", "2", "--cpus", "2", "--queue", "64")
    bodies = [png(np.roll(photo, 7 * i, axis=1)) for i in range(100)]
    with running(tiny_onnx, tmp_path / "log.txt", *options, address=cluster.address) as server:
        assert [status for status, _ in server.load(bodies[:16], clients=4)] == [200] * 16

        def remove():
            time.sleep(0.5)
            cluster.stdin.write("\n")
            cluster.stdin.flush()

        killer = threading.Thread(target=remove)
        killer.start()
        found = server.load(bodies, clients=8)
        killer.join()
        assert cluster.stdout.readline() == "removed\n"
        assert [status for status, _ in found] == [200] * 100


def _predicts(model, cluster, tmp_path, photo):
    (tmp_path / "images").mkdir()
    for i in range(40):
        Image.fromarray(np.roll(photo, i, axis=0)).save(tmp_path / "images" / f"{i}.png")
    command = [sys.executable, "-m", "segtool", "predict", str(model), str(tmp_path / "images")]
    command += ["--out", str(tmp_path / "out"), "--address", cluster.address, "--replicas", "2", "--cpus", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert pq.read_table(tmp_path / "out" / "index.parquet").num_rows == 40
