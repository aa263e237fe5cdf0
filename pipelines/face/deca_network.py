"""DECA's networks at work: crops into codes, codes into heads and pictures; the only part that needs the device.

Everything that goes in or comes out is a plain CPU value, so that it can travel to a GPU worker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.bodies.flame import Flame, FlameData
from models.deca import checkpoint
from models.deca.data import TEMPLATE, DecaFiles, embedding
from models.deca.network import DecaCode
from models.deca.texture import load_albedo
from models.runtime.cache import ModelCache, ModelSpec
from models.runtime.errors import WeightsInvalid, WeightsMissing
from models.runtime.fuse import fold_norms
from models.runtime.gpu import gpu
from models.runtime.safe_load import convert_once, load_body_pickle
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.face.deca_decode import DecaDecoder
from pipelines.face.deca_render import DecaRenderer

Floats = NDArray[np.float32]
Image = NDArray[np.uint8]
NEEDED = ("deca-model", "flame-2020", "deca-data")
DENSE = "deca-dense-template"
ALBEDOS = {"bfm": "flame-albedo-bfm", "flame": "flame-texture"}
WINDOW_MARGIN = 4  # pixels round a head that is drawn into a photo


def chosen_albedo(which: str, weights: WeightsStore) -> str | None:
    """Id of the texture space, or None for ``off``. Raises WeightsMissing when the one asked for is not there."""
    if which == "off":
        return None
    names = ALBEDOS.values() if which == "auto" else [ALBEDOS[which]]
    found = next((name for name in names if weights.installed(name)), None)
    if found is None and which != "auto":
        raise WeightsMissing(
            f"The {which} albedo space is not installed: open the Models tab or run "
            f"`python -m studio weights add {ALBEDOS[which]} FILE`, or leave the albedo off"
        )
    return found


def files_of(weights: WeightsStore, albedo: str = "off") -> DecaFiles:
    """The installed files. Raises WeightsMissing."""
    space = chosen_albedo(albedo, weights)
    return DecaFiles(
        *(weights.path(name) for name in NEEDED),
        dense=weights.path(DENSE) if weights.installed(DENSE) else None,
        albedo=weights.path(space) if space else None,
    )


def load(files: DecaFiles, device: torch.device) -> DecaDecoder:
    """Networks, head and template on a device.

    Raises:
        WeightsInvalid: a file is not what it should be, or template and head do not belong together.
    """
    data = FlameData.from_fields(convert_once(files.flame, load_body_pickle), files.flame.name)
    renderer = DecaRenderer.load(files.data)
    count = len(data.v_template)
    if len(renderer.template.vertices) != count or not np.array_equal(renderer.template.faces, data.faces):
        raise WeightsInvalid(f"{TEMPLATE} and {files.flame.name} are of different heads: their triangles differ")
    networks = fold_norms(checkpoint.load(files.networks, torch.device("cpu"))).to(memory_format=torch.channels_last)
    albedo = None if files.albedo is None else load_albedo(files.albedo)
    decoder = DecaDecoder(networks, Flame(data, embedding(files.data)), renderer, albedo)
    return decoder.eval().to(device)


def spec_of(files: DecaFiles) -> ModelSpec:
    """How the cache opens DECA."""
    return ModelSpec(key=files.key, load=lambda device: load(files, device))


@dataclass(frozen=True)
class Face:
    """One decoded head as arrays; names and shapes as in ``DecaHead`` and ``DecaPictures`` without the batch axis.

    ``frontal`` (V, 3) and ``rest`` (V, 3) are the head that looks straight ahead, with its expression and without.
    """

    verts: Floats
    trans_verts: Floats
    landmarks2d: Floats
    landmarks3d: Floats
    landmarks3d_world: Floats
    normals: Floats
    displacement_map: Floats
    uv_detail_normals: Floats
    uv_texture: Floats
    uv_texture_gt: Floats
    albedo: Floats | None
    grid: Floats
    rendered_images: Floats
    alpha_images: Floats
    normal_images: Floats
    shape_images: Floats
    shape_detail_images: Floats
    depth: Floats
    frontal: Floats
    rest: Floats


_OF_HEAD = (
    "verts", "trans_verts", "landmarks2d", "landmarks3d", "landmarks3d_world", "normals", "displacement_map",
    "uv_detail_normals", "uv_texture", "uv_texture_gt", "albedo",
)  # fmt: skip
_OF_PICTURES = (
    "grid", "rendered_images", "alpha_images", "normal_images", "shape_images", "shape_detail_images",
)  # fmt: skip


def code_map(code: DecaCode, change: Callable[[Tensor], Tensor]) -> DecaCode:
    """A code whose every part has been through ``change``."""
    parts = {f.name: getattr(code, f.name) for f in fields(code)}
    return DecaCode(**{name: None if part is None else change(part) for name, part in parts.items()})


def rows(code: DecaCode, which: slice | list[int]) -> DecaCode:
    """Some of a batch of codes."""
    return code_map(code, lambda part: part[which])


def joined(codes: list[DecaCode]) -> DecaCode:
    """Codes one after the other as one batch."""
    return DecaCode(**{f.name: torch.cat([getattr(c, f.name) for c in codes]) for f in fields(DecaCode)})


@gpu(duration=60)
def encode(files: DecaFiles, settings: Settings, crops: Floats, batch: int) -> DecaCode:
    """Codes (on the CPU) of crops (N, 3, 224, 224) in [0, 1], ``batch`` at a time."""

    def run(decoder: DecaDecoder, chunk: int) -> DecaCode:
        device = decoder.renderer.faces.device
        parts = []
        with torch.inference_mode():
            for start in range(0, len(crops), chunk):
                piece = torch.from_numpy(crops[start : start + chunk]).to(device, memory_format=torch.channels_last)
                parts.append(code_map(decoder.deca.encode(piece), lambda part: part.cpu()))
        return code_map(joined(parts), torch.clone)

    return ModelCache.shared(settings).run_chunked(spec_of(files), run, min(batch, len(crops)))


@gpu(duration=60)
def decode(files: DecaFiles, settings: Settings, code: DecaCode, crops: Floats, extract: bool = True) -> list[Face]:
    """Heads with their crop pictures of codes and the crops (N, 3, 224, 224) their texture is taken from."""
    faces = []
    with ModelCache.shared(settings).use(spec_of(files)) as decoder, torch.inference_mode():
        device = decoder.renderer.faces.device
        for i in range(len(crops)):
            one = code_map(rows(code, slice(i, i + 1)), lambda part: part.to(device))
            head = decoder.head(one, torch.from_numpy(crops[i : i + 1]).to(device), extract)
            pictures = decoder.pictures(head)
            ahead = torch.cat([torch.zeros_like(one.pose[:, :3]), one.pose[:, 3:]], dim=1)
            arrays = {name: _numpy(getattr(head, name)) for name in _OF_HEAD}
            arrays |= {name: _numpy(getattr(pictures, name)) for name in _OF_PICTURES}
            faces.append(
                Face(
                    **arrays,
                    depth=_numpy(decoder.depth(pictures)),
                    frontal=_numpy(decoder.flame(one.shape, one.exp, ahead).vertices),
                    rest=_numpy(decoder.flame(one.shape, torch.zeros_like(one.exp), torch.zeros_like(ahead)).vertices),
                )
            )
    return faces


def _numpy(batch: Tensor | None) -> Floats | None:
    return None if batch is None else batch[0].cpu().numpy()


@gpu(duration=60)
def posed(files: DecaFiles, settings: Settings, code: DecaCode) -> tuple[Floats, Floats]:
    """Vertices (N, V, 3) and 68 landmarks (N, 68, 3) in metres of heads alone."""
    with ModelCache.shared(settings).use(spec_of(files)) as decoder, torch.inference_mode():
        device = decoder.renderer.faces.device
        out = decoder.flame(code.shape.to(device), code.exp.to(device), code.pose.to(device))
        return out.vertices.cpu().numpy(), out.landmarks3d.cpu().numpy()


@dataclass(frozen=True)
class InPhoto:
    """A photo (H, W, 3) uint8 with detailed heads drawn over it, the same with plain ones, and a depth picture (H, W)
    float32 in 0..1 (nearest vertex 1, background 0)."""

    detail: Image
    shape: Image
    depth: Floats


@gpu(duration=60)
def draw_in_photo(
    files: DecaFiles, settings: Settings, photo: Image, code: DecaCode, tforms: Floats, detail_only: bool = False
) -> InPhoto:
    """Draws heads where they are in the whole photo, the small before the large; tforms (N, 3, 3) lead to the crops.

    Each is drawn inside its own window of the photo alone, which gives the same picture in a fraction of the time.
    """
    height, width = photo.shape[:2]
    detail, shape = photo.copy(), photo.copy()
    depth = np.zeros((height, width), np.float32)
    order = np.argsort(-tforms[:, 0, 0], kind="stable")  # pixels of the crop per pixel of the photo
    with ModelCache.shared(settings).use(spec_of(files)) as decoder, torch.inference_mode():
        device = decoder.renderer.faces.device
        for i in order.tolist():
            one = code_map(rows(code, slice(i, i + 1)), lambda part: part.to(device))
            blank = one.pose.new_zeros(1, 3, 1, 1)
            head = decoder.head(one, blank)
            x0, y0, x1, y1 = _window(head.trans_verts[0, :, :2].cpu().numpy(), tforms[i], width, height)
            if x1 <= x0 or y1 <= y0:
                continue
            shift = np.array([[1, 0, x0], [0, 1, y0], [0, 0, 1]], np.float64)
            tform = torch.from_numpy((tforms[i].astype(np.float64) @ shift).astype(np.float32))[None].to(device)
            here = (slice(y0, y1), slice(x0, x1))
            pictures = decoder.pictures_in_photo(head, _planes(detail[here], device), tform)
            detail[here] = _bytes(pictures.shape_detail_images)
            if detail_only:
                continue
            seen = pictures.view.alpha[0, 0].cpu().numpy() > 0
            plain, _ = decoder.renderer.shape_picture(pictures.view, background=_planes(shape[here], device))
            shape[here] = _bytes(plain)
            depth[here] = np.where(seen, decoder.depth(pictures)[0, 0].cpu().numpy(), depth[here])
    return InPhoto(detail, shape, depth)


def _window(ndc: Floats, tform: Floats, width: int, height: int) -> tuple[int, int, int, int]:
    pixels = photo_points(ndc, tform)
    low, high = pixels.min(axis=0) - WINDOW_MARGIN, pixels.max(axis=0) + WINDOW_MARGIN
    x0, y0 = np.clip(np.floor(low), 0, (width, height)).astype(int).tolist()
    x1, y1 = np.clip(np.ceil(high), 0, (width, height)).astype(int).tolist()
    return x0, y0, x1, y1


def photo_points(ndc: NDArray[np.floating], tform: NDArray[np.floating], crop: int = 224) -> NDArray[np.float64]:
    """Crop coordinates (N, 2+) from -1 to 1 -> pixels (N, 2) of the photo, by the original's own rule."""
    pixels = (np.asarray(ndc, np.float64)[:, :2] * 0.5 + 0.5) * crop
    back = np.linalg.inv(np.asarray(tform, np.float64))
    return pixels @ back[:2, :2].T + back[:2, 2]


def _planes(image: Image, device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None].float() / 255


def _bytes(planes: Tensor) -> Image:
    return (planes[0].permute(1, 2, 0).clamp(0, 1) * 255 + 0.5).byte().cpu().numpy()
