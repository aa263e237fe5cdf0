"""Putting a lip network's picture back into the frame: what of it counts, with a soft edge, and sharpened if asked."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from models.runtime.errors import WeightsMissing
from models.runtime.weights import WeightsStore
from pipelines.base import RunContext
from pipelines.talk import alignment
from pipelines.talk.face_networks import blur_confidence
from pipelines.talk.lips import NetworkFile, parsing_masks, restored_faces, xseg_masks
from pipelines.talk.options import BlendOptions

# The lower face: the contour from temple to temple, closed over the cheeks and the nose.
LOWER_FACE = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454,
              425, 360, 4, 131, 205)  # fmt: skip
SHARP_ENOUGH = 90.0  # variance of the Laplacian of the face at 256 pixels from which nothing is restored
ATTRIBUTES = "heygem-face-attr"
BLURRED = 0.3  # confidence of the attribute network from which a face is restored, as in the original
HYSTERESIS = 1.25  # how much sharper a face must be for restoring to stop
_FILES = {
    "parsing": (("bisenet", "bisenet-79999"), ("bisenet", "heygem-bisenet")),
    "xseg": (("xseg", "heygem-xseg"),),
    "restore": (("gfpgan", "gfpgan-1.4"), ("gfpgan", "heygem-gfpgan")),
}


def file_for(job: str, weights: WeightsStore) -> NetworkFile:
    """The installed file for a job of ``_FILES``. Raises WeightsMissing naming what to get."""
    for network, weight in _FILES[job]:
        if weights.installed(weight):
            return NetworkFile(network, weights.path(weight))
    first = _FILES[job][0][1]
    raise WeightsMissing(f"This needs {first}: open the Models tab or run `python -m studio weights get {first}`")


class Blender:
    """Pastes one batch of crops after the other. ``Box`` is top, bottom, left, right in pixels of the frame."""

    def __init__(self, options: BlendOptions, ctx: RunContext) -> None:
        self.options = options
        self._settings = ctx.settings
        self._mask_file = None if options.mask == "landmarks" else file_for(options.mask, ctx.weights)
        self._restore_file = None if options.restore == "off" else file_for("restore", ctx.weights)
        self._restoring = False
        self._attributes = None
        if options.restore == "auto" and ctx.weights.installed(ATTRIBUTES):
            self._attributes = NetworkFile(ATTRIBUTES, ctx.weights.path(ATTRIBUTES))

    def paste(
        self,
        frame: np.ndarray,
        made: np.ndarray,
        box: tuple[int, int, int, int],
        points: np.ndarray,
        rows: int | None = None,
        weight: float = 1.0,
    ) -> None:
        """Puts ``made`` (h, w, 3) uint8 of the box's size into ``frame`` in place; only its first ``rows``."""
        top, bottom, left, right = box
        height, width = frame.shape[:2]
        y0, y1, x0, x1 = max(0, top), min(height, bottom), max(0, left), min(width, right)
        if y1 <= y0 or x1 <= x0:
            return
        mask = self._mask(made, points[:, :2] - [left, top])
        if rows is not None:
            mask[rows:] = 0
            soft = max(1, round(0.06 * len(mask)))
            mask[max(0, rows - soft) : rows] *= np.linspace(1, 0, rows - max(0, rows - soft))[:, None]
        part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        old = frame[y0:y1, x0:x1].astype(np.float32)
        alpha = (mask[part] * weight)[..., None]
        frame[y0:y1, x0:x1] = np.clip(old + (made[part].astype(np.float32) - old) * alpha, 0, 255).astype(np.uint8)

    def _mask(self, made: np.ndarray, points: np.ndarray) -> np.ndarray:
        """(h, w) float32 0..1 for a crop and landmarks in its pixels."""
        height, width = made.shape[:2]
        mask = np.zeros((height, width), np.uint8)
        cv2.fillPoly(mask, [np.round(points[list(LOWER_FACE)] * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
        soft = mask.astype(np.float32) / 255
        if self._mask_file is not None:
            call, side = (parsing_masks, 512) if self.options.mask == "parsing" else (xseg_masks, 256)
            crop = cv2.resize(made, (side, side), interpolation=cv2.INTER_LINEAR)
            soft *= cv2.resize(call(self._mask_file, self._settings, crop[None])[0], (width, height))
        sigma = self.options.feather * max(height, width) / 2
        if sigma > 0.3:
            inner = cv2.erode(soft, np.ones((3, 3), np.uint8), iterations=max(1, round(sigma)))
            soft = cv2.GaussianBlur(inner, (0, 0), sigma)
        return soft

    def restore(self, frame: np.ndarray, points: Sequence[np.ndarray]) -> int:
        """Sharpens the faces of a frame in place where that is asked for; how many."""
        if self._restore_file is None:
            return 0
        count = 0
        for landmarks in points:
            matrix = alignment.ffhq_matrix(alignment.five_points(landmarks))
            if matrix is None:
                continue
            crop = alignment.warp(frame, matrix, 512, alignment.FFHQ_BORDER)
            if self.options.restore == "auto" and not self._blurred(crop):
                continue
            face = restored_faces(self._restore_file, self._settings, crop[None])[0]
            frame[:] = alignment.paste_oval(frame, face, alignment.inverse(matrix))
            count += 1
        return count

    def _blurred(self, crop: np.ndarray) -> bool:
        """Whether a face needs sharpening; once it does it must get clearly sharper until it no longer does.

        By HeyGem's attribute network where that is installed, else by how strong the finest detail is.
        """
        if self._attributes is not None:
            blur = float(blur_confidence(self._attributes, self._settings, crop[None])[0])
            self._restoring = blur > BLURRED / (HYSTERESIS if self._restoring else 1.0)
            return self._restoring
        grey = cv2.cvtColor(cv2.resize(crop, (256, 256), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
        sharp = float(cv2.Laplacian(grey, cv2.CV_32F).var())
        self._restoring = sharp < SHARP_ENOUGH * (HYSTERESIS if self._restoring else 1.0)
        return self._restoring
