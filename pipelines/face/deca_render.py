"""DECA's pictures and UV maps without any compiled extension; one rasterisation per view serves them all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.deca.data import MASK, TEMPLATE, fixed_displacement
from models.runtime.settings import Limits
from pipelines.export.obj_read import ObjMesh, read_obj
from pipelines.media.image import read_image_rgba
from pipelines.render.raster import Rule, TensorFragments, interpolate_vertices, ndc_to_pixels, rasterize_tensor

FAR = 1e6
Z_OFFSET = 10.0  # brings every depth in front of the eye, as the rasteriser asks
SH_FACTORS = (0.2820948, *(1.0233267,) * 3, *(0.8580855,) * 3, 0.4290428, 0.2477080)
GREY = 180 / 255
LIGHTS = ((-1, 1, 1), (1, 1, 1), (-1, -1, 1), (1, -1, 1), (0, 0, 1))
LIGHT_INTENSITY = 1.7
FACING, FACING_SHAPE = -0.05, 0.15  # largest z of a normal (towards the eye is negative) that still shows


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted unit normals: vertices (B, V, 3), faces (F, 3) -> (B, V, 3)."""
    a, b, c = (vertices[:, faces[:, i]] for i in range(3))
    across = torch.cross(b - a, c - a, dim=-1)
    normals = torch.zeros_like(vertices)
    for corner in range(3):
        normals.index_add_(1, faces[:, corner], across)
    return F.normalize(normals, eps=1e-6, dim=-1)


def grid_triangles(height: int, width: int, margin_x: int = 2, margin_y: int = 5) -> Tensor:
    """Triangles (T, 3) of the UV grid inside its margins, column by column, two per cell."""
    columns = torch.arange(margin_x, width - 1 - margin_x)
    rows = torch.arange(margin_y, height - 1 - margin_y)
    corner = (rows[None] * width + columns[:, None]).flatten()  # columns outside, rows inside
    first = torch.stack([corner, corner + width, corner + 1], dim=1)
    second = torch.stack([corner + 1, corner + width, corner + width + 1], dim=1)
    return torch.stack([first, second], dim=1).view(-1, 3)


def grid_normals(points: Tensor, margin_x: int = 2, margin_y: int = 5) -> Tensor:
    """``vertex_normals`` of a grid of points (B, 3, H, W) under ``grid_triangles``, by shifted sums."""
    height, width = points.shape[2:]
    rows, columns = slice(margin_y, height - 1 - margin_y), slice(margin_x, width - 1 - margin_x)
    below = slice(rows.start + 1, rows.stop + 1)
    right = slice(columns.start + 1, columns.stop + 1)
    p, q = points[..., rows, columns], points[..., below, columns]
    r, s = points[..., rows, right], points[..., below, right]
    first = torch.linalg.cross(q - p, r - p, dim=1)
    both = torch.linalg.cross(q - r, s - r, dim=1)  # of the second triangle, then of both
    normals = torch.zeros_like(points)
    normals[..., rows, columns] += first
    normals[..., below, right] += both
    both += first
    normals[..., below, columns] += both
    normals[..., rows, right] += both
    return F.normalize(normals, eps=1e-6, dim=1)


def sh_shading(normals: Tensor, light: Tensor) -> Tensor:
    """Second-order spherical-harmonic light (Ramamoorthi and Hanrahan 2001): normals (B, 3, H, W), light (B, 9, 3)."""
    x, y, z = normals.unbind(1)
    basis = [torch.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1]
    weighted = torch.stack([b * k for b, k in zip(basis, SH_FACTORS, strict=True)], dim=1)  # (B, 9, H, W)
    return torch.einsum("bkhw,bkc->bchw", weighted, light)


