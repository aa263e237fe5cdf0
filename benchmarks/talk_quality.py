"""How well a speaking video fits its voice, measured by finding the face in it again.

Lip closure on p, b and m and in silence, correlation of the opening with the vowels' height, offset of picture and
sound, flicker, identity drift, and what changed outside of the mouth. LSE-C and LSE-D: ``benchmarks.talk_sync``.

    python -m benchmarks.talk_quality --video FACE --audio VOICE [--transcript FILE] [--seconds N] [--engine viseme]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
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
from pipelines.media.video import Frame, VideoReader, probe
from pipelines.talk.alignment import similarity
from pipelines.talk.options import TalkOptions
from pipelines.talk.pipeline import TalkPipeline
from pipelines.talk.schedule import back_and_forth, hold, play
from pipelines.talk.spectrum import analyse
from pipelines.talk.speech import PADDING
from pipelines.talk.visemes import LIP_CLOSERS
from pipelines.talk.voice_activity import find_speech
from pipelines.tracking.face_measure import Measurement, measure_photo, measure_video
from pipelines.tracking.face_points import EYES, SKULL, opening
from pipelines.tracking.face_tracker import Face, FaceTracker
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.options import FaceOptions, SearchOptions

CLOSED = 0.15  # of the clip's 95th percentile of opening
HEIGHTS = {"AA": 1.0, "AE": 0.9, "AW": 0.9, "AY": 0.9, "AO": 0.8, "AH": 0.65, "EH": 0.65, "EY": 0.5, "OW": 0.55,
           "OY": 0.6, "ER": 0.45, "IH": 0.4, "IY": 0.3, "UH": 0.4, "UW": 0.3}  # fmt: skip
LONGEST_LAG = 6  # frames
SKIN = 0.35  # how far around the face, in face heights, a change counts as the face's own


@dataclass(frozen=True)
class Quality:
    """Shares 0..1. Closed is an opening under 15 % of the clip's 95th percentile, with the face found anew in every
    frame, or followed. ``offset_frames`` is positive for a late mouth, ``outside_psnr`` in dB, ``flicker`` the second
    difference of the opening against its 95th percentile, ``flicker_outside`` that of the picture beside the face in
    grey levels, less the source's own. ``identity_drift`` is how far the parts of the face that speech does not move
    are from the source's, in eye distances after the best similarity."""

    frames: int
    audio_frames: int
    closed_on_pbm: float
    closed_on_pbm_followed: float
    pbm_frames: int
    closed_in_silence: float
    closed_in_silence_followed: float
    silent_frames: int
    height_correlation: float
    offset_frames: int
    outside_psnr: float
    flicker: float
    flicker_outside: float
    identity_drift: float
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


@dataclass(frozen=True)
class Redetected:
    """The result's faces found again: ``times`` (F,), openings of the mouth (F,) with every frame searched anew and
    with the face followed from frame to frame, NaN where no face is; ``still`` (F, K, 2) what speech does not move."""

    times: np.ndarray
    anew: np.ndarray
    followed: np.ndarray
    still: np.ndarray


def redetect(video: Path, ctx: RunContext) -> Redetected:
    """Nothing is smoothed."""
    networks = BlazeNetworks(ctx.cache, ctx.weights)
    tracker = FaceTracker(networks, FaceOptions(smoothing=None))
    quick = FaceTracker(networks, FaceOptions(smoothing=None, search=SearchOptions(tiled=False)))
    frames: list[Frame] = []

    def noted() -> Iterator[Frame]:
        for frame in VideoReader(video, ctx.settings.limits):
            frames.append(frame)
            yield frame

    times, anew, followed, still = [], [], [], []
    for found in tracker.stream(noted()):
        followed.append(_largest([f.face for f in found.faces]))
        times.append(found.time)
        anew.append(_largest(quick.find_faces(frames.pop(0).rgb)))
        face = followed[-1]
        still.append(face[list(SKULL), :2] if face is not None else np.full((len(SKULL), 2), np.nan))
    gaps = [
        np.array([np.nan if face is None else float(opening(face)) for face in faces]) for faces in (anew, followed)
    ]
    if not all(np.isfinite(gap).any() for gap in gaps):
        raise SystemExit("no face was found in the result")
    return Redetected(np.array(times), *gaps, np.array(still))


