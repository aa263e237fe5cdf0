"""BiSeNet face parsing (Yu et al., ECCV 2018; 19 CelebAMask-HQ classes)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
LABELS = (
    "background",
    "skin",
    "l_brow",
    "r_brow",
    "l_eye",
    "r_eye",
    "eye_g",
    "l_ear",
    "r_ear",
    "ear_r",
    "nose",
    "mouth",
    "u_lip",
    "l_lip",
    "neck",
    "neck_l",
    "cloth",
    "hair",
    "hat",
)


class ConvNormRelu(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, channels: int, out: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x)).relu()


class Refinement(nn.Module):
    """Attention refinement: features scaled by what their mean says."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = ConvNormRelu(channels, out)
        self.conv_atten = nn.Conv2d(out, out, 1, bias=False)
        self.bn_atten = nn.BatchNorm2d(out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x * self.bn_atten(self.conv_atten(x.mean((2, 3), keepdim=True))).sigmoid()


class ContextPath(nn.Module):
    """ResNet-18 features at strides 8, 16, 32, the coarse ones refined and carried up."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = resnet18(weights=None)
        self.resnet.fc = nn.Identity()
        self.arm16 = Refinement(256, 128)
        self.arm32 = Refinement(512, 128)
        self.conv_head32 = ConvNormRelu(128, 128)
        self.conv_head16 = ConvNormRelu(128, 128)
        self.conv_avg = ConvNormRelu(512, 128, kernel=1)

    def backbone(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        net = self.resnet
        x = net.layer1(net.maxpool(net.relu(net.bn1(net.conv1(x)))))
        feat8 = net.layer2(x)
        feat16 = net.layer3(feat8)
        return feat8, feat16, net.layer4(feat16)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features at stride 8, and the carried context at strides 8 and 16."""
        feat8, feat16, feat32 = self.backbone(x)
        context = self.conv_avg(feat32.mean((2, 3), keepdim=True))  # broadcast: nearest enlargement of one pixel
        deep = F.interpolate(self.arm32(feat32) + context, size=feat16.shape[-2:], mode="nearest")
        deep = self.conv_head32(deep)
        fine = F.interpolate(self.arm16(feat16) + deep, size=feat8.shape[-2:], mode="nearest")
        return feat8, self.conv_head16(fine), deep


class Fusion(nn.Module):
    """Joins detail and context, weighted by their mean."""

    def __init__(self, channels: int = 256) -> None:
        super().__init__()
        self.convblk = ConvNormRelu(channels, channels, kernel=1)
        self.conv1 = nn.Conv2d(channels, channels // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(channels // 4, channels, 1, bias=False)

    def forward(self, detail: Tensor, context: Tensor) -> Tensor:
        x = self.convblk(torch.cat([detail, context], dim=1))
        weight = self.conv2(self.conv1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        return x * weight + x


class Head(nn.Module):
    """Class scores at the resolution of its input."""

    def __init__(self, channels: int, middle: int) -> None:
        super().__init__()
        self.conv = ConvNormRelu(channels, middle)
        self.conv_out = nn.Conv2d(middle, len(LABELS), 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """Face parsing: images (B, 3, H, W) RGB normalised by ``MEAN`` and ``DEVIATION`` -> scores (B, 19, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.cp = ContextPath()
        self.ffm = Fusion()
        self.conv_out = Head(256, 256)
        self.conv_out16 = Head(128, 64)  # the coarse heads serve training only
        self.conv_out32 = Head(128, 64)

    def forward(self, images: Tensor) -> Tensor:
        feat8, context, _ = self.cp(images)
        return enlarge(self.conv_out(self.ffm(feat8, context)), images)


def enlarge(scores: Tensor, images: Tensor) -> Tensor:
    """Scores at the size of the images, corners aligned."""
    return F.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=True)


def normalise(images: Tensor) -> Tensor:
    """RGB in [0, 1] (B, 3, H, W) -> network input."""
    mean, deviation = (images.new_tensor(v).view(3, 1, 1) for v in (MEAN, DEVIATION))
    return (images - mean) / deviation
