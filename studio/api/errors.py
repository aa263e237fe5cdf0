"""Every answer of the REST surface is JSON, refusals too: ``{"error": message}`` with the fitting status."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from models.runtime.errors import StudioError

log = logging.getLogger("studio.api")


class Unauthorized(StudioError):
    """No or wrong credentials."""

    http_status = 401


def refusal(message: str, status: int, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": message}, status, headers)


class JsonRoute(APIRoute):
    """A route that answers in JSON whatever goes wrong inside it.

    The framework's application-wide handlers belong to the browser's page, so the routes bring their own.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except StudioError as error:
                headers = {"WWW-Authenticate": "Bearer"} if error.http_status == 401 else None
                return refusal(error.message, error.http_status, headers)
            except RequestValidationError as error:
                return refusal("; ".join(_explain(item) for item in error.errors()), 422)
            except HTTPException as error:
                return refusal(str(error.detail), error.status_code, dict(error.headers or {}))
            except ClientDisconnect:
                return refusal("The connection was closed before the request was complete", 400)
            except Exception:
                reference = secrets.token_hex(4)
                log.exception("%s %s failed, reference %s", request.method, request.url.path, reference)
                return refusal(f"Something went wrong inside the studio (reference {reference})", 500)

        return answer


def _explain(item: dict[str, Any]) -> str:
    where = ".".join(str(part) for part in item.get("loc", ()) if part not in ("query", "path", "body", "header"))
    return f"{where}: {item.get('msg', 'not valid')}"
