"""The character sheet of a 3D character: drawings from several sides, with their UDPs."""

from __future__ import annotations

import numpy as np

from pipelines.character.options import ViewOptions
from pipelines.character.stage import Stage
from pipelines.export.retarget import human, motion_of
from pipelines.render.skinned import SkinnedBody, picture
from pipelines.render.udp import udp_frame

Array = np.ndarray
SHEET_SIDE = 640
SHEET_VIEWS = (0.0, 180.0, 90.0, -90.0, 35.0, -145.0)  # degrees by which the character is turned in them
_STRETCH = 55.0  # degrees by which arms are lifted in every second drawing, so that what they hide is shown
_LOWERED = 40.0


def sheet_stage(body: SkinnedBody, yaw: float, lifted: bool, side: int) -> Stage:
    """The body before the camera as a sheet shows it: at rest, or with arms lifted and legs apart."""
    turns = np.tile(np.eye(3), (1, len(human().parents), 1, 1))
    known = human().known
    if lifted:
        for name, angle in (
            ("left_shoulder", _STRETCH),
            ("right_shoulder", -_STRETCH),
            ("left_hip", 14.0),
            ("right_hip", -14.0),
        ):
            for joint in _chain(known[name]):
                turns[0, joint] = _about_z(angle)
    else:
        for name, angle in (("left_shoulder", -_LOWERED), ("right_shoulder", _LOWERED)):
            for joint in _chain(known[name]):
                turns[0, joint] = _about_z(angle)
    motion = motion_of(turns, np.zeros((1, 3)), 1.0)
    return Stage(body, motion, ViewOptions(yaw=yaw), (side, side))


def _chain(top: int) -> list[int]:
    """A joint and everything that hangs on it."""
    kept = [top]
    for joint, parent in enumerate(human().parents):
        if parent in kept:
            kept.append(joint)
    return kept


def _about_z(degrees: float) -> Array:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def made_sheet(
    body: SkinnedBody, values: Array, views: tuple[float, ...] = SHEET_VIEWS, side: int = SHEET_SIDE
) -> list[tuple[Array, Array]]:
    """Drawings of a 3D character with their UDPs, from several sides; every second one with its arms lifted."""
    pairs = []
    for number, yaw in enumerate(views):
        stage = sheet_stage(body, yaw, number % 2 == 1, side)
        vertices, camera = stage.vertices(0), stage.camera(0)
        pairs.append((picture(body, vertices, camera), udp_frame(body, vertices, camera, values)))
    return pairs
