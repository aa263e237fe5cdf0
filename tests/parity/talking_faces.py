"""Detection, alignment, crops and masks of the talking-head systems against stored results."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.talking import deepspeech, scrfd
from pipelines.talk import alignment, crops
from tests.parity.runner import Case, Check, absolute, exact, kind, share_within

CLOSE = 1e-5
GREY = 0.99  # share of pixels of resized pictures that must agree to one grey level


@kind("talking", "scrfd_decode*")
def scrfd_decode(case: Case) -> Iterator[Check]:
    settings, image = case.meta["settings"], case["image_u8"]
    width, height = settings["input_size"]
    blob, scale = scrfd.prepare(image[..., ::-1], (width, height))
    step = width // case["blob_s"].shape[-1]
    yield absolute("blob", blob[:, :, ::step, ::step], case["blob_s"], 1e-2)
    outputs = [case[f"{name}{stride}"] for name in ("score", "bbox", "kps") for stride in scrfd.STRIDES]
    found = scrfd.decode(outputs, (width, height), scale, settings["det_thresh"], settings["nms_thresh"])
    size = (image.shape[1], image.shape[0])
    for label, faces in (
        ("", found),
        ("_max1", found.largest(1, size)),
        ("_max3", found.largest(3, size, by_area=True)),
        ("_b", scrfd.decode(outputs, (width, height), scale, 0.7, 0.35)),
    ):
        yield absolute(f"det{label}", faces.boxes, case[f"det{label}"], 1e-3)
        yield absolute(f"kps{label}", faces.keypoints, case[f"kps{label}"], 1e-3)


@kind("talking", "face_align*")
def face_align(case: Case) -> Iterator[Check]:
    image, landmarks = case["image_u8"], case["landmarks"]
    for name, matrix in (
        ("m112", alignment.arcface_matrix),
        ("m256", lambda points: alignment.arcface_matrix(points, 256)),
        ("mffhq", alignment.ffhq_matrix),
    ):
        yield absolute(name, np.stack([matrix(points) for points in landmarks]), case[name], 1e-3)
    crop = alignment.warp(image, alignment.arcface_matrix(landmarks[0]), 112)
    yield share_within("crop112", crop, case["crop112"], 1, GREY)
    matrix = alignment.ffhq_matrix(landmarks[0])
    face = alignment.warp(image, matrix, 512, alignment.FFHQ_BORDER[::-1])
    yield share_within("cropffhq", face[::4, ::4], case["cropffhq_s"], 1, GREY)
    back = alignment.inverse(matrix)
    yield absolute("inverse", back, case["inverse"], 1e-3)
    pasted, mask = alignment.paste_square(image, case["pasted_face_s"], back)
    yield absolute("soft_mask", mask, case["soft_mask"], 1e-3)
    yield share_within("pasted", pasted, case["pasted"], 1, GREY)


@kind("talking", "oval_mask*")
def oval_mask(case: Case) -> Iterator[Check]:
    yield absolute("mask", alignment.oval_mask()[::4, ::4], case["mask_s"], CLOSE)


@kind("talking", "dinet_crop_radius*")
def dinet_crop_radius(case: Case) -> Iterator[Check]:
    scale = case.meta["settings"]["random_scale"]
    radii = [
        crops.crop_radius(points, (int(size[0]), int(size[1])), scale)
        for points, size in zip(case["landmarks"], case["size"], strict=True)
    ]
    yield exact("accepted", np.array([r is not None for r in radii]), case["accepted"])
    yield exact("radius", np.array([-1 if r is None else r for r in radii]), case["radius"])


@kind("talking", "dinet_deepspeech_input*")
def dinet_deepspeech_input(case: Case) -> Iterator[Check]:
    rows, cepstra, mean, deviation = deepspeech.network_input(case["wav"])
    yield absolute("mfcc", cepstra, case["mfcc"], 1e-4)
    middle = [0, 1, len(rows) // 2, len(rows) - 1]
    yield absolute("rows", rows[middle], case["rows"], CLOSE)
    yield absolute("mean", mean, case["mean"], CLOSE)
    yield absolute("std", deviation, case["std"], CLOSE)


@kind("talking", "wav2lip_box_smooth*")
def wav2lip_box_smooth(case: Case) -> Iterator[Check]:
    yield exact("smooth", crops.smooth_boxes(case["boxes"], case.meta["settings"]["T"]), case["smooth"])