def directional_light(normals: Tensor, lights: Tensor) -> Tensor:
    """Mean over lights of the clamped cosine: normals (B, N, 3), lights (B, L, 6) direction and colour -> (B, N, 3)."""
    directions = F.normalize(lights[..., :3], dim=-1)
    cosine = torch.einsum("bnc,blc->bln", normals, directions).clamp(0, 1)
    return (cosine[..., None] * lights[:, :, None, 3:]).mean(1)


def point_light(points: Tensor, normals: Tensor, lights: Tensor) -> Tensor:
    """Mean over lights of the unclamped cosine: points, normals (B, N, 3), lights (B, L, 6) position and colour."""
    towards = F.normalize(lights[:, :, None, :3] - points[:, None], dim=-1)  # (B, L, N, 3)
    cosine = (normals[:, None] * towards).sum(-1, keepdim=True)
    return (cosine * lights[:, :, None, 3:]).mean(1)


@dataclass(frozen=True)
class View:
    """One rasterisation of a head: which triangle each pixel shows and what follows from it.

    alpha (B, 1, H, W); grid (B, H, W, 2) UV coordinates from -1 to 1, zero outside; normals, eye_normals
    (B, 3, H, W) world and eye-space normals, zero outside.
    """

    fragments: TensorFragments
    alpha: Tensor
    grid: Tensor
    normals: Tensor
    eye_normals: Tensor


