"""Reading ultra-dense pose (UDP) frames: X, Y, Z of the rest model and visibility per pixel, all from 0 to 1."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.runtime.errors import InputError

FIELD = "i"  # name of the array in the published .npz frames


def read_udp(path: Path) -> NDArray[np.float32]:
    """One frame (H, W, 4) float32 from ``.npz``, float TIFF or EXR, or an 8- or 16-bit PNG.

    Raises:
        InputError: unreadable, or not four channels.
    """
    return decode_udp(path.read_bytes(), path.name)


def decode_udp(data: bytes, name: str) -> NDArray[np.float32]:
    """As ``read_udp``, from the bytes of a file called ``name``."""
    if ".npz" in name[1:]:
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                if FIELD not in archive.files:
                    raise InputError(f"{name} has no array {FIELD!r}; it holds {', '.join(archive.files) or 'nothing'}")
                udp = archive[FIELD]
        except (ValueError, OSError, EOFError) as error:
            raise InputError(f"{name} is not a readable .npz file") from error
    else:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise InputError(f"{name} is not a picture this machine can read")
        if image.ndim != 3 or image.shape[2] != 4:
            raise InputError(f"{name} has no four channels; a UDP frame holds X, Y, Z and visibility")
        udp = image[..., [2, 1, 0, 3]]
        if udp.dtype in (np.uint8, np.uint16):  # the original refuses these; scaled they are usable
            udp = udp / np.float32(np.iinfo(udp.dtype).max)
    if udp.ndim != 3 or udp.shape[2] != 4:
        raise InputError(f"{name} is {udp.shape}; a UDP frame is (height, width, 4)")
    return np.ascontiguousarray(udp, dtype=np.float32)


def udp_mask(udp: NDArray[np.floating]) -> NDArray[np.uint8]:
    """The 8-bit RGBA picture (H, W, 4) that goes through the crop beside a UDP; its alpha gives box and mask."""
    return np.clip(udp.astype(np.float32) * 255, 0, 255).astype(np.uint8)
