"""``scene backend|gradio|gallery``: the original tool's servers, as parts of the studio."""

from __future__ import annotations

import os
import sys
import threading
import webbrowser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.runtime.errors import InputError
from models.runtime.settings import Settings
from studio.cli import scene

_VARIABLES = {
    "model_dir": "DA3_MODEL_DIR",
    "workspace_dir": "DA3_WORKSPACE_DIR",
    "gallery_dir": "DA3_GALLERY_DIR",
    "cache_gs_tag": "DA3_CACHE_GS_TAG",
}


def environment(given: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, str]:
    """``env`` with what the flags say; flags that were not given leave it alone."""
    found = {**env, **{name: str(given[flag]) for flag, name in _VARIABLES.items() if given.get(flag)}}
    if given.get("cache_examples"):
        found["DA3_CACHE_EXAMPLES"] = "1"
    return found


def serve(mode: str, given: Mapping[str, Any]) -> None:
    """Serves until stopped.

    Raises:
        InputError: the gallery folder is missing where nothing but the gallery is served.
    """
    settings = Settings.from_env(
        environment(given, os.environ),
        device=given["device"],
        host=given["host"],
        port=given["port"] or scene.SERVERS[mode],
        share=given["share"] or None,
        tabs=("scene",),
    )
    address = f"http://{settings.host}:{settings.port}"
    if given["open_browser"]:
        threading.Timer(1.5, webbrowser.open, (address,)).start()
    if mode == "gradio":
        from studio.services import Studio
        from studio.ui.launch import serve as serve_page

        with Studio.build(settings) as studio:
            serve_page(studio, debug=given["debug"])
        return
    import uvicorn

    print(f"Serving on {address}", file=sys.stderr)
    level = "debug" if given["debug"] else "warning"
    with _application(mode, settings) as app:
        uvicorn.run(app, host=settings.host, port=settings.port, log_level=level)


def _application(mode: str, settings: Settings) -> Any:
    """A context with the web application of a mode."""
    from studio.api.standalone import backend_app, gallery_app

    if mode == "gallery":
        folder = settings.extra.get("DA3_GALLERY_DIR", "")
        if not folder or not Path(folder).expanduser().is_dir():
            raise InputError(f"There is no gallery folder {folder or '(none named)'}: give one with --gallery-dir")
        return gallery_app(settings)
    return backend_app(settings)
