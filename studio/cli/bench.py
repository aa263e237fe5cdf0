"""``bench``: the measurements of the ``benchmarks`` folder."""

from __future__ import annotations

import importlib.util
import pkgutil
import runpy
import sys
from typing import Annotated

import typer

from models.runtime.errors import NotFound

_PACKAGE = "benchmarks"


def add(app: typer.Typer) -> None:
    """Adds the command to ``app``."""

    @app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def bench(
        context: typer.Context,
        name: Annotated[str | None, typer.Argument(help="Which benchmark; without one they are listed.")] = None,
    ) -> None:
        """Run a benchmark; what follows its name goes to it."""
        known = _known()
        if name is None:
            print("\n".join(known) if known else "There are no benchmarks here")
            return
        if name not in known:
            raise NotFound(f"No benchmark {name!r}; known are {', '.join(known) or 'none'}")
        sys.argv = [f"{_PACKAGE}.{name}", *context.args]
        runpy.run_module(f"{_PACKAGE}.{name}", run_name="__main__", alter_sys=True)


def _known() -> list[str]:
    spec = importlib.util.find_spec(_PACKAGE)
    places = list(spec.submodule_search_locations or ()) if spec else []
    return sorted(module.name for module in pkgutil.iter_modules(places) if not module.name.startswith("_"))
