"""The door: builds the studio and opens its page, on this machine, in a container or on a Hugging Face Space."""

from __future__ import annotations

import os

if os.environ.get("SPACE_ID") or os.environ.get("SPACES_ZERO_GPU"):
    import spaces  # noqa: F401  must come before anything that loads torch

from models.runtime.settings import Settings
from studio import instance
from studio.services import Studio
from studio.ui.launch import serve

settings = Settings.from_env(os.environ)
if settings.space_id and "GRADIO_SERVER_NAME" not in os.environ:
    settings = settings.with_(host="0.0.0.0")
studio = Studio.build(settings)


def main() -> None:
    """Serves on the port of the settings, or beside an earlier studio that holds it."""
    choice = instance.choose_port(settings.port, settings.workspace_dir, settings.host)
    if choice.note:
        print(choice.note)
    instance.register(settings.workspace_dir, choice.port)
    with studio:
        serve(studio, server_port=choice.port)


if __name__ == "__main__":
    main()
