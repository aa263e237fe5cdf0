"""The Talk pipeline with the embedded engine, on real faces and every odd input."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import imageio_ffmpeg
import numpy as np
import pytest

from models.runtime.errors import InputError
from pipelines.base import RunContext
from pipelines.media.audio import probe_audio, write_wav
from pipelines.media.image import read_image, write_image
from pipelines.media.video import VideoReader, VideoWriter, probe
from pipelines.talk.options import TalkOptions
from pipelines.talk.pipeline import FACE_FILES
from pipelines.tracking.face_points import opening
from pipelines.tracking.face_tracker import FaceTracker
from pipelines.tracking.networks import BlazeNetworks
from pipelines.tracking.options import FaceOptions
from studio import forms
from tests.talk.conftest import RATE, babble

PLAIN = {"mark": False, "still": {"motion": False, "blinks": False}}


def clip(path: Path, pictures: list[np.ndarray], fps: float = 25.0) -> Path:
    height, width = pictures[0].shape[:2]
    with VideoWriter(path, fps, (width, height), crf=12) as writer:
        for picture in pictures:
            writer.write(picture)
    return path


def openings(video: Path, ctx: RunContext) -> np.ndarray:
    tracker = FaceTracker(BlazeNetworks(ctx.cache, ctx.weights), FaceOptions(smoothing=None))
    frames = tracker.stream(VideoReader(video, ctx.settings.limits))
    return np.array([opening(f.faces[0].face.landmarks) if f.faces else np.nan for f in frames])


def test_options_make_a_form() -> None:
    names = {spec.name for spec in forms.specs(TalkOptions)}
    assert {"engine", "transcript", "faces", "mouth_strength", "still_blinks", "blend_restore"} <= names
    assert FACE_FILES


def test_a_photo_speaks_for_as_long_as_the_voice(talk: Callable, ctx: RunContext, portrait: Path, voice: Path) -> None:
    result = talk(portrait, voice)
    video = ctx.out_dir / "talk.mp4"
    info = probe(video, ctx.settings.limits)
    assert (info.frames, info.fps, info.has_audio) == (50, 25, True)
    assert abs(probe_audio(video, ctx.settings.limits).duration - 2.0) < 0.08
    assert {o.role for o in result.outputs} == {"video", "timeline", "curves", "poster"}
    with av.open(str(video)) as file:
        assert "AI-generated" in file.metadata["comment"]
    gaps = openings(video, ctx)
    assert np.nanmax(gaps) > 2.0 * np.nanmin(gaps)  # the mouth really moves


def test_only_the_face_changes(talk: Callable, ctx: RunContext, portrait: Path, voice: Path) -> None:
    talk(portrait, voice, **PLAIN)
    source = read_image(portrait, ctx.settings.limits).astype(float)
    last = [f.rgb for f in VideoReader(ctx.out_dir / "talk.mp4", ctx.settings.limits)][-10]
    weights = np.array([0.2126, 0.7152, 0.0722])
    error = ((last - source) @ weights)[:70] ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 38


def test_silence_and_music_keep_the_mouth_shut(talk: Callable, ctx: RunContext, portrait: Path, tmp_path: Path) -> None:
    time = np.arange(2 * RATE) / RATE
    chord = sum(np.sin(2 * np.pi * f * time) for f in (220, 277, 330)) * 0.1
    for name, sound in (("silence", np.zeros(2 * RATE)), ("music", chord)):
        result = talk(portrait, write_wav(tmp_path / f"{name}.wav", sound, RATE), **PLAIN)
        assert result.summary["heard_by"] == "silence"
        assert any("No speech" in w for w in result.warnings)
        gaps = openings(ctx.out_dir / "talk.mp4", ctx)
        assert np.ptp(gaps) < 0.02


def test_a_short_clip_plays_back_and_forth(
    talk: Callable, ctx: RunContext, portrait: Path, voice: Path, tmp_path: Path
) -> None:
    base = read_image(portrait, ctx.settings.limits)
    pictures = [np.roll(base, shift, axis=1) for shift in range(0, 14)]
    source = clip(tmp_path / "clip.mp4", pictures, fps=30)
    first = talk(source, voice, **PLAIN)
    assert probe(ctx.out_dir / "talk.mp4", ctx.settings.limits).frames == 60
    assert first.summary["measured_before"] is False
    assert talk(source, voice, **PLAIN).summary["measured_before"] is True


@pytest.mark.parametrize("fps", [Fraction(60), Fraction(30000, 1001), Fraction(24)])
def test_any_frame_rate(
    talk: Callable, ctx: RunContext, portrait: Path, voice: Path, tmp_path: Path, fps: Fraction
) -> None:
    base = read_image(portrait, ctx.settings.limits)
    talk(clip(tmp_path / "clip.mp4", [base] * 8, fps=fps), voice, **PLAIN)
    info = probe(ctx.out_dir / "talk.mp4", ctx.settings.limits)
    assert info.frames == round(2.0 * float(fps)) and abs(float(info.fps - fps)) < 0.01


def test_frames_without_a_face_pass_through(
    talk: Callable, ctx: RunContext, portrait: Path, voice: Path, tmp_path: Path
) -> None:
    base = read_image(portrait, ctx.settings.limits)
    away = np.full_like(base, 90)
    source = clip(tmp_path / "clip.mp4", [base] * 20 + [away] * 20 + [base] * 12)
    result = talk(source, voice, **PLAIN)
    assert 18 <= result.summary["untouched_frames"] <= 24
    assert any("left as they are" in w for w in result.warnings)
    frames = [f.rgb for f in VideoReader(ctx.out_dir / "talk.mp4", ctx.settings.limits)]
    assert len(frames) == 50 and np.abs(frames[30].astype(int) - 90).mean() < 3


def test_two_faces(talk: Callable, ctx: RunContext, portrait: Path, voice: Path, tmp_path: Path) -> None:
    base = read_image(portrait, ctx.settings.limits)
    both = write_image(tmp_path / "two.png", np.concatenate([base, base], axis=1)) or tmp_path / "two.png"
    for choice, moved in (({"faces": "number", "face_number": 2}, (False, True)), ({"faces": "all"}, (True, True))):
        result = talk(both, voice, **PLAIN, **choice)
        assert result.summary["faces_found"] == 2
        frames = np.stack([f.rgb for f in VideoReader(ctx.out_dir / "talk.mp4", ctx.settings.limits)]).astype(float)
        change = np.abs(frames - frames[0]).max(axis=(0, 3))
        left, right = change[100:, :300].max(), change[100:, 300:].max()
        assert (left > 60, right > 60) == moved
    with pytest.raises(InputError, match="no face 5"):
        talk(both, voice, faces="number", face_number=5)


def test_no_face_and_nothing_to_say(talk: Callable, portrait: Path, voice: Path, tmp_path: Path) -> None:
    grey = write_image(tmp_path / "grey.png", np.full((200, 200, 3), 120, np.uint8)) or tmp_path / "grey.png"
    with pytest.raises(InputError, match="No face"):
        talk(grey, voice)
    with pytest.raises(InputError, match="Nothing to say"):
        talk(portrait, None)


@pytest.mark.parametrize(
    ("ending", "arguments"),
    [("mp3", ["-ac", "2"]), ("m4a", ["-ac", "2", "-ar", "44100"]), ("wav", ["-ar", "8000"]), ("ogg", [])],
)
def test_voices_in_any_format(
    talk: Callable, ctx: RunContext, portrait: Path, voice: Path, tmp_path: Path, ending: str, arguments: list[str]
) -> None:
    other = tmp_path / f"other.{ending}"
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(voice), *arguments, str(other)], check=True
    )
    talk(portrait, other, **PLAIN)
    assert abs(probe(ctx.out_dir / "talk.mp4", ctx.settings.limits).frames - 50) <= 2


def test_a_damaged_voice_is_refused(talk: Callable, portrait: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt nonsense" * 3)
    with pytest.raises(InputError, match=r"broken\.wav"):
        talk(portrait, broken)


def test_a_voice_that_breaks_off_is_used_or_refused(
    talk: Callable, ctx: RunContext, portrait: Path, voice: Path, tmp_path: Path
) -> None:
    """An MP3 has its first half; an M4A whose index is at its end has nothing."""
    for ending in ("mp3", "m4a"):
        whole, half = tmp_path / f"whole.{ending}", tmp_path / f"half.{ending}"
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-i", str(voice), str(whole)]
        subprocess.run(command, check=True)
        half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
        if ending == "mp3":
            talk(portrait, half, **PLAIN)
            assert 20 <= probe(ctx.out_dir / "talk.mp4", ctx.settings.limits).frames <= 30
        else:
            with pytest.raises(InputError, match=r"half\.m4a"):
                talk(portrait, half, **PLAIN)


def test_memory_stays_flat(talk: Callable, ctx: RunContext, portrait: Path, tmp_path: Path) -> None:
    """Four times the voice on a looped clip costs hardly more memory."""
    import tracemalloc

    base = read_image(portrait, ctx.settings.limits)
    source = clip(tmp_path / "clip.mp4", [base] * 10)
    peaks = []
    for seconds in (3.0, 12.0):
        sound = write_wav(tmp_path / f"{seconds:g}.wav", babble(seconds), RATE)
        tracemalloc.start()
        talk(source, sound, **PLAIN)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 60e6


def test_a_phone_video_keeps_its_upright_picture(
    talk: Callable, ctx: RunContext, portrait: Path, voice: Path, tmp_path: Path
) -> None:
    """Stored lying on its side, with the rotation in the file's metadata as phones do."""
    lying = np.rot90(read_image(portrait, ctx.settings.limits)[:, 30:270], 1)  # 240 x 300 upright
    stored, turned = clip(tmp_path / "stored.mp4", [lying] * 10), tmp_path / "turned.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", "-display_rotation", "-90", "-i", str(stored)]
    subprocess.run([*command, "-c", "copy", str(turned)], check=True)
    result = talk(turned, voice, **PLAIN)
    info = probe(ctx.out_dir / "talk.mp4", ctx.settings.limits)
    assert (info.width, info.height) == (240, 300)
    assert info.frames == 50 and result.summary["untouched_frames"] == 0
