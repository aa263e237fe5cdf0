"""CoNR's files, crops and whole frames against stored results."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor

from models.conr.shader import LevelTrace
from pipelines.character import crop
from pipelines.character.udp_files import decode_udp, udp_mask
from tests.parity.conr import compare, compare_features, compare_trace, network_of
from tests.parity.runner import Case, Check, absolute, exact, kind, share_within

RGBA = 5e-4
# The random crop was made with sizes from .6 to 1.4 of the figure's box and the usual other ranges.
STORED_AUGMENTATION = crop.Augmentation(scale=(0.6, 1.4))


def numbers(record: crop.CropRecord | None) -> np.ndarray:
    return np.array(record.numbers() if record else (), np.int64)


@kind("conr", "crop*")
def crops(case: Case) -> Iterator[Check]:
    names = [n.removesuffix(".image") for n in case.arrays if n.endswith(".image")]
    for name in names:
        image, want = case[f"{name}.image"], case[f"{name}.out"]
        size = (want.shape[0], want.shape[1])
        random = np.random.RandomState(case.seed) if name == "rand" else None
        record = crop.crop_window(image[..., 3], size, STORED_AUGMENTATION if random else None, random)
        yield exact(f"{name}.out", crop.crop_image(image, record, size), want)
        if f"{name}.crop" in case:
            yield exact(f"{name}.crop", numbers(record), case[f"{name}.crop"])
        else:
            yield exact(f"{name} has no record", record is None, True)
        if f"{name}.label" in case:
            udp = case[f"{name}.label"].astype(np.float32)
            beside = case[f"{name}.label_image"]
            record = crop.crop_window(beside[..., 3], size)
            yield exact(
                f"{name}.label_out", crop.crop_udp(udp, record, size), case[f"{name}.label_out"].astype(np.float32)
            )
            yield exact(
                f"{name}.label_image_out", crop.crop_image(beside, record, size), case[f"{name}.label_image_out"]
            )
            yield exact(f"{name}.label_crop", numbers(record), case[f"{name}.label_crop"])


def decode_rgba(data: np.ndarray) -> np.ndarray:
    """A picture file as RGBA, opaque where it has no transparency."""
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if image.shape[2] == 3:
        image = np.concatenate([image, np.full((*image.shape[:2], 1), 255, np.uint8)], axis=2)
    return np.ascontiguousarray(image[..., [2, 1, 0, 3]])


def planes(image: np.ndarray) -> np.ndarray:
    return image.transpose(2, 0, 1)


@kind("conr", "load*")
def load(case: Case) -> Iterator[Check]:
    size = (int(case.meta["size"]),) * 2
    for name in ("rgba", "rgb", "gray"):
        image = crop.premultiplied(decode_rgba(case[f"{name}.file"]))
        yield exact(f"{name}.image", planes(image[..., :3]), case[f"{name}.image"])
        yield exact(f"{name}.mask", planes(image[..., 3:]), case[f"{name}.mask"])
    for name in ("npz_float16", "npz_float32", "tiff_f32"):
        udp = decode_udp(case[f"{name}.file"].tobytes(), f"frame.{name.split('_')[0]}")
        yield exact(f"{name}.labels", planes(udp), case[f"{name}.labels"])
        beside = udp_mask(udp)
        yield exact(f"{name}.mask", planes(beside[..., 3:]), case[f"{name}.mask"])
        if f"{name}.image" in case:
            yield exact(f"{name}.image", planes(beside[..., :3]), case[f"{name}.image"])
    for name in ("png8", "png16"):  # refused by the original, scaled to 0..1 here
        udp = decode_udp(case[f"{name}.file"].tobytes(), f"{name}.png")
        yield exact(f"{name} is scaled", bool(udp.min() >= 0 and udp.max() <= 1), True)
    image = crop.premultiplied(decode_rgba(case["rgba.file"]))
    record = crop.crop_window(image[..., 3], size)
    cut = crop.crop_image(image, record, size)
    yield exact("rgba_crop.image", planes(cut[..., :3]), case["rgba_crop.image"])
    yield exact("rgba_crop.mask", planes(cut[..., 3:]), case["rgba_crop.mask"])
    yield exact("rgba_crop.crop", numbers(record), case["rgba_crop.crop"])
    udp = decode_udp(case["npz_float32.file"].tobytes(), "frame.npz")
    beside = udp_mask(udp)
    record = crop.crop_window(beside[..., 3], size)
    yield exact("npz_crop.labels", planes(crop.crop_udp(udp, record, size)), case["npz_crop.labels"])
    yield exact("npz_crop.mask", planes(crop.crop_image(beside, record, size)[..., 3:]), case["npz_crop.mask"])
    yield exact("npz_crop.crop", numbers(record), case["npz_crop.crop"])


@kind("conr", "save_output*")
def save_output(case: Case) -> Iterator[Check]:
    for index in range(sum(1 for name in case.arrays if name.endswith(".pred"))):
        rgba = case[f"{index}.pred"][0].astype(np.float32).transpose(1, 2, 0)
        record = crop.CropRecord(*case[f"{index}.crop"].tolist())
        yield share_within(f"{index}.out", crop.paste(rgba, record), case[f"{index}.out"], 1, 1.0)
        yield share_within(f"{index}.out_nocrop", crop.paste(rgba, None), case[f"{index}.out_nocrop"], 1, 1.0)


@kind("conr", "full_*")
def full(case: Case) -> Iterator[Check]:
    network = network_of(case)
    side = int(case.meta["size"])
    size = (side, side)
    images, masks = [], []
    for index in range(case.meta["refs"]):
        image = crop.premultiplied(case[f"ref{index}"])
        record = crop.crop_window(image[..., 3], size)
        cut = crop.crop_image(image, record, size)
        images.append(cut[..., :3])
        masks.append(cut[..., 3:])
    if "character_images" in case:
        yield exact("character_images", np.stack(images).transpose(0, 3, 1, 2)[None], case["character_images"])
        yield exact("character_masks", np.stack(masks).transpose(0, 3, 1, 2)[None], case["character_masks"])
    with torch.inference_mode():
        sheet = network.parse(_batch(images), _batch(masks))
        if "parser.pred" in case:
            yield compare(case, "parser.pred", sheet.udp[None], 2e-4)
        features = [feature[None] for feature in sheet.features]
        yield from compare_features(case, features, "parser.features")
        for frame in range(case.meta["frames"]):
            yield from _frame(case, network, sheet, frame, size)


def _batch(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


def _frame(case: Case, network: torch.nn.Module, sheet: object, frame: int, size: tuple[int, int]) -> Iterator[Check]:
    source = case[f"pose{frame}"]
    if case.meta["detector"]:
        image = crop.premultiplied(source)
        record = crop.crop_window(image[..., 3], size)
        cut = crop.crop_image(image, record, size)
        udp = network.estimate_udp(_batch([cut[..., :3]]))
        alpha = udp[:, 3:]
        yield compare(case, f"frame{frame}.pose_parser", udp, 2e-4)
    else:
        label = source.astype(np.float32)
        beside = udp_mask(label)
        record = crop.crop_window(beside[..., 3], size)
        udp = torch.from_numpy(crop.crop_udp(label, record, size)).permute(2, 0, 1)[None]
        alpha = _batch([crop.crop_image(beside, record, size)[..., 3:]])
        yield absolute(f"frame{frame}.pose_label", udp, case[f"frame{frame}.pose_label"], 1e-3)
    yield exact(f"frame{frame}.pose_crop", numbers(record)[None], case[f"frame{frame}.pose_crop"])
    pose = torch.cat([udp[:, :3] * alpha, alpha], dim=1)
    yield compare(case, f"frame{frame}.x_target_sudp_a", pose, 1e-3 if not case.meta["detector"] else 2e-4)
    trace: list[LevelTrace] = []
    rgba = network.render(sheet, udp, alpha, trace if frame == 0 else None)
    if frame == 0:
        yield from compare_trace(case, trace, "cinn", RGBA)
    yield absolute(f"frame{frame}.rgba", rgba, case[f"frame{frame}.rgba"], RGBA)
    picture = crop.paste(rgba[0].permute(1, 2, 0).numpy(), record)
    yield share_within(f"frame{frame}.png", picture, case[f"frame{frame}.png"], 1, 1.0)
