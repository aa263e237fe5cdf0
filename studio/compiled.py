"""Code that is compiled on this machine: kept where it can be written, and made before anybody waits for it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines import registry
from pipelines.rehearsal import HERE, rehearsed

if TYPE_CHECKING:
    from models.runtime.settings import Settings

log = logging.getLogger("studio.compiled")
_FOLDER = "NUMBA_CACHE_DIR"


def keep_compiled(settings: Settings) -> None:
    """Has compiled code kept in the workspace where the program's own folder cannot be written; before numba loads."""
    if not os.access(HERE, os.W_OK):
        os.environ.setdefault(_FOLDER, str(settings.workspace_dir / "compiled"))


def rehearse(settings: Settings) -> subprocess.Popen[bytes] | None:
    """Compiles what the tabs have not compiled yet, in a process of its own that stands back behind this one."""
    if settings.zero_gpu or settings.read_only:
        return None
    wanting = [name for name in registry.available(settings.tabs) if _wanting(name)]
    if not wanting:
        return None
    command = [sys.executable, "-m", f"{HERE.name}.rehearsal", *wanting]
    try:
        return subprocess.Popen(command, cwd=Path(HERE).parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError as error:  # the first run will compile what it needs
        log.warning("nothing is compiled ahead: %s", error)
        return None


def _wanting(pipeline_id: str) -> bool:
    return pipeline_id in registry.REHEARSED and not rehearsed(pipeline_id).is_file()
