"""Sizes of SMPLer-X (Cai et al., NeurIPS 2023)."""

from __future__ import annotations

from dataclasses import dataclass

CROP = (512, 384)  # (height, width) of the crop handed to the network
BODY = (256, 192)  # (height, width) inside, every second pixel
PATCH = 16
GRID = (16, 12)  # (height, width) of the patch grid
BODY_HEATMAP = (16, 16, 12)  # depth, height, width
HAND_HEATMAP = (16, 16, 16)
FOCAL = 5000.0  # pixels of the virtual camera for a BODY-sized crop
CAMERA_SIZE = 2.5  # metres
BODY_JOINTS, HAND_JOINTS = 25, 20
TASK_TOKENS = 31  # shape, camera, expression, jaw, two unused, then the body joints
HAND_EXTENSION, FACE_EXTENSION = 2.0, 1.5


@dataclass(frozen=True)
class SmplerxConfig:
    """A backbone size: ViT width, depth and heads; ``drop_path`` is the last block's share of dropped samples while
    it is trained."""

    width: int
    depth: int
    heads: int
    drop_path: float


VARIANTS = {
    "s32": SmplerxConfig(384, 12, 12, 0.1),
    "b32": SmplerxConfig(768, 12, 12, 0.3),
    "l32": SmplerxConfig(1024, 24, 16, 0.5),
    "h32": SmplerxConfig(1280, 32, 16, 0.55),
}
