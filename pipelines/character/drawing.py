"""From the files of a drawing to a figure: picture, mask and joints as given, or found."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.runtime.cache import ModelCache
from models.runtime.errors import InputError
from models.runtime.settings import Limits
from models.runtime.weights import WeightsStore
from pipelines.character.cutout import Segmenter, cut_out, has_alpha, with_rim
from pipelines.character.figure import Figure, check_joints, read_char_cfg
from pipelines.character.find_joints import find_joints
from pipelines.media.image import read_image, read_image_rgba
from pipelines.tracking.networks import BlazeNetworks

SELFIE_FILE = "mediapipe-selfie-segmentation"
_LARGEST_SIDE = 2048


def read_figure(
    drawing: Path, mask: Path | None, rig: Path | None, limits: Limits, segment: Segmenter | None = None
) -> tuple[Figure, list[str]]:
    """The figure, and notes for the user.

    Args:
        drawing: a picture, cut out or not.
        mask: what belongs to the figure, white on black; of the drawing's proportions.
        rig: AnimatedDrawings' ``char_cfg.yaml``; without it the joints are found.
        segment: finds people in photos.

    Raises:
        InputError: unreadable, no figure, or a rig or mask of another picture.
    """
    rgba = read_image_rgba(drawing, limits)
    if mask is not None:
        rgba = with_mask(rgba, read_image(mask, limits), mask.name)
    elif not has_alpha(rgba):
        rgba = cut_out(rgba, segment=segment)
    joints, size = (None, rgba.shape[:2]) if rig is None else read_char_cfg(rig)
    if joints is not None:
        ratio = np.array(rgba.shape[1::-1]) / np.array(size[::-1])
        if not 0.97 < ratio[0] / ratio[1] < 1.03:
            raise InputError(
                f"{rig.name} describes a picture of {size[1]}x{size[0]}, but {drawing.name} has "
                f"{rgba.shape[1]}x{rgba.shape[0]}; they do not belong together"
            )
        joints = joints * ratio
    scale = min(1.0, _LARGEST_SIDE / max(rgba.shape[:2]))
    notes: list[str] = []
    if joints is None:
        found = find_joints(rgba[..., 3])
        joints, notes = found.joints, list(found.notes)
    check_joints(joints, rgba.shape)
    figure = Figure(rgba, joints)
    return (figure if scale == 1.0 else figure.scaled(scale)), notes


def with_mask(rgba: NDArray[np.uint8], mask: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """The picture (H, W, 4) with the transparency of a mask (h, w, 3), white where the figure is.

    Raises:
        InputError: another proportion, or a mask without anything in it.
    """
    height, width = rgba.shape[:2]
    if abs(mask.shape[1] / mask.shape[0] / (width / height) - 1) > 0.03:
        raise InputError(
            f"{name} is {mask.shape[1]}x{mask.shape[0]}, which does not fit the drawing's {width}x{height}"
        )
    grey = cv2.resize(mask.max(2), (width, height), interpolation=cv2.INTER_LINEAR)
    if not (grey > 127).any() or (grey > 127).all():
        raise InputError(f"{name} is all of one colour; a mask is white where the figure is and black elsewhere")
    return with_rim(np.ascontiguousarray(rgba[..., :3]), grey > 127)


def segmenter(cache: ModelCache, weights: WeightsStore) -> Segmenter | None:
    """Finds people in photos, where the model for that is installed."""
    if not weights.installed(SELFIE_FILE):
        return None
    networks = BlazeNetworks(cache, weights)

    def segment(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        found = networks.people_mask(rgb)
        return cv2.resize(found, rgb.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    return segment
