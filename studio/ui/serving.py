"""Result files for the browser: each is linked into the web framework's own temporary folder, the only place it serves.

The workspace itself is never opened to the web. Deleting a run also deletes these links (they share its content), and
the sweeper drops those not shown for a day.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from urllib.parse import quote

from models.runtime.settings import Settings
from studio.runs import RunStore, shown_folder


def shown(runs: RunStore, run_id: str, path: str) -> str:
    """Where the run's output ``path`` can be served from. Raises NotFound when the run has no such file."""
    return lend(runs.settings, run_id, runs.file(run_id, path))


def lend(settings: Settings, run_id: str, source: Path) -> str:
    """A place under the temporary folder that shows ``source``, a file of the run.

    The folder name carries the file's inode and size, so a file that was written anew gets a new address; the inode
    cannot be used again while our link to it exists.
    """
    facts = source.stat()
    target = shown_folder(settings, run_id) / f"{facts.st_ino:x}-{facts.st_size:x}" / source.name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            os.link(source, part)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, part)
        part.replace(target)
    os.utime(target)
    return str(target.absolute())


def address(shown_path: str) -> str:
    """The address of a shown file, relative to the page."""
    return f"gradio_api/file={quote(Path(shown_path).as_posix())}"
