"""How well a speaking video fits its voice, measured by finding the face in it again.

Lip closure on p, b and m and in silence, correlation of the opening with the vowels' height, offset of picture and
sound, flicker, and what changed outside of the mouth; LSE-C and LSE-D besides, where the lip-sync expert is installed.

    python -m benchmarks.talk_quality --video FACE --audio VOICE [--transcript FILE] [--seconds N] [--engine viseme]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from models.talking.phones import RATE, Phone, PhoneRecognizer
from pipelines.base import Inputs, RunContext, Timings, run
from pipelines.media.audio import read_audio
from pipelines.media.sniff import sniff
from pipelines.media.video import VideoReader, probe
from pipelines.talk.options import TalkOptions
from pipelines.talk.pipeline import TalkPipeline
from pipelines.talk.schedule import back_and_forth, hold, play
from pipelines.talk.spectrum import analyse
from pipelines.talk.speech import PADDING
from pipelines.talk.visemes import LIP_CLOSERS
from pipelines.talk.voice_activity import find_speech
from pipelines.tracking.face_measure import Measurement, measure_photo, measure_video
from pipelines.tracking.face_points import opening
from pipelines.tracking.face_tracker import FaceTracker
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.options import FaceOptions

CLOSED = 0.15  # of the clip's 95th percentile of opening
HEIGHTS = {"AA": 1.0, "AE": 0.9, "AW": 0.9, "AY": 0.9, "AO": 0.8, "AH": 0.65, "EH": 0.65, "EY": 0.5, "OW": 0.55,
           "OY": 0.6, "ER": 0.45, "IH": 0.4, "IY": 0.3, "UH": 0.4, "UW": 0.3}  # fmt: skip
LONGEST_LAG = 6  # frames
SKIN = 0.35  # how far around the face, in face heights, a change counts as the face's own


@dataclass(frozen=True)
class Quality:
    """Shares 0..1. Closed is an opening under 15 % of its 95th percentile, or of its span over the smallest one, since
    detectors seldom read 0 on closed lips. ``offset_frames`` is positive for a late mouth, ``outside_psnr`` in dB."""

    frames: int
    audio_frames: int
    closed_on_pbm: float
    closed_on_pbm_over_rest: float
    pbm_frames: int
    closed_in_silence: float
    closed_in_silence_over_rest: float
    silent_frames: int
    height_correlation: float
    offset_frames: int
    outside_psnr: float
    flicker: float
    opening_p95: float


def phones_of(samples: np.ndarray, transcript: str) -> tuple[Phone, ...]:
    """Forced alignment of a transcript; without one, of the words that are recognised stretch by stretch."""
    recognizer = PhoneRecognizer()
    quiet = np.random.default_rng(0).normal(0, 1e-4, round(PADDING * RATE)).astype(np.float32)
    if transcript.strip():
        found = recognizer.align(np.concatenate([quiet, samples, quiet]), transcript)
        return tuple(Phone(p.name, p.start - PADDING, p.end - PADDING) for p in found)
    phones: list[Phone] = []
    for start, end in find_speech(analyse(samples)).stretches():
        first = max(0.0, start - PADDING)
        part = samples[int(first * RATE) : int((end + PADDING) * RATE)]
        words = " ".join(w.text for w in recognizer.words(part))
        phones += [Phone(p.name, p.start + first, p.end + first) for p in recognizer.align(part, words)]
    return tuple(phones)


def openings(video: Path, ctx: RunContext) -> tuple[np.ndarray, np.ndarray]:
    """Opening of the mouth found again in each frame (NaN where no face is), not smoothed, and the frames' times."""
    tracker = FaceTracker(BlazeNetworks(ctx.cache, ctx.weights), FaceOptions(smoothing=None))
    gaps, times = [], []
    for found in tracker.stream(VideoReader(video, ctx.settings.limits)):
        face = max((f.face for f in found.faces), key=lambda f: f.size, default=None)
        gaps.append(float("nan") if face is None else float(opening(face.landmarks)))
        times.append(found.time)
    if not np.isfinite(gaps).any():
        raise SystemExit("no face was found in the result")
    return np.array(gaps), np.array(times)


def in_phones(times: np.ndarray, phones: tuple[Phone, ...], names: tuple[str, ...]) -> np.ndarray:
    """Which times lie inside one of the named phones."""
    hit = np.zeros(len(times), bool)
    for phone in phones:
        if phone.name in names:
            hit |= (times >= phone.start) & (times < phone.end)
    return hit


