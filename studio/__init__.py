"""Floor 3: what people touch. The only floor that knows the web framework and the command line."""

from __future__ import annotations

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def _version() -> str:
    """The version in pyproject.toml of a checkout, else that of the installed package."""
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    if project.is_file():
        return str(tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"])
    try:
        return version("likeness-studio")
    except PackageNotFoundError:
        return "0"


__version__ = _version()
