"""Servers without the page: Depth Anything 3's backend and its gallery, each at the addresses of the original."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter, FastAPI

from models.runtime.settings import Settings
from studio.api.auth import caller_dependency
from studio.api.da3_backend import add_da3
from studio.api.da3_gallery import add_gallery
from studio.api.errors import JsonRoute
from studio.api.lingering import LingeringUploads
from studio.api.router import build_router
from studio.services import Studio


@contextmanager
def backend_app(settings: Settings) -> Iterator[FastAPI]:
    """The backend at the root, and all of the studio's REST interface beside it."""
    with Studio.build(settings) as studio:
        router = APIRouter(route_class=JsonRoute)
        add_da3(router, studio, caller_dependency(settings), base="")
        app = FastAPI(title="Depth Anything 3 backend", docs_url="/docs", openapi_url=None)
        app.add_middleware(LingeringUploads)
        app.include_router(build_router(studio))
        app.include_router(router)
        studio.start_sweeper()
        yield app


@contextmanager
def gallery_app(settings: Settings) -> Iterator[FastAPI]:
    """The gallery at the root."""
    router = APIRouter(route_class=JsonRoute)
    add_gallery(router, settings, caller_dependency(settings), base="")
    app = FastAPI(title="Scene gallery", docs_url=None, openapi_url=None)
    app.add_middleware(LingeringUploads)
    app.include_router(router)
    yield app
