"""SMPLer-X around the network: boxes, crops, choice of people, files, and the whole way of a picture."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import torch

from models.smplerx.camera import full_frame_camera
from models.smplerx.network import pose_bodies
from pipelines.body import boxes
from pipelines.body.outputs import obj_text
from tests.parity.runner import Case, Check, absolute, exact, relative
from tests.parity.runner import kind as kind_of
from tests.parity.smplerx import body_of, network_of

TRAIN_RATIO = 1.2 * 0.833


@kind_of("smplerx", "preprocess*")
def preprocess(case: Case) -> Iterator[Check]:
    size = tuple(case.meta["image_size_wh"])
    given = case["boxes_xywh"]
    clean = [boxes.sanitize(b, size) for b in given]
    yield exact("valid", np.array([c is not None for c in clean]), case["valid"])
    for name, found in (
        ("sanitized", clean),
        ("processed_125", [boxes.process(b, size) for b in given]),
        ("processed_train", [boxes.process(b, size, TRAIN_RATIO) for b in given]),
    ):
        ok = case["valid"]
        yield absolute(name, np.stack([f for f in found if f is not None]), case[name][ok], 1e-4)
    forward, back = [], []
    for cx, cy, w, h, scale, degrees in case["affine_cx_cy_w_h_scale_rot"]:
        box = np.array([cx - w / 2, cy - h / 2, w, h])
        forward.append(boxes.crop_matrix(box, scale, degrees))
        back.append(boxes.crop_matrix(box, scale, degrees, inverse=True))
    yield relative("affine_fwd", np.stack(forward), case["affine_fwd"], 1e-5, floor=10.0)
    yield relative("affine_inv", np.stack(back), case["affine_inv"], 1e-5, floor=10.0)
    specs = case.meta["patch_specs"].split("=")[1]
    image = case["image"]
    for i, (scale, degrees, flip) in enumerate(_specs(specs)):
        out = case[f"patch{i}_cv5"].shape[1::-1]
        got = boxes.crop(image, case["patch_bbox_xywh"][i], scale, degrees, flip, out)
        yield absolute(f"patch{i}", got, case[f"patch{i}_cv5"], 0.02)


def _specs(text: str) -> list[tuple[float, float, bool]]:
    return [(float(s), float(r), bool(f)) for s, r, f in json.loads(text)]


@kind_of("smplerx", "detections*")
def detections(case: Case) -> Iterator[Check]:
    found = case["detections_xyxy_score"]
    ordered = found[boxes.area_order(found)]
    yield exact("sorted_by_area", ordered, case["sorted_by_area"])
    for name in case.arrays:
        if name.startswith("nms_"):
            yield exact(name, ordered[boxes.suppress(ordered, float(name[4:]))], case[name])
    yield absolute("iou_matrix", boxes.iou_pixels(found), case["iou_matrix"], 1e-6)
    for name in case.arrays:
        if name.startswith("kept_after_nms_"):
            iou, gate = name.removeprefix("kept_after_nms_").split("_bbox_thr_")
            rows = ordered[boxes.suppress(ordered, float(iou))]
            yield exact(name, np.array([boxes.large_enough(r, float(gate)) for r in rows]), case[name])


@kind_of("smplerx", "files*")
def files(case: Case) -> Iterator[Check]:
    yield exact("obj_text", np.array([obj_text(case["vertices"], case["faces"])]), case["obj_text"])


@kind_of("smplerx", "pipeline_*")
def pipeline(case: Case) -> Iterator[Check]:
    image, found = case["image_u8"], case["detections"]
    size = (image.shape[1], image.shape[0])
    ordered = found[boxes.area_order(found)]
    rows = ordered[boxes.suppress(ordered, case.meta["iou_thr"])]
    yield exact("kept_xyxy_score", rows, case["kept_xyxy_score"])
    chosen = [i for i, row in enumerate(rows) if boxes.large_enough(row, case.meta["bbox_thr"])]
    network, body = network_of(case), body_of(case)
    for number, index in enumerate(chosen):
        name = f"person{number}_"
        yield exact(name + "index_in_kept", np.array(index), case[name + "index_in_kept"])
        x0, y0, x1, y1 = rows[index, :4].astype(np.float64)
        raw = np.array([x0, y0, x1 - x0, y1 - y0])
        yield absolute(name + "bbox_mmdet", raw, case[name + "bbox_mmdet"], 1e-4)
        box = boxes.process(raw, size)
        assert box is not None
        yield absolute(name + "bbox", box, case[name + "bbox"], 1e-4)
        yield relative(name + "img2bb", boxes.crop_matrix(box), case[name + "img2bb"], 1e-5, floor=10.0)
        yield relative(name + "bb2img", boxes.crop_matrix(box, inverse=True), case[name + "bb2img"], 1e-5, floor=10.0)
        patch = torch.from_numpy(boxes.crop(image, box)).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            prediction = network(patch)
            posed = pose_bodies(prediction, body)
        focal, principal = full_frame_camera(torch.from_numpy(box))
        yield relative(name + "focal", focal, case[name + "focal"], 1e-6)
        yield relative(name + "princpt", principal, case[name + "princpt"], 1e-6, floor=100.0)
        mesh = posed.vertices[0, ::5]
        yield absolute(name + "mesh_cam", mesh, case[name + "mesh_cam"], 1e-4)
        flat = mesh[:, :2] / mesh[:, 2:] * focal + principal
        yield absolute(name + "verts_2d", flat, case[name + "verts_2d"], 0.02)
        pose = prediction.pose
        for field in (
            "global_orient",
            "body_pose",
            "left_hand_pose",
            "right_hand_pose",
            "jaw_pose",
            "betas",
            "expression",
            "transl",
        ):
            want = case[f"{name}smplx_{field}"]
            yield absolute(f"{name}smplx_{field}", getattr(pose, field).reshape(want.shape), want, 1e-4)
