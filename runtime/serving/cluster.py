"""Starting Ray, the models and their gateway; and ending them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from segtool.card import ModelCard
from segtool.errors import SegtoolError
from segtool.runtime import BackendName, card_of
from segtool.runtime.ray_session import LOOPBACK, check_resources, connected
from segtool.runtime.serving.limits import Limits
from segtool.runtime.serving.sockets import listening

if TYPE_CHECKING:
    from ray.serve import Application

_GATEWAY = "_gateway"  # no model can have that name
_SLACK = 5.0  # seconds to wait longer than the gateway does
_OURS = f"{SegtoolError.__module__}.{SegtoolError.__qualname__}: "
_LOGGING = {"log_level": "ERROR", "enable_access_log": False}  # the metrics count requests


@dataclass(frozen=True)
class Plan:
    """What is served, and with what.

    Attributes:
        models: paths of .onnx or .engine files by the names that clients use.
        replicas: of each model.
        cpus: cores for each replica: reserved, and threads of the runtime.
        gpus: devices for each replica; parts of one are allowed.
        batch: images at most in one run.
        batch_seconds: that an image waits for others.
        metrics_port: of Prometheus metrics, when Ray is started here; chosen by Ray when None.
        grace: seconds for requests that are inside when the server ends.
    """

    models: dict[str, Path]
    backend: BackendName = "auto"
    replicas: int = 1
    cpus: float = 1
    gpus: float = 0
    batch: int = 4
    batch_seconds: float = 0.005
    host: str = LOOPBACK
    port: int = 8000
    metrics_port: int | None = None
    auth: tuple[str, str] | None = None
    limits: Limits = field(default_factory=Limits)
    grace: float | None = None

    @property
    def last_answers_seconds(self) -> float:
        """For requests that are inside when the server ends; all that they may take, unless `grace` says otherwise."""
        return self.limits.upload_seconds + self.limits.answer_seconds if self.grace is None else self.grace

    @property
    def inside(self) -> int:
        """Requests for one model at once: those that wait, and for each replica a batch that runs and one that is
        decoded meanwhile."""
        return self.limits.waiting + 2 * self.batch * self.replicas


@contextmanager
def serving(plan: Plan, address: str | None = None) -> Iterator[None]:
    """Serves until the block is left. Then what is inside is answered, unless a KeyboardInterrupt comes, and what comes
    is refused.

    Args:
        address: of a Ray cluster; Ray is started on this machine, for it alone, when None.

    Raises:
        SegtoolError: no such cluster or port, too little of it is free, or a model does not load.
    """
    cards = {name: card_of(path) for name, path in plan.models.items()}
    if address is None:
        listening(plan.host, plan.port).close()  # before anything is started
    with connected(address, plan.metrics_port):
        check_resources(len(plan.models) * plan.replicas, {"CPU": plan.cpus, "GPU": plan.gpus})
        # Serve sets its logger's level itself.
        logging.getLogger("ray.serve").addFilter(lambda record: record.levelno >= logging.WARNING)
        _start(plan, cards)
        try:
            yield
            _drain(plan.last_answers_seconds)
        finally:
            _end()


def _start(plan: Plan, cards: dict[str, ModelCard]) -> None:
    from ray import serve
    from ray.serve.config import ProxyLocation

    from segtool.runtime.serving.gateway import APPLICATION, Gateway

    serve.start(proxy_location=ProxyLocation.Disabled, logging_config=_LOGGING)
    if APPLICATION in serve.status().applications:
        raise SegtoolError("segtool serve runs there already", where="this Ray cluster", mend="end it first")
    handles = {name: _deployment(plan, name, path) for name, path in plan.models.items()}
    texts = {name: card.to_json() for name, card in cards.items()}
    gateway = serve.deployment(
        Gateway,
        name=_GATEWAY,
        logging_config=_LOGGING,
        # On the head node, without which there is no cluster: other nodes may die, and addresses must stay.
        ray_actor_options={"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}},
    ).bind(handles, texts, plan.limits, plan.inside, plan.auth, plan.host, plan.port)
    try:
        serve.run(gateway, name=APPLICATION, route_prefix=None)
    except RuntimeError as error:
        details = serve.status().applications[APPLICATION].deployments
        # Each ends with the exception of a constructor.
        reasons = {d.message.strip().splitlines()[-1].removeprefix(_OURS) for d in details.values() if d.message}
        serve.delete(APPLICATION)
        raise SegtoolError(f"the models could not be started: {'; '.join(sorted(reasons)) or error}") from error


def _drain(seconds: float) -> None:
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.exceptions import RayServeException

    from segtool.runtime.serving.gateway import APPLICATION

    # A gateway that has died has nobody to answer.
    with suppress(RayError, RayServeException, TimeoutError):
        gateway = serve.get_app_handle(APPLICATION)
        gateway._init(_run_router_in_separate_loop=True)  # this thread has no loop, whatever Serve's processes use
        try:
            gateway.drain.remote(seconds).result(timeout_s=seconds + _SLACK)
        except KeyboardInterrupt:
            gateway.drain.remote(0.0).result(timeout_s=_SLACK)


def _end() -> None:
    """Only what was started here: a cluster may serve other things."""
    from ray import serve

    from segtool.runtime.serving.gateway import APPLICATION

    serve.delete(APPLICATION)


def _deployment(plan: Plan, name: str, path: Path) -> "Application":
    from ray import serve

    from segtool.runtime.serving.replica import Replica

    threads = max(1, int(plan.cpus))
    return serve.deployment(
        Replica,
        name=name,
        num_replicas=plan.replicas,
        # Those that wait do so in the replicas, in order; the gateway lets no more in. Ray's router would ask full
        # replicas again and again, with growing pauses and in no order.
        max_ongoing_requests=plan.inside,
        logging_config=_LOGGING,
        # Threads of the native kernels that wait would otherwise keep their cores busy, which HTTP, decoding and
        # encoding need; the model itself is as fast.
        ray_actor_options={
            "num_cpus": plan.cpus,
            "num_gpus": plan.gpus,
            "runtime_env": {"env_vars": {"OMP_WAIT_POLICY": "passive"}},
        },
        health_check_period_s=5,
        max_constructor_retry_count=1,  # a model that does not load will not the next time
    ).bind(name, str(path.resolve()), plan.backend, threads, plan.batch, plan.batch_seconds, plan.limits.pixels)
