"""``serve``: the page in the browser."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from models.runtime.settings import Settings


def add(app: typer.Typer) -> None:
    """Adds the command to ``app``."""

    @app.command()
    def serve(
        port: Annotated[
            int | None, typer.Option(min=1, max=65535, help="The port; the next free one if taken.")
        ] = None,
        listen: Annotated[bool, typer.Option("--listen", help="Let other machines of the network in.")] = False,
        share: Annotated[bool, typer.Option("--share", help="Open a temporary public address.")] = False,
        restart: Annotated[bool, typer.Option("--restart", help="Replace an earlier studio even if it works.")] = False,
        device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = None,
    ) -> None:
        """Open the studio in the browser."""
        from studio import instance
        from studio.services import Studio
        from studio.ui.launch import serve as serve_page

        host = "0.0.0.0" if listen else None
        settings = Settings.from_env(os.environ, host=host, port=port, share=share or None, device=device)
        choice = instance.choose_port(settings.port, settings.workspace_dir, settings.host, restart)
        if choice.note:
            print(choice.note, file=sys.stderr)
        settings = settings.with_(port=choice.port)
        if not settings.loopback and settings.login is None:
            print("Everyone who reaches this address may use the studio; STUDIO_LOGIN=user:password asks for a login.")
        instance.register(settings.workspace_dir, settings.port)
        with Studio.build(settings) as studio:
            serve_page(studio)
