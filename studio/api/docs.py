"""The page at ``/docs``, with everything it needs from this server: a description of an interface on one's own machine
should neither need nor tell the internet."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from models.runtime.errors import NotFound

_ASSETS = {"swagger-ui-bundle.js": "text/javascript", "swagger-ui.css": "text/css"}
_ONE_DAY = {"cache-control": "public, max-age=86400"}


def add_docs(router: APIRouter) -> None:
    """Adds the page and its two assets, which the package fastapi-swagger carries."""

    # Addresses are relative, so that the page also works behind a prefix.
    @router.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title="Likeness Studio: interface",
            swagger_js_url="docs/swagger-ui-bundle.js",
            swagger_css_url="docs/swagger-ui.css",
            swagger_favicon_url="favicon.ico",
            swagger_ui_parameters={"defaultModelsExpandDepth": 0, "displayRequestDuration": True},
        )

    @router.get("/docs/{name}", include_in_schema=False)
    def asset(name: str) -> Response:
        if name not in _ASSETS:
            raise NotFound("There is no such file")
        return Response((files("fastapi_swagger") / "resources" / name).read_bytes(), 200, _ONE_DAY, _ASSETS[name])
