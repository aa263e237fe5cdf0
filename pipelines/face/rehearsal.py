"""Calls everything of the embedded engine that is compiled, once, on a face that is made up."""

from __future__ import annotations

import numpy as np

from pipelines.face import exports
from pipelines.face.canonical import canonical_face
from pipelines.face.expression import still_expression
from pipelines.face.facemesh import FaceLens, fit_head, with_silhouette
from pipelines.face.repose import FACING
from pipelines.face.texture import bake
from pipelines.tracking.regions import Border, Region

SIDE, TEXTURE = 96, 256
AWAY = 0.4  # metres


def rehearse() -> None:
    """Measures, paints and draws a head on a grey picture."""
    lens = FaceLens.assumed(SIDE, SIDE, 50.0)
    place = canonical_face().positions @ FACING.T + (0, 0, AWAY)
    landmarks = np.concatenate([lens.project(place), place[:, 2:] * lens.focal[0] / AWAY], axis=1).astype(np.float32)
    photo, mask = np.full((SIDE, SIDE, 3), 128, np.uint8), np.ones((SIDE, SIDE), np.float32)
    for border in Border:
        Region(SIDE / 2, SIDE / 2, SIDE).cut(photo, 64, border)
    fit = with_silhouette(fit_head(landmarks, lens, 0.063), lens, mask)
    texture = bake(photo, fit, lens, TEXTURE, mask)
    rest, weights = still_expression(fit)
    exports.over_photo(photo, lens, fit, texture)
    exports.depth_picture(photo, lens, [fit])
    exports.head_picture(fit.vertices(), texture)
    exports.head_picture(next(iter(rest.moving(weights[None]))), texture, size=SIDE, shared=False)