def _largest(faces: Sequence[Face]) -> np.ndarray | None:
    face = max(faces, key=lambda f: f.size, default=None)
    return None if face is None else face.landmarks


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
    found = redetect(result, ctx)
    gap = found.anew
    middle = found.times - found.times[0] + 0.5 / float(info.fps)
    phones = phones_of(samples, transcript)
    rest = float(np.nanpercentile(gap, 2))
    top = float(np.nanpercentile(gap, 95))
    shut = gap < CLOSED * top
    shut_followed = found.followed < CLOSED * np.nanpercentile(found.followed, 95)
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
    psnr, flicker, drifted = against_source(source, result, found, ctx)
    return Quality(
        frames=info.frames,
        audio_frames=round(len(samples) / RATE * float(info.fps)),
        closed_on_pbm=float(shut[pbm].mean()) if pbm.any() else float("nan"),
        closed_on_pbm_followed=float(shut_followed[pbm].mean()) if pbm.any() else float("nan"),
        pbm_frames=int(pbm.sum()),
        closed_in_silence=float(shut[quiet].mean()) if quiet.any() else float("nan"),
        closed_in_silence_followed=float(shut_followed[quiet].mean()) if quiet.any() else float("nan"),
        silent_frames=int(quiet.sum()),
        height_correlation=float(np.corrcoef(heights[known], gap[known])[0, 1]) if known.sum() > 5 else float("nan"),
        offset_frames=offset(gap, heights),
        outside_psnr=psnr,
        flicker=float(np.nanmedian(np.abs(np.diff(gap, 2))) / max(top - rest, 1e-6)),
        flicker_outside=flicker,
        identity_drift=drifted,
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


def against_source(source: Path, result: Path, found: Redetected, ctx: RunContext) -> tuple[float, float, float]:
    """What changed beside the mouth: signal-to-noise ratio (dB) of everything farther from a face than a part of its
    height, flicker there in grey levels less the source's, and identity drift."""
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
    changes: list[float] = []
    last: list[tuple[np.ndarray, np.ndarray]] = []
    for frame, item in zip(VideoReader(result, limits), shown, strict=False):
        made, given = luma(frame.rgb), luma(item.rgb)  # H.264 in 4:2:0 keeps a quarter of the colour
        far = np.ones(made.shape, bool)
        for face in measured.faces:
            if not face.seen[item.source]:
                continue
            points = face.points[item.source][:, :2]
            low, high = points.min(axis=0), points.max(axis=0)
            pad = SKIN * (high[1] - low[1])
            x0, y0 = np.maximum(low - pad, 0).astype(int)
            x1, y1 = np.maximum(high + pad, 0).astype(int)
            far[y0:y1, x0:x1] = False
        difference = (made - given)[far]
        error, count = error + float((difference**2).sum()), count + difference.size
        last = [*last[-2:], (made[::4, ::4], given[::4, ::4])]
        if len(last) == 3:
            ours, theirs = (np.abs(a - 2 * b + c)[far[::4, ::4]].mean() for a, b, c in zip(*last, strict=True))
            changes.append(float(ours - theirs))
    main = max(measured.faces, key=lambda face: face.size)
    at = indices[: len(found.still)]
    usable = main.seen[at] & np.isfinite(found.still[: len(at)]).all(axis=(1, 2))
    before = main.points[at][usable]
    eyes = np.linalg.norm(before[:, EYES[1], :2] - before[:, EYES[0], :2], axis=-1)
    drifted = drift(before[:, list(SKULL), :2], found.still[: len(at)][usable], eyes)
    psnr = float(10 * np.log10(255.0**2 / max(error / max(count, 1), 1e-9)))
    return psnr, float(np.median(changes)) if changes else 0.0, drifted


def drift(before: np.ndarray, after: np.ndarray, eyes: np.ndarray) -> float:
    """Mean distance of points (F, K, 2) from others, in eye distances (F,), after the best similarity per frame."""
    found = []
    for a, b, eye in zip(before.astype(float), after.astype(float), eyes, strict=True):
        fit = similarity(a, b)
        moved = a @ fit[:, :2].T + fit[:, 2]
        found.append(np.linalg.norm(moved - b, axis=1).mean() / (np.sqrt(np.linalg.det(fit[:, :2])) * eye))
    return float(np.mean(found)) if found else float("nan")


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
