"""What the started server is made of, seen from outside."""

from __future__ import annotations

import pytest

from models.runtime.settings import Settings
from studio.services import Studio

pytest.importorskip("gradio")


def test_a_served_page_rests_when_nobody_asks_and_hears_refused_uploads_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from studio.api.lingering import LingeringUploads
    from studio.ui.launch import QUEUE_SECONDS, serve

    for name in ("GRADIO_TEMP_DIR", "GRADIO_ANALYTICS_ENABLED", "HF_HUB_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, "")  # serving sets them; they go back to what they were
    with Studio.build(settings.with_(tabs=("talk",))) as studio:
        app, _, _ = serve(studio, prevent_thread_lock=True, quiet=True)
        page = app.get_blocks()
        try:
            assert page._queue.sleep_when_free == QUEUE_SECONDS
            assert LingeringUploads in [layer.cls for layer in app.user_middleware]
        finally:
            page.close(verbose=False)
