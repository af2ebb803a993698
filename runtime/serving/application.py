"""The endpoint as a web application; what runs the models is handed to it."""

import base64
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any, Protocol

from fastapi import FastAPI, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from segtool.card import ModelCard
from segtool.readers import reader_of
from segtool.runtime.serving.answers import Answer, Form
from segtool.runtime.serving.bodies import Uploads
from segtool.runtime.serving.limits import Limits, Refusal

_OPEN = ("/health", "/ready")  # whoever watches over the server needs no password
_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": _IMAGE,
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["image"],
                    "properties": {"image": {"type": "string", "format": "byte", "description": "The file in base64."}},
                }
            },
        },
    }
}
_REFUSALS = {
    400: "no image in the body, or an option that is not known",
    401: "name or password are missing or wrong",
    404: "no such model",
    408: "the image arrived too slowly",
    413: "file or image too large",
    415: "not an image",
    422: "a damaged image, or not of the size that the model takes",
    503: "busy, or the server is ending: try again after Retry-After seconds",
    504: "no answer in time",
}


class Models(Protocol):
    """What runs the models."""

    def accepted(self, model: str) -> AbstractAsyncContextManager[None]:
        """Lets in one more request, before its body is read, until the block is left: it is answered.

        Raises:
            Refusal: enough are waiting, or the server is ending.
        """
        ...

    async def segment(self, model: str, data: bytes, form: Form) -> Answer:
        """Segments the image in a file's bytes.

        Raises:
            Refusal: it cannot be.
        """
        ...

    async def missing(self) -> list[str]:
        """The models that nothing runs at the moment.

        Raises:
            Refusal: the server is ending.
        """
        ...

    def count(self, model: str, status: int, seconds: float) -> None:
        """Takes note of an answer."""
        ...


def build_application(
    models: Models, cards: Mapping[str, ModelCard], limits: Limits, auth: tuple[str, str] | None = None
) -> FastAPI:
    """The web application.

    Args:
        cards: by the models' names.
        auth: name and password that every request must give (HTTP basic), except those for health and readiness.
    """
    app = FastAPIOffline(title="segtool", summary="Semantic segmentation of images", version="1")
    app.add_middleware(_HeadAsGet)
    uploads = Uploads(limits)
    model_names, readers = list(cards), {name: reader_of(card.input) for name, card in cards.items()}

    @app.middleware("http")
    async def check_password(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        if auth is not None and request.url.path not in _OPEN and not _is_let_in(request, auth):
            refusal = Refusal(401, "name or password are missing or wrong")
            return _refused(refusal, {"WWW-Authenticate": 'Basic realm="segtool"'})
        return await proceed(request)

    @app.exception_handler(Refusal)
    async def refuse(request: Request, refusal: Refusal) -> Response:
        return _refused(refusal, {"Retry-After": "1"} if refusal.status == 503 else {})

    @app.exception_handler(RequestValidationError)
    async def refuse_option(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return _refused(Refusal(400, f"{first['loc'][-1]}: {first['msg']}", "see docs"), {})

    @app.exception_handler(HTTPException)
    async def refuse_address(request: Request, error: HTTPException) -> Response:
        return _refused(Refusal(error.status_code, error.detail, "see docs"), dict(error.headers or {}))

    @app.get("/", include_in_schema=False)
    async def root() -> Response:
        return RedirectResponse("docs")

    @app.get("/health", response_class=PlainTextResponse)
    async def health() -> str:
        """Whether the server lives."""
        return "ok"

    @app.get("/ready", responses={503: {"description": "a model has no replica that runs"}})
    async def ready() -> str:
        """Whether every model can be asked."""
        missing = await models.missing()
        if missing:
            raise Refusal(503, f"not running: {', '.join(missing)}", "try again later")
        return "ready"

    @app.get("/models")
    async def list_models() -> list[dict[str, Any]]:
        """The models: their names, classes and colours, and the limits of what may be sent."""
        return [_described(name, card, limits) for name, card in cards.items()]

    @app.post(
        "/models/{model}/segment",
        response_class=Response,
        openapi_extra=_BODY,
        responses={
            200: {"content": {"image/png": _IMAGE, "application/json": {}, "application/x-npz": _IMAGE}},
            **{status: {"description": text} for status, text in _REFUSALS.items()},
        },
    )
    async def segment(
        request: Request,
        model: Annotated[str, Path(json_schema_extra={"enum": [*model_names]})],
        format: Annotated[
            Form,
            Query(description="png: class ids with a palette. rle: JSON of run lengths. npz: with confidences."),
        ] = "png",
    ) -> Response:
        """Segments an image: the body is the file, or JSON with the file in base64. Addresses are not fetched."""
        start = time.perf_counter()
        status = 500
        try:
            if strange := set(request.query_params) - {"format"}:
                raise Refusal(400, f"no such option: {min(strange)}", "there is format")
            if model not in cards:
                raise Refusal(404, "no such model", f"there is {', '.join(model_names)}")
            async with models.accepted(model):
                data = await uploads.read(request.stream(), _media_type(request), _announced(request), readers[model])
                answer = await models.segment(model, data, format)
            status = 200
        except Refusal as refusal:
            status = refusal.status
            raise
        finally:
            models.count(model if model in cards else "", status, time.perf_counter() - start)
        timing = ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in answer.seconds.items())
        return Response(answer.body, media_type=answer.media_type, headers={"Server-Timing": timing})

    return app


class _HeadAsGet:
    """Whoever watches over a server often asks with HEAD, which FastAPI's routes do not know. No body is sent: the
    server below sees what was asked."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asks_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self._app({**scope, "method": "GET"} if asks_head else scope, receive, send)


def _refused(refusal: Refusal, headers: dict[str, str]) -> Response:
    return JSONResponse({"error": refusal.what, "mend": refusal.mend}, refusal.status, headers)


def _is_let_in(request: Request, auth: tuple[str, str]) -> bool:
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    expected = base64.b64encode(":".join(auth).encode())
    # In constant time, so that the time to a refusal tells nothing of the password.
    return kind.lower() == "basic" and secrets.compare_digest(given.strip().encode(), expected)


def _media_type(request: Request) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _announced(request: Request) -> int | None:
    length = request.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _described(name: str, card: ModelCard, limits: Limits) -> dict[str, Any]:
    return {
        "name": name,
        "architecture": card.architecture,
        "encoder": card.encoder,
        "precision": card.precision,
        "classes": [{"id": c.id, "name": c.name, "color": list(c.color)} for c in card.classes],
        "input": {"kind": card.input.kind, "bands": card.input.bands or "RGB"},
        "limits": {"file_bytes": limits.file_bytes, "pixels": limits.pixels},
    }
