"""Wav2Lip's lip generator and its lip-sync expert (Prajwal et al., ACM MM 2020)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FACE_SIZE = 96
MEL_BANDS, MEL_STEPS = 80, 16
SYNC_FRAMES = 5


class ConvBlock(nn.Module):
    """Convolution, batch norm, optionally the input added, ReLU."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int = 1,
        residual: bool = False,
    ) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(nn.Conv2d(channels, out, kernel, stride, padding), nn.BatchNorm2d(out))
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv_block(x)
        return (y + x if self.residual else y).relu()


class UpBlock(nn.Module):
    """Transposed convolution, batch norm, ReLU; doubles the resolution unless ``first``, which grows 1 to 3."""

    def __init__(self, channels: int, out: int, first: bool = False) -> None:
        super().__init__()
        stride, padding, extra = (1, 0, 0) if first else (2, 1, 1)
        up = nn.ConvTranspose2d(channels, out, 3, stride, padding, extra)
        self.conv_block = nn.Sequential(up, nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_block(x).relu()


def _residuals(channels: int, count: int) -> list[nn.Module]:
    return [ConvBlock(channels, channels, residual=True) for _ in range(count)]


def _audio_encoder(tail_residuals: int) -> nn.Sequential:
    """(B, 1, 80, 16) -> (B, 512, 1, 1)."""
    return nn.Sequential(
        ConvBlock(1, 32),
        *_residuals(32, 2),
        ConvBlock(32, 64, stride=(3, 1)),
        *_residuals(64, 2),
        ConvBlock(64, 128, stride=3),
        *_residuals(128, 2),
        ConvBlock(128, 256, stride=(3, 2)),
        *_residuals(256, tail_residuals),
        ConvBlock(256, 512, padding=0),
        ConvBlock(512, 512, kernel=1, padding=0),
    )


class Wav2Lip(nn.Module):
    """Draws the mouth of a face crop for 16 mel columns.

    audio (B, 1, 80, 16) and faces (B, 6, 96, 96) -> (B, 3, 96, 96); BGR in [0, 1]. The six channels are the crop with
    its lower half zeroed, then the whole crop.
    """

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder_blocks = nn.ModuleList(
            [
                nn.Sequential(ConvBlock(6, 16, kernel=7, padding=3)),
                nn.Sequential(ConvBlock(16, 32, stride=2), *_residuals(32, 2)),
                nn.Sequential(ConvBlock(32, 64, stride=2), *_residuals(64, 3)),
                nn.Sequential(ConvBlock(64, 128, stride=2), *_residuals(128, 2)),
                nn.Sequential(ConvBlock(128, 256, stride=2), *_residuals(256, 2)),
                nn.Sequential(ConvBlock(256, 512, stride=2), *_residuals(512, 1)),
                nn.Sequential(ConvBlock(512, 512, padding=0), ConvBlock(512, 512, kernel=1, padding=0)),
            ]
        )
        self.audio_encoder = _audio_encoder(tail_residuals=1)
        self.face_decoder_blocks = nn.ModuleList(
            [
                nn.Sequential(ConvBlock(512, 512, kernel=1, padding=0)),
                nn.Sequential(UpBlock(1024, 512, first=True), *_residuals(512, 1)),
                nn.Sequential(UpBlock(1024, 512), *_residuals(512, 2)),
                nn.Sequential(UpBlock(768, 384), *_residuals(384, 2)),
                nn.Sequential(UpBlock(512, 256), *_residuals(256, 2)),
                nn.Sequential(UpBlock(320, 128), *_residuals(128, 2)),
                nn.Sequential(UpBlock(160, 64), *_residuals(64, 2)),
            ]
        )
        self.output_block = nn.Sequential(ConvBlock(80, 32), nn.Conv2d(32, 3, 1), nn.Sigmoid())

    def forward(self, audio: Tensor, faces: Tensor) -> Tensor:
        features = []
        x = faces
        for block in self.face_encoder_blocks:
            x = block(x)
            features.append(x)
        x = self.audio_encoder(audio)  # (B, 512, 1, 1)
        for block, feature in zip(self.face_decoder_blocks, reversed(features), strict=True):
            x = torch.cat([block(x), feature], dim=1)
        return self.output_block(x)


class SyncNet(nn.Module):
    """The lip-sync expert: embeds speech and mouths so that matching pairs point the same way.

    audio (B, 1, 80, 16) and faces (B, 15, 48, 96), five lower face halves stacked, BGR in [0, 1] -> two (B, 512) unit
    vectors.
    """

    def __init__(self) -> None:
        super().__init__()
        self.face_encoder = nn.Sequential(
            ConvBlock(3 * SYNC_FRAMES, 32, kernel=7, padding=3),
            ConvBlock(32, 64, kernel=5, stride=(1, 2)),
            *_residuals(64, 2),
            ConvBlock(64, 128, stride=2),
            *_residuals(128, 3),
            ConvBlock(128, 256, stride=2),
            *_residuals(256, 2),
            ConvBlock(256, 512, stride=2),
            *_residuals(512, 2),
            ConvBlock(512, 512, stride=2),
            ConvBlock(512, 512, padding=0),
            ConvBlock(512, 512, kernel=1, padding=0),
        )
        self.audio_encoder = _audio_encoder(tail_residuals=2)

    def embed_audio(self, audio: Tensor) -> Tensor:
        return F.normalize(self.audio_encoder(audio).flatten(1), dim=1)

    def embed_faces(self, faces: Tensor) -> Tensor:
        return F.normalize(self.face_encoder(faces).flatten(1), dim=1)

    def forward(self, audio: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
        return self.embed_audio(audio), self.embed_faces(faces)


def mask_lower_half(faces: Tensor) -> Tensor:
    """The generator's six input channels from crops (B, 3, 96, 96)."""
    masked = faces.clone()
    masked[:, :, FACE_SIZE // 2 :] = 0
    return torch.cat([masked, faces], dim=1)
