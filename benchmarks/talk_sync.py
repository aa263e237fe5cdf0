"""LSE-D and LSE-C of a speaking video by Wav2Lip's lip-sync expert (Prajwal et al. 2020, section 4).

Mouths of five frames and the voice around them are embedded; distances are taken at offsets of up to fifteen frames.
LSE-D is the smallest mean distance over the offsets, LSE-C how far it lies under their median. The expert's embeddings
have unit length, so distances lie in 0..2 and compare with one another, not with tables made by another SyncNet.

    python -m benchmarks.talk_sync --video SPEAKING_VIDEO [--audio VOICE]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from models.talking.audio_features import RATE, wav2lip_mel
from models.talking.checkpoint import load
from models.talking.wav2lip import FACE_SIZE, MEL_STEPS, SYNC_FRAMES, SyncNet
from pipelines.base import RunContext
from pipelines.media.audio import read_audio
from pipelines.media.video import VideoReader
from pipelines.tracking.face_tracker import FaceTracker
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.options import FaceOptions

WEIGHT = "wav2lip-syncnet"
FPS = 25.0  # the expert's own
MEL_PER_SECOND = 80.0
LONGEST = 15  # frames
BATCH = 32
BELOW = 0.05  # of the face's height added under the chin


@dataclass(frozen=True)
class Sync:
    """``lse_d`` (smaller is better), ``lse_c`` (larger is better), ``offset_frames`` at 25 a second, positive where the
    mouth is late."""

    lse_d: float
    lse_c: float
    offset_frames: int


def mouths(video: Path, ctx: RunContext) -> np.ndarray:
    """Lower half faces (F, 48, 96, 3) uint8 BGR at 25 frames a second; frames without a face repeat the one before."""
    tracker = FaceTracker(BlazeNetworks(ctx.cache, ctx.weights), FaceOptions(smoothing=None))
    frames = list[np.ndarray]()
    found, times = [], []

    def noted():
        for frame in VideoReader(video, ctx.settings.limits):
            frames.append(frame.rgb)
            yield frame

    for seen in tracker.stream(noted()):
        rgb = frames.pop(0)
        face = max((f.face for f in seen.faces), key=lambda f: f.size, default=None)
        if face is not None:
            (x0, y0), (x1, y1) = face.landmarks[:, :2].min(axis=0), face.landmarks[:, :2].max(axis=0)
            height, width = rgb.shape[:2]
            box = np.clip([x0, y0, x1, y1 + BELOW * (y1 - y0)], 0, [width, height, width, height]).astype(int)
            crop = rgb[box[1] : box[3], box[0] : box[2], ::-1]
            found.append(cv2.resize(crop, (FACE_SIZE, FACE_SIZE))[FACE_SIZE // 2 :])
        elif found:
            found.append(found[-1])
        else:
            continue
        times.append(seen.time)
    if len(found) < SYNC_FRAMES + 1:
        raise SystemExit("too few frames with a face")
    even = np.arange(times[0], times[-1] + 1e-6, 1 / FPS)
    return np.stack(found)[np.abs(np.array(times)[None] - even[:, None]).argmin(axis=1)]


def sync_of(expert: SyncNet, faces: np.ndarray, samples: np.ndarray) -> Sync:
    """Scores of lower half faces (F, 48, 96, 3) uint8 BGR at 25 a second and mono samples (N,) at 16 kHz."""
    noise = np.random.default_rng(0).normal(0, 1e-4, len(samples)).astype(np.float32)
    mel = wav2lip_mel(samples + noise)
    pixels = torch.from_numpy(faces).permute(0, 3, 1, 2).float() / 255  # (F, 3, 48, 96)
    starts = [int(i * MEL_PER_SECOND / FPS) for i in range(len(faces) - SYNC_FRAMES + 1)]
    starts = [start for start in starts if start + MEL_STEPS <= mel.shape[1]]
    if not starts:
        raise SystemExit("the voice is too short")
    looks, sounds = [], []
    with torch.inference_mode():
        for first in range(0, len(starts), BATCH):
            at = range(first, min(first + BATCH, len(starts)))
            looks.append(expert.embed_faces(torch.stack([pixels[i : i + SYNC_FRAMES].flatten(0, 1) for i in at])))
            columns = np.stack([mel[:, starts[i] : starts[i] + MEL_STEPS] for i in at])
            sounds.append(expert.embed_audio(torch.from_numpy(columns)[:, None]))
    look, sound = torch.cat(looks).numpy(), torch.cat(sounds).numpy()
    offsets = [k for k in range(-LONGEST, LONGEST + 1) if abs(k) < len(look)]
    means = [float(np.linalg.norm(_from(look, k) - _from(sound, -k), axis=1).mean()) for k in offsets]
    best = int(np.argmin(means))
    return Sync(means[best], float(np.median(means)) - means[best], offsets[best])


def _from(rows: np.ndarray, shift: int) -> np.ndarray:
    """Rows with the first ``shift`` left out, or the last ones where it is negative."""
    return rows[shift:] if shift >= 0 else rows[:shift]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--audio", type=Path, help="the video's own sound where left out")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings.from_env(os.environ).with_(workspace_dir=Path(folder))
        weights = WeightsStore(settings)
        if not weights.installed(WEIGHT):
            raise SystemExit(f"This needs {WEIGHT}: `python -m studio weights get {WEIGHT}` says where it comes from")
        ctx = RunContext(Path(folder), settings, ModelCache.from_settings(settings), weights)
        expert = load("syncnet", weights.path(WEIGHT), torch.device("cpu"))
        samples = read_audio(given.audio or given.video, RATE, settings.limits, 0.0, None)
        print(json.dumps(asdict(sync_of(expert, mouths(given.video, ctx), samples)), indent=1))


if __name__ == "__main__":
    main()
