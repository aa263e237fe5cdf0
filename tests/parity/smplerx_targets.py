"""SMPLer-X: what the network is taught of one person in one crop."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import numpy as np

from pipelines.body.training.targets import (
    CameraModel,
    Truth,
    View,
    box_target,
    model_targets,
    point_targets,
)
from tests.parity.runner import Case, Check, absolute, exact, kind
from tests.parity.smplerx import body_of

EVERY = 10  # vertices kept in the stored meshes
LIFT = np.array([0.0, 0.0, 5.0])  # before the camera, for the stored joints that are projected


def _numbers(text: str, word: str) -> np.ndarray:
    return np.array([float(v) for v in re.search(rf"{word} ([\d.]+)/([\d.]+)", text).groups()])


@kind("smplerx", "targets*")
def targets(case: Case) -> Iterator[Check]:
    focal, principal = (_numbers(case.meta["camera"], word) for word in ("focal", "princpt"))
    height, width = case.meta["image_hw"]
    body = body_of(case)
    for index, (_, degrees, flip) in enumerate(json.loads(case.meta["specs"].split("=")[1])):
        stored = case.named(f"c{index}_")
        given = case.named(f"c{index}_in_")
        view = View(stored["img2bb"], degrees, flip, (width, height))
        camera = CameraModel(focal, principal, given.get("R"), given.get("t"))
        hands = [given[f"{s}_pose"] if bool(given[f"{s}_valid"]) else None for s in ("lhand", "rhand")]
        face = [given[n] if bool(given["face_valid"]) else None for n in ("jaw_pose", "expr")]
        truth = Truth(given["root_pose"], given["body_pose"], given["shape"], given["trans"], *hands, *face)
        made = model_targets(body, truth, camera, view)
        points = point_targets(*(stored[f"db_in_{n}"] for n in ("joint_img", "joint_cam", "joint_valid")), view)
        for name, value in {
            "joint_img": made.joint_img,
            "joint_cam": made.joint_cam,
            "pose": made.pose,
            "shape": made.shape,
            "expr": made.expression,
            "mesh_cam_orig": made.mesh[::EVERY],
            "db_joint_img": points.img,
            "db_joint_cam_wo_ra": points.cam_turned,
            "db_joint_cam_ra": points.cam_parts,
            "handbox_out": box_target(stored["handbox_in_xyxy"], view),
            "cam2pixel": camera.pixels(stored["db_in_joint_cam"] + LIFT),
            "pixel2cam": camera.points(stored["cam2pixel"]),
        }.items():
            yield absolute(f"c{index}_{name}", value, stored[name], 1e-4)
        for name, mask in {
            "joint_trunc": made.joint_trunc,
            "rotation_valid": made.rotation_valid,
            "coord_valid": made.coord_valid,
            "expr_valid": np.array(made.expression_valid),
            "db_joint_valid": points.valid,
            "db_joint_trunc": points.trunc,
        }.items():
            yield exact(f"c{index}_{name}", mask, stored[name])
