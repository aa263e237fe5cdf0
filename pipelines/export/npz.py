"""Arrays in ``.npz`` files: compressed, whole or not at all, and never with pickled objects."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from models.runtime.errors import InputError
from pipelines.media.atomic import replacing


def write_npz(path: Path, arrays: Mapping[str, ArrayLike], level: int = 3) -> Path:
    """Writes named arrays; ``level`` 0 stores, 1..9 deflates (3 is several times faster than numpy's own 6).

    Raises:
        ValueError: an array holds Python objects.
    """
    method = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", method, compresslevel=level or None) as archive,
    ):
        for name, value in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(value), allow_pickle=False)
    return Path(path)


def read_npz(path: Path, only: Collection[str] | None = None) -> dict[str, np.ndarray]:
    """All arrays, or those named in ``only``.

    Raises:
        InputError: missing, damaged, holding objects, or without an array that was asked for.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = sorted(set(only or ()) - set(archive.files))
            if missing:
                raise InputError(f"{path.name} has no array {', '.join(missing)}; it holds {', '.join(archive.files)}")
            return {name: archive[name] for name in (archive.files if only is None else only)}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path.name} is not a readable .npz of plain arrays; make or download it again") from error
