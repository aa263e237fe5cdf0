"""From DECA codes to heads: mesh, landmarks, maps, pictures and texture, in the crop and in the whole photo."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor, nn

from models.bodies.flame import Flame
from models.bodies.landmarks import on_surface
from models.deca.network import Deca, DecaCode
from models.deca.projection import project, to_original
from models.deca.texture import AlbedoModel
from models.geometry.rotations import euler_to_matrix, matrix_to_axis_angle
from pipelines.face.deca_render import DecaRenderer, View, sh_shading, vertex_normals

VISIBLE = 0.1  # largest z of the eye-space normal at a landmark that still counts as seen
PLAIN_SKIN = 0.7  # colour of the texture outside the face when there is no albedo model


@dataclass(frozen=True)
class DecaHead:
    """A batch of decoded heads.

    verts (B, V, 3) metres; trans_verts (B, V, 3) crop coordinates from -1 to 1 with depth; landmarks2d (B, 68, 2) and
    landmarks3d (B, 68, 4: x, y, z, visible) in crop coordinates; landmarks3d_world (B, 68, 3) metres;
    normals (B, V, 3);
    displacement_map (B, 1, S, S) metres; uv_detail_normals, uv_texture, uv_texture_gt (B, 3, S, S); albedo None without
    a texture space.
    """

    verts: Tensor
    trans_verts: Tensor
    landmarks2d: Tensor
    landmarks3d: Tensor
    landmarks3d_world: Tensor
    normals: Tensor
    displacement_map: Tensor
    uv_detail_normals: Tensor
    albedo: Tensor | None
    uv_texture: Tensor
    uv_texture_gt: Tensor


@dataclass(frozen=True)
class DecaPictures:
    """Pictures of a head (B, C, H, W) in [0, 1]: rendered albedo, alpha, normals, shape, detailed shape, depth.

    ``landmarks3d`` are in the coordinates of these pictures; ``grid`` (B, H, W, 2) are UV coordinates.
    """

    rendered_images: Tensor
    alpha_images: Tensor
    normal_images: Tensor
    grid: Tensor
    shape_images: Tensor
    shape_detail_images: Tensor
    landmarks2d: Tensor
    landmarks3d: Tensor
    view: View
    projected: Tensor

    @cached_property
    def size(self) -> tuple[int, int]:
        height, width = self.alpha_images.shape[-2:]
        return height, width


class DecaDecoder(nn.Module):
    """DECA's networks, the FLAME head and the installed template, put to work together."""

    def __init__(self, deca: Deca, flame: Flame, renderer: DecaRenderer, albedo: AlbedoModel | None = None) -> None:
        super().__init__()
        self.deca, self.flame, self.renderer, self.albedo = deca, flame, renderer, albedo

    def head(self, code: DecaCode, images: Tensor, extract_texture: bool = True) -> DecaHead:
        """Decodes; ``images`` (B, 3, 224, 224) are the crops the texture is taken from."""
        posed = self.flame(code.shape, code.exp, code.pose)
        trans_verts = project(posed.vertices, code.cam)
        normals = vertex_normals(posed.vertices, self.renderer.faces)
        uv_z = self.deca.displacement(code)
        in_uv = self.renderer.to_uv(torch.cat([posed.vertices, normals, trans_verts], dim=-1))  # (B, 9, S, S)
        detail_normals = self.renderer.displace(uv_z, in_uv[:, :3], in_uv[:, 3:6])
        mask = self.renderer.uv_mask
        albedo = None
        if self.albedo is not None:
            albedo = self.albedo(code.tex)
            uv_texture = albedo * sh_shading(detail_normals, code.light)
            outside = uv_texture
        else:
            uv_texture = torch.zeros_like(detail_normals)
            outside = torch.full_like(detail_normals, PLAIN_SKIN)
        if extract_texture or albedo is None:
            taken = self.renderer.extract_texture(images, in_uv[:, 6:])
            texture = taken * mask + outside * (1 - mask)
        else:
            texture = uv_texture
        return DecaHead(
            verts=posed.vertices,
            trans_verts=trans_verts,
            landmarks2d=project(posed.landmarks2d, code.cam)[..., :2],
            landmarks3d=self._with_visibility(project(posed.landmarks3d, code.cam), to_eye(normals)),
            landmarks3d_world=posed.landmarks3d,
            normals=normals,
            displacement_map=uv_z + self.renderer.fixed,
            uv_detail_normals=detail_normals,
            albedo=albedo,
            uv_texture=uv_texture,
            uv_texture_gt=texture,
        )

    def _with_visibility(self, points: Tensor, eye_normals: Tensor) -> Tensor:
        """Appends 1 for landmarks whose surface looks at the eye, 0 for hidden ones."""
        corners = self.flame.full_corners.expand(len(points), -1, -1)
        at = on_surface(eye_normals, corners, self.flame.full_bary)
        return torch.cat([points, (at[..., 2:] < VISIBLE).to(points)], dim=-1)

    def pictures(self, head: DecaHead, height: int = 224, width: int = 224) -> DecaPictures:
        """Pictures in the crop, over black."""
        view = self.renderer.view(head.verts, head.trans_verts, height, width, head.normals, to_eye(head.normals))
        return self._pictures(head, view, head.trans_verts, head.landmarks2d, head.landmarks3d, None)

    def pictures_in_photo(self, head: DecaHead, photo: Tensor, tform: Tensor) -> DecaPictures:
        """Pictures over the whole photo (B, 3, H, W); tform (B, 3, 3) takes its pixels to the crop."""
        height, width = photo.shape[-2:]

        def back(points: Tensor) -> Tensor:
            return to_original(points, tform, height, width)

        flat = torch.cat([head.landmarks2d, torch.zeros_like(head.landmarks2d[..., :1])], dim=-1)
        projected = back(head.trans_verts)
        # The way back scales x, y and z differently, so the normals are those of the moved vertices.
        eye_normals = vertex_normals(projected, self.renderer.faces)
        landmarks3d = self._with_visibility(back(head.landmarks3d[..., :3]), eye_normals)
        view = self.renderer.view(head.verts, projected, height, width, head.normals, eye_normals)
        return self._pictures(head, view, projected, back(flat)[..., :2], landmarks3d, photo)

    def _pictures(
        self,
        head: DecaHead,
        view: View,
        projected: Tensor,
        landmarks2d: Tensor,
        landmarks3d: Tensor,
        background: Tensor | None,
    ) -> DecaPictures:
        shape, _ = self.renderer.shape_picture(view, background=background)
        detail, _ = self.renderer.shape_picture(view, head.uv_detail_normals, background)
        rendered = torch.zeros_like(shape) if head.albedo is None else self.renderer.textured(view, head.albedo)
        if background is not None:
            rendered = rendered + background * (1 - view.alpha)
        return DecaPictures(
            rendered, view.alpha, view.normals, view.grid, shape, detail, landmarks2d, landmarks3d, view, projected
        )

    def depth(self, pictures: DecaPictures) -> Tensor:
        """Depth picture (B, 1, H, W): nearest 1, farthest and background 0."""
        return self.renderer.depth_picture(pictures.view, pictures.projected)


