"""Ray, started on this machine for one program alone, or as it runs elsewhere.

Ray reads some settings when it is imported, so that nothing here, and nothing that is imported before `connected`, may
import it at the top.
"""

import os
import secrets
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from segtool.errors import SegtoolError
from segtool.images import LIMIT_VARIABLE

LOOPBACK = "127.0.0.1"


@contextmanager
def connected(address: str | None, metrics_port: int | None = None) -> Iterator[None]:
    """Ray until the block is left.

    Args:
        address: of a cluster (auto, HOST:PORT, ray://...). None starts Ray on this machine: it listens on the loopback
            address alone, asks every connection for a token that only its own processes know, and reports no usage.
        metrics_port: of Prometheus metrics, when Ray is started here; chosen by Ray when None.

    Raises:
        SegtoolError: no such cluster.
    """
    if address is None:
        _stay_alone()
    else:
        _check_answers(address)
    import ray

    here = {"include_dashboard": False, "_metrics_export_port": metrics_port}
    try:
        # An empty address would find a cluster that somebody else started on this machine; "local" does not.
        options: dict[str, Any] = {"address": "local", **here} if address is None else {"address": address}
        if (limit := os.environ.get(LIMIT_VARIABLE)) and address is not None:  # other machines do not inherit it
            options["runtime_env"] = {"env_vars": {LIMIT_VARIABLE: limit}}
        ray.init(**options, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, ImportError) as error:
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise SegtoolError(f"no Ray ({reason})", where=address or "this machine", mend="ray start --head") from error
    try:
        if address is None and ray.util.get_node_ip_address() != LOOPBACK:
            raise SegtoolError(
                "Ray would listen to other machines", mend="do not import ray before segtool's Ray starts"
            )
        yield
    finally:
        ray.shutdown()


def _stay_alone() -> None:
    if "ray" in sys.modules:
        return  # too late, unless it was done before; `connected` looks at what came of it
    # What keeps Ray to the loopback address on Windows and macOS does so on Linux too.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    # Serve's code and ours share a loop: ours never holds it up. A sixth more small images a second.
    os.environ.setdefault("RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD", "0")
    os.environ.setdefault("RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP", "0")
    os.environ.setdefault("RAY_SERVE_USE_GRPC_BY_DEFAULT", "1")  # between replicas: cheaper than calls of actors
    os.environ.setdefault("RAY_SERVE_CONTROL_LOOP_INTERVAL_S", "0.5")  # ten times a second costs 3 % of a core
    # Serve's replicas listen on all addresses in spite of it. Whoever reaches Ray's ports can run code.
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _check_answers(address: str) -> None:
    """Ray itself tries for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return  # auto, or a name that Ray knows
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        reason = error.strerror or str(error)
        raise SegtoolError(f"no Ray ({reason})", where=address, mend="ray start --head") from error


def check_resources(replicas: int, each: dict[str, float]) -> None:
    """Whether that many replicas find room.

    Args:
        each: CPU and GPU for each.

    Raises:
        SegtoolError: they would wait for ever.
    """
    import ray

    for kind, wanted in each.items():
        there = ray.cluster_resources().get(kind, 0)
        if replicas * wanted > there:
            raise SegtoolError(
                f"{replicas} replicas with {wanted:g} {kind} each do not fit",
                where=f"Ray with {there:g} {kind}",
                mend=f"choose other --replicas or --{kind.lower()}s",
            )
