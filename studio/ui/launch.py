"""Starting the page: one place for every argument of Gradio's server."""

from __future__ import annotations

import logging
import os
import threading
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from models.runtime.errors import StudioError
from models.runtime.settings import Settings
from pipelines import registry
from studio.compiled import rehearse

if TYPE_CHECKING:
    from studio.services import Studio

log = logging.getLogger("studio.launch")
MAX_THREADS = 80
QUEUE_SECONDS = 0.02


def prepare_environment(settings: Settings) -> None:
    """What Gradio reads from the environment when it is imported: its temporary folder, and no telemetry."""
    settings.temp_dir.mkdir(parents=True, exist_ok=True)
    os.environ["GRADIO_TEMP_DIR"] = str(settings.temp_dir.absolute())
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def launch_kwargs(studio: Studio) -> dict[str, Any]:
    """The arguments for ``Blocks.launch``: REST routes beside the page, limits, login, look, tools."""
    from starlette.middleware import Middleware

    from studio.api.lingering import LingeringUploads
    from studio.api.router import build_router
    from studio.ui.components import MARK_FILE, PRODUCT
    from studio.ui.theme import build_theme, page_head, style_sheet

    settings = studio.settings
    return {
        "server_name": settings.host,
        "server_port": settings.port,
        "share": settings.share,
        "auth": settings.login,
        "auth_message": f"{PRODUCT} is private here: log in to enter.",
        "max_file_size": settings.limits.upload_bytes,
        "max_threads": MAX_THREADS,
        # The router brings its own description of the interface; the page's own routes are no interface.
        "app_kwargs": {
            "routes": build_router(studio).routes,
            "middleware": [Middleware(LingeringUploads)],
            "docs_url": None,
            "redoc_url": None,
        },
        "ssr_mode": False,  # server-side rendering would answer the REST addresses itself
        "mcp_server": find_spec("mcp") is not None,
        "run_history": False,
        "enable_monitoring": False,
        "pwa": False,
        "allowed_paths": [],
        "blocked_paths": [str(settings.weights_dir), str(settings.runs_dir)],
        "footer_links": ["api"],
        "favicon_path": MARK_FILE,
        "theme": build_theme(),
        "css": style_sheet(),
        "head": page_head(),
        # Without this a machine too busy to draw the page within three seconds would be told that it has no localhost,
        # and the server would end.
        "_frontend": False,
        "show_error": False,
        "quiet": False,
    }


def serve(studio: Studio, **overrides: Any) -> Any:
    """Builds the page and serves it until stopped; ``overrides`` win over ``launch_kwargs``.

    Returns what ``Blocks.launch`` returns when ``prevent_thread_lock`` is among them.
    """
    prepare_environment(studio.settings)
    from studio.ui.layout import build_ui

    studio.start_sweeper()
    if "scene" in registry.available(studio.settings.tabs):
        from studio.scene_folders import compute_examples

        compute_examples(studio)
    obtain_embedded(studio)
    rehearse(studio.settings)
    page = build_ui(studio)
    page.queue(default_concurrency_limit=4, max_size=4 * studio.settings.limits.queue_size)
    # Left alone, it looks for events a thousand times a second, a tenth of a core for a server nobody uses.
    page._queue.sleep_when_free = QUEUE_SECONDS
    return page.launch(**(launch_kwargs(studio) | overrides))


def obtain_embedded(studio: Studio) -> threading.Thread | None:
    """Gets what the built-in engines need in the background, where it is missing and may be fetched.

    Where it cannot be had now, the page works all the same: an engine that needs it says what is missing.
    """
    if studio.settings.offline or studio.settings.read_only:
        return None

    def work() -> None:
        try:
            studio.weights.fetch("embedded")
        except StudioError as error:
            log.warning("the embedded models are not complete: %s", error.message)

    thread = threading.Thread(target=work, name="studio-embedded", daemon=True)
    thread.start()
    return thread
