"""Which requests reach gradio, and what becomes of those that it cannot answer."""

import logging
import re
from typing import Any

import gradio as gr
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

# What the page and gradio's clients ask for. gradio has more: it edits videos, fetches addresses for visitors, runs
# functions past the queue. Nothing here needs that, and whoever opens the page to others should not have to know of it.
_PAGE = (
    r"/(config|theme\.css|favicon\.ico|robots\.txt|manifest\.json|pwa_icon(/\d{1,4})?|login|logout)?/?",
    r"/(static|assets|svelte)/.{1,400}",
)
_CALLS = (
    r"(info|openapi\.json|app_id|user|token|login_check|startup-events|theme\.css|upload|upload_progress|cancel|reset)/?",
    r"(heartbeat/[^/]{1,100}|queue/(join|data)|call/.{1,200})/?",
    r"file=(?![A-Za-z][A-Za-z0-9+.-]+:).{1,1000}",  # no address: gradio would fetch it for the visitor
)
OPEN = re.compile("|".join((*_PAGE, *(f"/gradio_api/{call}" for call in _CALLS))), re.DOTALL)


class Door:
    """An ASGI middleware: other paths are not found, and where gradio fails, it is refused and logged.

    Args:
        app: gradio's application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if OPEN.fullmatch(scope["path"].removeprefix(scope.get("root_path", ""))) is None:
            await JSONResponse({"detail": "not found"}, 404)(scope, receive, send)
            return
        begun = False

        async def noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            # gradio takes apart what is sent without looking at it first: functions that are not there, no JSON.
            log.warning("%s %r: %s", scope["method"], scope["path"][:100], f"{type(error).__name__}: {error}"[:300])
            log.debug("of which this is all", exc_info=error)
            if begun:
                return
            if isinstance(error, OSError | MemoryError):  # the machine's fault, such as a full disk
                await JSONResponse({"detail": "not possible at the moment"}, 503)(scope, receive, send)
            else:
                await JSONResponse({"detail": "the request cannot be understood"}, 400)(scope, receive, send)


def without_empty_sessions(page: gr.Blocks) -> None:
    """Takes an empty `session_hash` for none. gradio loses such a call, and prints a traceback for each."""
    push = page._queue.push

    async def pushed(body: Any, *more: Any, **named: Any) -> Any:
        body.session_hash = body.session_hash or None
        return await push(body, *more, **named)

    page._queue.push = pushed  # type: ignore[method-assign]