def to_eye(normals: Tensor) -> Tensor:
    """World normals as the crop's camera sees them: it scales evenly and turns y and z round."""
    return normals * normals.new_tensor([1.0, -1.0, -1.0])


def turned(code: DecaCode, yaw_degrees: float, cam: tuple[float, float, float] | None = (8.0, 0.0, 0.0)) -> DecaCode:
    """The head seen at a yaw, under a fixed camera unless ``cam`` is None."""
    angles = code.pose.new_tensor([[0.0, yaw_degrees, 0.0]]).deg2rad()
    turn = matrix_to_axis_angle(euler_to_matrix(angles, "XYZ")).expand(len(code.pose), -1)
    pose = torch.cat([turn, code.pose[:, 3:]], dim=1)
    fixed = code.cam if cam is None else code.cam.new_tensor(cam).expand(len(code.cam), -1)
    return replace(code, pose=pose, cam=fixed)


def with_jaw(code: DecaCode, opening_degrees: float) -> DecaCode:
    """The head with its jaw opened by an angle."""
    angles = code.pose.new_tensor([[opening_degrees, 0.0, 0.0]]).deg2rad()
    jaw = matrix_to_axis_angle(euler_to_matrix(angles, "XYZ")).expand(len(code.pose), -1)
    return replace(code, pose=torch.cat([code.pose[:, :3], jaw], dim=1))


YAW_TOUR = (*range(0, 26, 5), *range(30, -26, -5), *range(-30, 0, 5))  # degrees: out to one side, the other, and back
JAW_TOUR = tuple(range(0, 31, 2))
