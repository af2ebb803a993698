"""The HTTP server as a Ray Serve deployment: it passes images on to replicas, and again if one dies."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from ray import serve
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import ReplicaState
from ray.util.metrics import Counter, Histogram

from segtool.card import parse_card
from segtool.runtime.serving.answers import Answer, Form
from segtool.runtime.serving.application import build_application
from segtool.runtime.serving.limits import Limits, Refusal
from segtool.runtime.serving.sockets import listening

APPLICATION = "segtool"
_LAST_ANSWERS = 10  # seconds that their last bytes may take when the server ends
_SECONDS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]


class Gateway:
    """Listens by itself: Serve's own HTTP server would be one more process that every image goes through, a tenth of
    the time of a small one. See `segtool.runtime.serving.application.Models` for what it does with a request.

    Args:
        handles: of the models' deployments, by name.
        cards: as JSON.
        inside: requests for one model at once; more are refused.
        auth: name and password.
        host, port: that it listens on.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        handles: dict[str, DeploymentHandle],
        cards: dict[str, str],
        limits: Limits,
        inside: int,
        auth: tuple[str, str] | None,
        host: str,
        port: int,
    ) -> None:
        self.handles, self.limits, self.inside = handles, limits, inside
        self._inside = dict.fromkeys(handles, 0)
        self._accepted: set[asyncio.Timeout] = set()
        self._ending = False
        self._requests = Counter("segtool_requests", "Requests answered", ("model", "status"))
        self._seconds = Histogram("segtool_request_seconds", "Seconds to the answer", _SECONDS, ("model",))
        parsed = {name: parse_card(text, name) for name, text in cards.items()}
        config = uvicorn.Config(
            build_application(self, parsed, limits, auth),
            log_level="error",
            access_log=False,
            lifespan="off",
            timeout_graceful_shutdown=_LAST_ANSWERS,
        )
        self._server = uvicorn.Server(config)
        self._serving = asyncio.create_task(self._server.serve([listening(host, port)]))

    def check_health(self) -> None:
        """Serve asks now and then, and starts another gateway after an error."""
        if self._serving.done():
            raise RuntimeError("the HTTP server has ended")

    async def drain(self, seconds: float) -> None:
        """Refuses new requests from now on, and returns when the others are answered.

        Args:
            seconds: after which those that are not are refused too.
        """
        self._ending = True
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while self._accepted and loop.time() < end:
            await asyncio.sleep(0.05)
        for one in self._accepted:
            one.reschedule(loop.time())
        while self._accepted:
            await asyncio.sleep(0.01)

    async def __del__(self) -> None:
        """Serve waits for this when the application is deleted: what has been answered is sent to its end."""
        self._server.should_exit = True
        await self._serving

    @asynccontextmanager
    async def accepted(self, model: str) -> AsyncIterator[None]:
        self._check_ending()
        self._check_room(model)
        try:
            async with asyncio.timeout(None) as until:
                self._accepted.add(until)
                yield
        except TimeoutError as error:
            if not until.expired():
                raise
            raise Refusal(503, "the server ended before the answer was there", "send it again") from error
        finally:
            self._accepted.discard(until)

    def _check_ending(self) -> None:
        if self._ending:
            raise Refusal(503, "the server is ending", "try again later")

    def _check_room(self, model: str) -> None:
        if self._inside[model] >= self.inside:
            raise Refusal(503, "too many requests are waiting", "try again later")

    async def segment(self, model: str, data: bytes, form: Form) -> Answer:
        self._check_room(model)
        self._inside[model] += 1
        try:
            async with asyncio.timeout(self.limits.answer_seconds):
                return await self._until_answered(self.handles[model], data, form)
        except TimeoutError as error:
            raise Refusal(504, f"no answer within {self.limits.answer_seconds:g} s", "try again later") from error
        finally:
            self._inside[model] -= 1

    async def _until_answered(self, handle: DeploymentHandle, data: bytes, form: Form) -> Answer:
        while True:
            try:
                return await handle.segment.remote(data, form)
            except RayTaskError as error:
                if isinstance(error.cause, Refusal):
                    raise error.cause from None
                raise
            except RayActorError:
                # The replica died. Segmenting changes nothing, so that the same request can go to another.
                await asyncio.sleep(0.1)

    async def missing(self) -> list[str]:
        self._check_ending()
        status: Any = await asyncio.to_thread(serve.status)
        deployments = status.applications[APPLICATION].deployments
        return [n for n in self.handles if not deployments[n].replica_states.get(ReplicaState.RUNNING)]

    def count(self, model: str, status: int, seconds: float) -> None:
        self._requests.inc(1, {"model": model, "status": str(status)})
        self._seconds.observe(seconds, {"model": model})
