"""The heads of SMPLer-X: positions, rotations, boxes, hand crops and face."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval
from torchvision.ops import roi_align

from models.smplerx.config import BODY, BODY_HEATMAP, BODY_JOINTS, GRID, HAND_HEATMAP, HAND_JOINTS

FEATURES = 512
UPSCALE = 4  # of the feature map hands are cut from


def linear(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def upsampling(*widths: int) -> nn.Sequential:
    """Doublings by transposed convolutions with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.ConvTranspose2d(before, after, 4, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


class Doubled(nn.Module):
    """One doubling with its norm folded in, as four 2 x 2 convolutions: one for each parity of the output's row and
    column. Equal numbers in evaluation mode, without the scattered writes of a transposed convolution."""

    TAPS = ((3, 1), (2, 0))  # of the 4-wide kernel, for even and for odd places, in the order of the inputs they meet

    def __init__(self, conv: nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        fused = fuse_conv_bn_eval(conv, norm, transpose=True)
        for row in (0, 1):
            for column in (0, 1):
                kernel = fused.weight[:, :, self.TAPS[row]][..., self.TAPS[column]].transpose(0, 1)
                self.register_buffer(f"kernel{row}{column}", kernel.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", fused.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        padded = F.pad(x, (1, 1, 1, 1)).contiguous(memory_format=torch.channels_last)
        out = x.new_empty(len(x), len(self.bias), 2 * height, 2 * width).to(memory_format=torch.channels_last)
        for row in (0, 1):
            for column in (0, 1):
                part = padded[:, :, row : row + height + 1, column : column + width + 1]
                kernel = getattr(self, f"kernel{row}{column}")
                out[:, :, row::2, column::2] = F.conv2d(part, kernel, self.bias)
        return out.relu_()


def doubled(layers: nn.Sequential) -> nn.Sequential:
    """What ``upsampling`` made, for inference alone."""
    pairs = zip(layers[::3], layers[1::3], strict=True)
    return nn.Sequential(*(Doubled(conv, norm) for conv, norm in pairs))


def soft_argmax_3d(heatmaps: Tensor) -> Tensor:
    """Expected (x, y, z) in bins of normalised heat maps (B, J, D, H, W) -> (B, J, 3)."""
    depth, height, width = (torch.arange(n, dtype=heatmaps.dtype, device=heatmaps.device) for n in heatmaps.shape[2:])
    x = (heatmaps.sum((2, 3)) * width).sum(-1)
    y = (heatmaps.sum((2, 4)) * height).sum(-1)
    z = (heatmaps.sum((3, 4)) * depth).sum(-1)
    return torch.stack([x, y, z], dim=-1)


def soft_argmax_2d(scores: Tensor) -> Tensor:
    """Expected (x, y) in cells under the softmax of scores (B, J, H, W) -> (B, J, 2)."""
    heatmaps = scores.flatten(2).softmax(-1).view_as(scores)
    height, width = (torch.arange(n, dtype=scores.dtype, device=scores.device) for n in scores.shape[2:])
    return torch.stack([(heatmaps.sum(2) * width).sum(-1), (heatmaps.sum(3) * height).sum(-1)], dim=-1)


def sample_features(features: Tensor, points: Tensor) -> Tensor:
    """Bilinear features (B, C, H, W) at pixel positions (B, J, 2), zero outside -> (B, J, C)."""
    height, width = features.shape[2:]
    size = points.new_tensor([width - 1, height - 1])
    grid = (points / size * 2 - 1)[:, :, None]  # (B, J, 1, 2)
    return F.grid_sample(features, grid, align_corners=True)[..., 0].transpose(1, 2)


class PositionNet(nn.Module):
    """Volumetric heat maps from a feature map; returns them normalised and the expected joints (x, y, z) in bins."""

    def __init__(self, channels: int, joints: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = (joints, *shape)
        self.conv = nn.Sequential(nn.Conv2d(channels, joints * shape[0], 1))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.conv(features).view(-1, *self.shape)
        heatmaps = scores.flatten(2).softmax(-1).view_as(scores)  # (B, J, D, H, W)
        return heatmaps, soft_argmax_3d(heatmaps)


class BodyRegressor(nn.Module):
    """Root and body rotations (6 numbers each), shape and camera from the task tokens and the joints."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body_conv = linear(channels, FEATURES)
        self.root_pose_out = linear(BODY_JOINTS * (FEATURES + 3), 6)
        self.body_pose_out = linear(BODY_JOINTS * (FEATURES + 3), 21 * 6)
        self.shape_out = linear(channels, 10)
        self.cam_out = linear(channels, 3)

    def forward(self, body: Tensor, shape: Tensor, camera: Tensor, joints: Tensor) -> tuple[Tensor, ...]:
        features = torch.cat([self.body_conv(body), joints.detach()], dim=-1).flatten(1)
        return (
            self.root_pose_out(features),
            self.body_pose_out(features),
            self.shape_out(shape),
            self.cam_out(camera),
        )


class BoxNet(nn.Module):
    """Centres and sizes (w, h) of left hand, right hand and face in 16 x 12 heat-map units: two (B, 3, 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inputs = channels + BODY_JOINTS * BODY_HEATMAP[0]
        self.deconv = upsampling(inputs, 256, 256, 256)
        self.bbox_center = nn.Sequential(nn.Conv2d(256, 3, 1))
        self.lhand_size = linear(256, 256, 2)
        self.rhand_size = linear(256, 256, 2)
        self.face_size = linear(256, 256, 2)

    def forward(self, features: Tensor, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        x = self.deconv(torch.cat([features, heatmaps.flatten(1, 2)], dim=1))  # (B, 256, 128, 96)
        cells = soft_argmax_2d(self.bbox_center(x))  # (B, 3, 2)
        found = sample_features(x, cells.detach())
        sizes = [head(found[:, i]) for i, head in enumerate((self.lhand_size, self.rhand_size, self.face_size))]
        return cells / 8, torch.stack(sizes, dim=1)


class HandRoi(nn.Module):
    """Cuts both hands out of an enlarged feature map: 16 x 16, the left one mirrored, all left hands first."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deconv = upsampling(channels, channels // 2, channels // 4)
        self.conv = nn.Sequential(nn.Conv2d(channels // 4, channels, 1))

    def cut(self, features: Tensor, left: Tensor, right: Tensor) -> Tensor:
        """Crops (2 B, C / 4, 16, 16) by boxes (B, 4) x1, y1, x2, y2 in body pixels (192 x 256)."""
        enlarged = self.deconv(features)
        scale = left.new_tensor([GRID[1] * UPSCALE / BODY[1], GRID[0] * UPSCALE / BODY[0]] * 2)
        index = torch.arange(len(left), dtype=left.dtype, device=left.device)[:, None]
        boxes = torch.cat([torch.cat([index, box * scale], dim=1) for box in (left, right)])
        crops = roi_align(enlarged, boxes, HAND_HEATMAP[1:], spatial_scale=1.0, sampling_ratio=-1, aligned=False)
        return torch.cat([crops[: len(left)].flip(3), crops[len(left) :]])

    def forward(self, features: Tensor, left: Tensor, right: Tensor) -> Tensor:
        return self.conv(self.cut(features, left, right))  # (2 B, C, 16, 16)


class HandRegressor(nn.Module):
    """15 finger rotations (6 numbers each) from hand features and joints."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.hand_conv = nn.Sequential(nn.Conv2d(channels, FEATURES, 1), nn.BatchNorm2d(FEATURES), nn.ReLU())
        self.hand_pose_out = linear(HAND_JOINTS * (FEATURES + 3), 15 * 6)

    def forward(self, features: Tensor, joints: Tensor) -> Tensor:
        joints = joints.detach()
        found = sample_features(self.hand_conv(features), joints[..., :2])
        return self.hand_pose_out(torch.cat([found, joints], dim=-1).flatten(1))


class FaceRegressor(nn.Module):
    """Expression (10) and jaw rotation (6 numbers) from their tokens."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expr_out = linear(channels, 10)
        self.jaw_pose_out = linear(channels, 6)

    def forward(self, expression: Tensor, jaw: Tensor) -> tuple[Tensor, Tensor]:
        return self.expr_out(expression), self.jaw_pose_out(jaw)