class DecaRenderer(nn.Module):
    """Everything that depends on the installed template alone, and the pictures made with it."""

    def __init__(self, template: ObjMesh, uv_mask: np.ndarray, fixed_displacement: np.ndarray) -> None:
        """``uv_mask`` and ``fixed_displacement`` (metres) are (S, S), S being the UV size."""
        super().__init__()
        self.template = template
        self.uv_size = uv_mask.shape[0]
        uv = torch.from_numpy(template.uv).float()
        flipped = torch.stack([uv[:, 0] * 2 - 1, -(uv[:, 1] * 2 - 1)], dim=1)
        corners = flipped[torch.from_numpy(template.uv_faces)]  # (F, 3, 2)
        flat = torch.cat([corners, torch.ones_like(corners[..., :1])], dim=-1)[None]
        drawn = rasterize_tensor(
            ndc_to_pixels(flat, self.uv_size, self.uv_size), self.uv_size, self.uv_size, Rule.STRICT, FAR
        )
        self._keep("faces", torch.from_numpy(template.faces))
        self._keep("uv_corners", corners)
        self._keep("uv_mask", torch.from_numpy(uv_mask).float()[None, None])
        self._keep("fixed", torch.from_numpy(fixed_displacement).float()[None, None])
        # The template's triangles drawn in UV space, the same for every head.
        self._keep("uv_triangle", drawn.triangle)
        self._keep("uv_barycentric", drawn.barycentric)

    def _keep(self, name: str, tensor: Tensor) -> None:
        self.register_buffer(name, tensor, persistent=False)

    @classmethod
    def load(cls, folder: Path) -> DecaRenderer:
        """From the files of DECA's data folder: ``head_template.obj``, ``uv_face_eye_mask.png`` and
        ``fixed_displacement_256.npy`` (or ``.npz`` with the field ``fixed``)."""
        mask = read_image_rgba(folder / MASK, Limits())[..., 0].astype(np.float32) / 255
        return cls(read_obj(folder / TEMPLATE), mask, fixed_displacement(folder))

    def to_uv(self, values: Tensor) -> Tensor:
        """Values per vertex (B, V, C) as a UV map (B, C, S, S)."""
        size = (len(values), -1, -1)
        fragments = TensorFragments(self.uv_triangle.expand(*size), self.uv_barycentric.expand(*size, -1), values)
        return interpolate_vertices(fragments, self.faces, values).permute(0, 3, 1, 2)

    def view(
        self,
        vertices: Tensor,
        projected: Tensor,
        height: int,
        width: int,
        normals: Tensor | None = None,
        eye_normals: Tensor | None = None,
    ) -> View:
        """Draws heads: world vertices and their crop or picture coordinates, both (B, V, 3), and where they are known
        already the normals of either."""
        eye = projected + projected.new_tensor([0.0, 0.0, Z_OFFSET])
        pixels = ndc_to_pixels(eye, height, width)[:, self.faces]  # (B, F, 3, 3)
        fragments = rasterize_tensor(pixels, height, width, Rule.STRICT, FAR)
        if normals is None:
            normals = vertex_normals(vertices, self.faces)
        if eye_normals is None:
            eye_normals = vertex_normals(eye, self.faces)
        drawn = interpolate_vertices(fragments, self.faces, torch.cat([normals, eye_normals], dim=-1))
        planes = drawn.permute(0, 3, 1, 2)  # (B, 6, H, W)
        each = torch.arange(3 * len(self.faces), device=self.faces.device).view(-1, 3)
        corners = self.uv_corners.reshape(1, -1, 2).expand(len(vertices), -1, -1)
        grid = interpolate_vertices(fragments, each, corners)
        alpha = (fragments.triangle >= 0).float()[:, None]
        return View(fragments, alpha, grid, planes[:, :3], planes[:, 3:])

    def textured(self, view: View, uv_map: Tensor) -> Tensor:
        """A UV map (B, 3, S, S) seen in a view, black outside."""
        return F.grid_sample(uv_map, view.grid, align_corners=False) * view.alpha

    def facing(self, view: View) -> Tensor:
        """Pixels (B, 1, H, W) whose surface looks at the eye."""
        return (view.eye_normals[:, 2:] < FACING).float()

    def shape_picture(
        self, view: View, detail_normals: Tensor | None = None, background: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Grey shaded head (B, 3, H, W) over black or a background, and its alpha (B, 1, H, W).

        ``detail_normals`` (B, 3, S, S) are normals in UV space to light instead of the mesh's own.
        """
        alpha = view.alpha * (view.eye_normals[:, 2:] < FACING_SHAPE).float()
        normals = view.normals
        if detail_normals is not None:
            normals = F.grid_sample(detail_normals, view.grid, align_corners=False) * alpha
        batch, _, height, width = normals.shape
        lights = normals.new_tensor([[*d, *(LIGHT_INTENSITY,) * 3] for d in LIGHTS]).expand(batch, -1, -1)
        shading = directional_light(normals.flatten(2).transpose(1, 2), lights)
        picture = GREY * shading.transpose(1, 2).unflatten(2, (height, width)) * alpha
        return (picture if background is None else picture + background * (1 - alpha)), alpha

    def vertex_colours(self, view: View, colours: Tensor) -> Tensor:
        """Colours per vertex (B, V, 3) seen in a view (B, 3, H, W)."""
        return interpolate_vertices(view.fragments, self.faces, colours).permute(0, 3, 1, 2) * view.alpha

    def depth_picture(self, view: View, projected: Tensor) -> Tensor:
        """Nearest vertex white, farthest black, over the whole batch; (B, 1, H, W), background black."""
        z = projected[..., 2:]
        depth = z.min() - z
        depth = depth - depth.min()
        return interpolate_vertices(view.fragments, self.faces, depth / depth.max()).permute(0, 3, 1, 2)

    def displace(self, displacement: Tensor, where: Tensor, along: Tensor) -> Tensor:
        """Normals of the detailed surface in UV space (B, 3, S, S).

        displacement (B, 1, S, S) in metres along the normals, masked here to the face; vertices ``where`` and normals
        ``along`` in UV space (B, 3, S, S).
        """
        points = where + (displacement * self.uv_mask + self.fixed) * along
        detailed = grid_normals(points)
        return detailed * self.uv_mask + along * (1 - self.uv_mask)

    def extract_texture(self, images: Tensor, projected: Tensor) -> Tensor:
        """What the picture shows at each UV pixel: images (B, 3, H, W), projected in UV space (B, 2+, S, S)."""
        return F.grid_sample(images, projected[:, :2].permute(0, 2, 3, 1), align_corners=False)
