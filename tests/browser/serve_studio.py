"""Serves the studio for a browser test: ``python -m tests.browser.serve_studio PORT WORKSPACE``, with ``--real``,
``--login USER:PASSWORD`` or ``--tabs ID ...``.

Without ``--real`` the Scene pipeline is the quick stand-in of this folder.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from models.runtime.settings import Settings
from pipelines import registry
from studio.services import Studio
from studio.ui.launch import serve


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--login", default="")
    parser.add_argument("--tabs", nargs="+", default=["scene"])
    given = parser.parse_args()
    if not given.real:
        registry.PIPELINES["scene"] = "tests.browser.fake_scene:FakeScene"
    env = {**os.environ, "STUDIO_WORKSPACE": str(given.workspace), "STUDIO_OFFLINE": "1", "STUDIO_LOGIN": given.login}
    serve(Studio.build(Settings.from_env(env, port=given.port, tabs=tuple(given.tabs))))


if __name__ == "__main__":
    main()