def measure(source: Path, result: Path, samples: np.ndarray, transcript: str, ctx: RunContext) -> Quality:
    """All measures of one result."""
    info = probe(result, ctx.settings.limits)
    gap, times = openings(result, ctx)
    middle = times - times[0] + 0.5 / float(info.fps)
    phones = phones_of(samples, transcript)
    rest = float(np.nanpercentile(gap, 2))
    top = float(np.nanpercentile(gap, 95))
    shut = gap < CLOSED * top
    near_rest = gap - rest < CLOSED * (top - rest)
    pbm = in_phones(middle, phones, LIP_CLOSERS) & np.isfinite(gap)
    activity = find_speech(analyse(samples))
    at = np.clip((middle * 100).astype(int), 0, len(activity.speaking) - 1)
    near = np.convolve(activity.speaking.astype(float), np.ones(31), mode="same")[at] > 0  # 150 ms around speech
    quiet = ~near & np.isfinite(gap)
    heights = np.full(len(middle), np.nan)
    for phone in phones:
        if phone.name in HEIGHTS:
            heights[(middle >= phone.start) & (middle < phone.end)] = HEIGHTS[phone.name]
        elif phone.name in LIP_CLOSERS:
            heights[(middle >= phone.start) & (middle < phone.end)] = 0.0
    known = np.isfinite(heights) & np.isfinite(gap)
    return Quality(
        frames=info.frames,
        audio_frames=round(len(samples) / RATE * float(info.fps)),
        closed_on_pbm=float(shut[pbm].mean()) if pbm.any() else float("nan"),
        closed_on_pbm_over_rest=float(near_rest[pbm].mean()) if pbm.any() else float("nan"),
        pbm_frames=int(pbm.sum()),
        closed_in_silence=float(shut[quiet].mean()) if quiet.any() else float("nan"),
        closed_in_silence_over_rest=float(near_rest[quiet].mean()) if quiet.any() else float("nan"),
        silent_frames=int(quiet.sum()),
        height_correlation=float(np.corrcoef(heights[known], gap[known])[0, 1]) if known.sum() > 5 else float("nan"),
        offset_frames=offset(gap, heights),
        outside_psnr=outside(source, result, ctx),
        flicker=float(np.nanmedian(np.abs(np.diff(gap, 2))) / max(top - rest, 1e-6)),
        opening_p95=top,
    )


def offset(gap: np.ndarray, heights: np.ndarray) -> int:
    """The lag in frames at which the opening fits the phones best."""
    scores = []
    for lag in range(-LONGEST_LAG, LONGEST_LAG + 1):
        moved = np.full(len(gap), np.nan)
        if lag >= 0:
            moved[: len(gap) - lag] = gap[lag:]
        else:
            moved[-lag:] = gap[:lag]
        known = np.isfinite(moved) & np.isfinite(heights)
        scores.append(np.corrcoef(moved[known], heights[known])[0, 1] if known.sum() > 5 else -1.0)
    return int(np.argmax(scores)) - LONGEST_LAG


def outside(source: Path, result: Path, ctx: RunContext, step: int = 10) -> float:
    """Signal-to-noise ratio (dB) of everything farther from a face than a part of its height."""
    limits = ctx.settings.limits
    photo = sniff(source).kind == "image"
    if photo:
        measured = measure_photo(source, ctx)
    else:
        measured = next(e for e in measure_video(source, ctx) if isinstance(e, Measurement))
    info = probe(result, limits)
    indices = back_and_forth(measured.times, info.frames, info.fps)
    shown = hold(source, limits, info.frames) if photo else play(source, limits, measured.times, indices)
    error, count = 0.0, 0
    for frame, item in zip(VideoReader(result, limits), shown, strict=False):
        if frame.index % step:
            continue
        far = np.ones(frame.rgb.shape[:2], bool)
        for face in measured.faces:
            if not face.seen[item.source]:
                continue
            points = face.points[item.source][:, :2]
            low, high = points.min(axis=0), points.max(axis=0)
            pad = SKIN * (high[1] - low[1])
            x0, y0 = np.maximum(low - pad, 0).astype(int)
            x1, y1 = np.maximum(high + pad, 0).astype(int)
            far[y0:y1, x0:x1] = False
        difference = luma(frame.rgb[far]) - luma(item.rgb[far])  # H.264 in 4:2:0 keeps a quarter of the colour
        error, count = error + float((difference**2).sum()), count + difference.size
    return float(10 * np.log10(255.0**2 / max(error / max(count, 1), 1e-9)))


def luma(rgb: np.ndarray) -> np.ndarray:
    return rgb.astype(np.float64) @ np.array([0.2126, 0.7152, 0.0722])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--audio", type=Path, required=True)
    parser.add_argument("--transcript", type=Path)
    parser.add_argument("--blind", action="store_true", help="do not give the transcript to the engine, only measure")
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--keep", type=Path, help="write the video here")
    parser.add_argument("--still", action="store_true", help="no head motion and no blinks in a photo")
    given = parser.parse_args()
    settings = Settings.from_env(os.environ)
    words = given.transcript.read_text(encoding="utf-8") if given.transcript else ""
    options = TalkOptions.model_validate(
        {
            "engine": given.engine,
            "transcript": "" if given.blind else words,
            "preview_seconds": given.seconds,
            "mark": False,
            "still": {"motion": not given.still, "blinks": not given.still},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        private = settings.with_(workspace_dir=Path(folder))
        cache, weights = ModelCache.from_settings(private), WeightsStore(private)
        ctx = RunContext(Path(folder), private, cache, weights)
        timings = Timings()
        for _ in run(
            TalkPipeline(), Inputs({"source": (given.video,), "voice": (given.audio,)}), options, ctx, timings
        ):
            pass
        result = Path(folder) / "talk.mp4"
        samples = read_audio(given.audio, RATE, private.limits, 0.0, given.seconds or None)
        quality = measure(given.video, result, samples, words, ctx)
        if given.keep:
            given.keep.write_bytes(result.read_bytes())
    seconds = {name: round(value, 2) for name, value in timings.seconds.items()}
    print(json.dumps(asdict(quality) | {"seconds": seconds}, indent=1))


if __name__ == "__main__":
    main()
