"""``python -m pipelines.rehearsal face ...``: compiles what pipelines have to compile, before anybody waits for it.

numba keeps compiled code on disk; the first run of a fresh installation would spend half a minute on making it.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 10  # how far this stands back behind what people wait for


def rehearsed(pipeline_id: str) -> Path:
    """The file that tells that a pipeline's code, as it is now, has been compiled."""
    seen = hashlib.sha256(f"{sys.version} {version('numba')}".encode())
    for path in sorted(HERE.rglob("*.py")):
        state = path.stat()
        seen.update(f"{path.name} {state.st_size} {state.st_mtime_ns}".encode())
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or HERE / "__pycache__")
    return folder / f"rehearsed-{pipeline_id}-{seen.hexdigest()[:16]}"


def main(pipeline_ids: Sequence[str]) -> None:
    """Rehearses pipelines one after the other."""
    from pipelines import registry

    if hasattr(os, "nice"):
        os.nice(PATIENCE)
    for pipeline_id in pipeline_ids:
        registry.get(pipeline_id).rehearse()
        told = rehearsed(pipeline_id)
        told.parent.mkdir(parents=True, exist_ok=True)
        for earlier in told.parent.glob(f"rehearsed-{pipeline_id}-*"):
            earlier.unlink(missing_ok=True)
        told.touch()


if __name__ == "__main__":
    main(sys.argv[1:])
