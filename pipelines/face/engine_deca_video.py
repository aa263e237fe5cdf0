"""Engine ``deca`` on videos: faces found once, codes held steady, heads drawn into the clip, and heads that are driven.

Nothing is held for longer than a few frames but the codes themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from models.deca.network import DecaCode
from models.runtime.errors import InputError
from pipelines.base import Event, Progress
from pipelines.export.npz import write_npz
from pipelines.face import deca_files, deca_outputs, exports, flame_exports
from pipelines.face.blendshapes import NAMES
from pipelines.face.deca_detect import Found, cropped_mesh, find_faces
from pipelines.face.deca_motion import Track, steady, worn
from pipelines.face.deca_network import code_map, decode, draw_in_photo, encode, joined, posed, rows
from pipelines.face.flame_shapes import ahead
from pipelines.face.repose import FACING, Look, portrait
from pipelines.media.image import read_image, write_image
from pipelines.media.sniff import sniff
from pipelines.media.video import BackgroundWriter, VideoReader, VideoWriter, prefetch, probe
from pipelines.tracking.face_measure import FaceTrack, Measurement, choose_faces, measure_video

if TYPE_CHECKING:
    from pipelines.face.engine_deca import DecaEngine, Subject

OVERLAY_SIDE = 960  # pixels of the clip that heads are drawn into
CLIP_SIDE = 512
CHUNK = 32  # heads posed together
REPORT = 5
SAMPLED, OWN, CLOSE = 160, 12, 1e-4  # frames, shapes at most, and metres that the shapes of a clip's own may be off


@dataclass(frozen=True)
class Performance:
    """What a head is to do: its codes (batch T), rotations (T, 3, 3), y up, times (T,), seen (T,) and the rate."""

    code: DecaCode
    rotations: NDArray[np.floating]
    times: NDArray[np.floating]
    seen: NDArray[np.bool_]
    fps: Fraction
    source: Path


class _Reading:
    """The codes of one face, frame by frame, in arrays made once: thousands of small tensors among the networks' large
    ones would keep memory from being given back."""

    def __init__(self, frames: int) -> None:
        self.seen = np.zeros(frames, bool)
        self.tforms = np.zeros((frames, 3, 3))
        self.parts: dict[str, NDArray[np.float32]] = {}

    def note(self, index: int, code: DecaCode, tform: NDArray[np.float64]) -> None:
        """Takes down the code (batch 1) of a frame and the transform (3, 3) to its crop."""
        for name, part in vars(code).items():
            values = part.numpy()
            if name not in self.parts:
                self.parts[name] = np.zeros((len(self.seen), *values.shape[1:]), np.float32)
            self.parts[name][index] = values[0]
        self.seen[index], self.tforms[index] = True, tform

    def track(self, number: int, times: NDArray[np.floating]) -> Track:
        """What was read. Raises InputError when the face was never in sight."""
        if not self.seen.any():
            raise InputError(f"Face {number} is nowhere in sight in this clip")
        frames = np.flatnonzero(self.seen)
        code = DecaCode(**{name: torch.from_numpy(values[frames]) for name, values in self.parts.items()})
        return Track(number, frames, times[frames], code, self.tforms[frames])


class DecaVideo:
    """The parts of a job that have to do with clips; results go where the engine's go."""

    def __init__(self, engine: DecaEngine) -> None:
        self.engine, self.ctx, self.options = engine, engine.ctx, engine.options
        self.limits = engine.ctx.settings.limits

    # Reading a clip

    def tracks(self, path: Path, which: str, number: int) -> Iterator[Event | Measurement | Track]:
        """Events, the measurement, then one smoothed track per chosen face."""
        yield Progress("measure", note="Following the faces")
        measurement = None
        for event in measure_video(path, self.ctx):
            if isinstance(event, Measurement):
                measurement = event
            else:
                yield event
        chosen = choose_faces(measurement, which, number)
        yield measurement
        read = [_Reading(measurement.frames) for _ in chosen]
        waiting: list[tuple[int, int, Found]] = []
        deca = self.options.deca

        def flush() -> None:
            if waiting:
                crops = np.stack([found.crop for _, _, found in waiting])
                codes = encode(self.engine.files, self.ctx.settings, crops, deca.batch)
                for j, (k, index, found) in enumerate(waiting):
                    read[k].note(index, rows(codes, [j]), found.tform)
                waiting.clear()

        for frame in prefetch(VideoReader(path, self.limits), depth=4):
            for k, face in enumerate(chosen):
                if frame.index < measurement.frames and face.seen[frame.index]:
                    waiting.append((k, frame.index, cropped_mesh(frame.rgb, face.points[frame.index], deca)))
            if len(waiting) >= deca.batch:
                flush()
                yield Progress("encode", frame.index, measurement.frames, "Reading the faces")
                self.ctx.check()
        flush()
        for k, face in enumerate(chosen):
            track = read[k].track(k + 1, measurement.times)
            yield steady(track, deca.smoothing, deca.one_shape)
            unseen = int((~face.seen).sum())
            if unseen:
                self.engine.state.warnings.append(
                    f"Face {k + 1} is out of sight in {unseen} of {measurement.frames} frames"
                )

    def run(self, path: Path) -> Iterator[Event]:
        """The heads of a clip, the clip with them in it, and the first of them by itself."""
        engine = self.engine
        measurement, tracks = None, []
        for event in self.tracks(path, self.options.faces, self.options.face_number):
            if isinstance(event, Track):
                tracks.append(event)
            elif isinstance(event, Measurement):
                measurement = event
            else:
                yield event
        stem = deca_outputs.file_name(path.stem, engine.taken)
        for k, track in enumerate(tracks):
            yield Progress("texture", k, len(tracks), f"Face {k + 1}")
            best = track.best
            photo = next(iter(VideoReader(path, self.limits, times=[float(track.times[best])]))).rgb
            points = measurement_points(measurement, track, best, self.options.faces, self.options.face_number)
            found = replace(cropped_mesh(photo, points, self.options.deca), tform=track.tforms[best])
            name = stem if len(tracks) == 1 else f"{stem}_{k + 1}"
            subject = engine.subject(photo, name, found, track.at(best))
            engine.pictures(photo, [subject], f"{path.name} at {track.times[best]:.2f} s", k)
            self._write_track(track)
            self.ctx.check()
        fps = probe(path, self.limits).fps
        yield from self._overlay(path, tracks, measurement, fps)
        if self.options.expression:
            subject, track = engine.subjects[0], tracks[0]
            yield from self._animate(subject, _performance(track, ahead(track.code), measurement, fps, path))
        engine.state.summary |= {
            "frames": measurement.frames,
            "measured_before": measurement.cached,
            "seconds": round(float(measurement.times[-1] - measurement.times[0]), 2),
        }

    def _write_track(self, track: Track) -> None:
        path = self.ctx.out_dir / f"motion_{track.number:02d}.npz"
        codes = {f"code_{name}": getattr(track.code, name).numpy() for name in vars(track.code)}
        write_npz(path, {"frames": track.frames, "times": track.times, "photo_to_crop": track.tforms, **codes})
        self.engine.add("motion", path.name, "data", f"Codes of face {track.number} in every frame (NPZ)")

    def _overlay(self, path: Path, tracks: list[Track], measurement: Measurement, fps: Fraction) -> Iterator[Event]:
        """The clip with the detailed heads drawn over it."""
        width, height = measurement.size
        factor = min(1.0, OVERLAY_SIDE / max(width, height))
        size = (round(width * factor), round(height * factor))
        smaller = np.diag([1 / factor, 1 / factor, 1.0])
        at = [dict(zip(track.frames.tolist(), range(len(track.frames)), strict=True)) for track in tracks]
        target = self.ctx.out_dir / "overlay.mp4"
        with (
            VideoWriter(target, fps, size, audio_from=path, limits=self.limits) as video,
            BackgroundWriter(video.write, depth=4) as encoder,
        ):
            for frame in prefetch(VideoReader(path, self.limits), depth=4):
                picture = frame.rgb
                if factor < 1:
                    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
                there = [(track, where[frame.index]) for track, where in zip(tracks, at, strict=True)
                         if frame.index in where]  # fmt: skip
                if there:
                    code = joined([track.at(i) for track, i in there])
                    tforms = np.stack([track.tforms[i] @ smaller for track, i in there])
                    picture = draw_in_photo(
                        self.engine.files, self.ctx.settings, picture, code, tforms, detail_only=True
                    ).detail
                encoder.put(picture)
                if frame.index % REPORT == 0:
                    yield Progress("draw", frame.index, measurement.frames, "Drawing the heads into the clip")
                    self.ctx.check()
        self.engine.add("overlay", "overlay.mp4", "video", "Heads in the clip (MP4)")

    # Moving a head

    def _animate(self, subject: Subject, clip: Performance) -> Iterator[Event]:
        """The head's clip, its animated GLB and its expression curves."""
        out, engine, shapes = self.ctx.out_dir, self.engine, subject.shapes
        count, origin = len(clip.times), flame_exports.origin_of(shapes)
        names, morphs = [*NAMES], shapes.morphs
        own = self._own_shapes(subject, clip)
        names += [f"own_{k + 1:02d}" for k in range(len(own))]
        weights = np.zeros((count, len(names)))
        still, mesh = engine.posable(subject), engine.template.mesh
        with (
            VideoWriter(
                out / "animated.mp4", clip.fps, (CLIP_SIDE, CLIP_SIDE), clip.source, limits=self.limits
            ) as video,
            BackgroundWriter(video.write, depth=4) as encoder,
        ):
            for start in range(0, count, CHUNK):
                part = slice(start, start + CHUNK)
                vertices, marks = posed(engine.files, self.ctx.settings, rows(clip.code, part))
                curves = shapes.curves(marks)
                weights[part, : len(NAMES)] = curves
                rest = vertices - shapes.rest - np.tensordot(curves, morphs, axes=1)
                weights[part, len(NAMES) :] = rest.reshape(len(rest), -1) @ own.reshape(len(own), -1).T
                for i, points in enumerate(vertices):
                    turn = FACING @ clip.rotations[start + i] if self.options.head_motion else Look().rotation
                    frame = portrait(
                        points - origin, mesh.faces, still.uv, subject.texture, still.frame, turn, CLIP_SIDE, 1
                    )
                    encoder.put(frame)
                yield Progress("animate", start, count, "Drawing the head")
                self.ctx.check()
        engine.add("video", "animated.mp4", "video", "Animated head (MP4)")
        kept = np.concatenate([[True], np.diff(clip.times) > 0])
        turns = clip.rotations if self.options.head_motion else np.broadcast_to(np.eye(3), clip.rotations.shape)
        flame_exports.write_head(
            out / "animated.glb",
            shapes.rest - origin,
            mesh,
            subject.texture,
            names,
            np.concatenate([morphs, own]),
            flame_exports.Motion(clip.times[kept], weights[kept], turns[kept]),
        )
        engine.add("animated", "animated.glb", "model3d", f"Animated head (GLB, {len(names)} morph targets)")
        exports.write_curves(out, "curves", clip.times, clip.seen, weights[:, : len(NAMES)], clip.rotations, clip.fps)
        engine.add("curves", "curves.csv", "table", "Expression curves (CSV, estimated)")
        engine.add("curves_json", "curves.json", "data", "Expression curves (JSON, estimated)")
        engine.add("curves_plot", "curves_plot.json", "plot", "Expression curves")
        engine.add("motion", "curves_motion.npz", "data", "Head motion (NPZ)")

    def _own_shapes(self, subject: Subject, clip: Performance) -> NDArray[np.float64]:
        """Orthonormal shapes (K, V, 3) for what the 52 leave of a clip, as few as bring it within a tenth of a
        millimetre where a dozen can (principal components)."""
        shapes = subject.shapes
        chosen = np.unique(np.linspace(0, len(clip.times) - 1, SAMPLED).astype(int)).tolist()
        vertices, marks = posed(self.engine.files, self.ctx.settings, rows(clip.code, chosen))
        rest = vertices - shapes.rest - np.tensordot(shapes.curves(marks), shapes.morphs, axes=1)
        flat = rest.reshape(len(rest), -1)
        _, strengths, axes = np.linalg.svd(flat, full_matrices=False)
        left = np.sqrt(np.append(np.cumsum(strengths[::-1] ** 2)[::-1], 0) / flat.size)
        count = int(min(OWN, np.argmax(left < CLOSE)))
        return axes[:count].reshape(count, *rest.shape[1:])

    # Somebody else's expression

    def transfer(self, driver: Path) -> Iterator[Event]:
        """The first head wears the expression of a photo, or follows a clip."""
        subject = self.engine.subjects[0]
        yield Progress("transfer", note="Reading the expression")
        if sniff(driver).kind == "image":
            self._wear(subject, driver)
            return
        measurement, track = None, None
        for event in self.tracks(driver, "largest", 1):
            if isinstance(event, Track):
                track = event
            elif isinstance(event, Measurement):
                measurement = event
            else:
                yield event
        code = ahead(worn(subject.code, track.code, self.options.strength))
        yield from self._animate(
            subject, _performance(track, code, measurement, probe(driver, self.limits).fps, driver)
        )

    def _wear(self, subject: Subject, driver: Path) -> None:
        engine, out = self.engine, self.ctx.out_dir
        photo = read_image(driver, self.limits)
        options = self.options.model_copy(update={"faces": "largest"})
        found = find_faces(driver, photo, None, options, self.ctx)[0]
        other = encode(engine.files, self.ctx.settings, found.crop[None], 1)
        code = worn(subject.code, other, self.options.strength)
        face = decode(
            engine.files, self.ctx.settings, code, subject.found.crop[None], self.options.deca.extract_texture
        )[0]
        origin, mesh = flame_exports.origin_of(subject.shapes), engine.template.mesh
        after = face.frontal.astype(np.float64) - origin
        flame_exports.write_head(out / "transfer.glb", after, mesh, subject.texture, NAMES, subject.shapes.morphs)
        engine.add("transfer", "transfer.glb", "model3d", "Head with the other expression (GLB)")
        still = engine.posable(subject)
        before = still.posed(Look())
        pair = [
            portrait(v, mesh.faces, still.uv, subject.texture, still.frame, Look().rotation, CLIP_SIDE, 2)
            for v in (before, after)
        ]
        write_image(out / "transfer.jpg", np.hstack(pair))
        engine.add("transfer_picture", "transfer.jpg", "image", "Before and after")
        folder = out / "deca"
        tiles = [subject.found.crop, subject.face.shape_detail_images, face.shape_detail_images]
        engine.original(write_image(folder / f"{subject.name}_animation.jpg", deca_files.tile_row(tiles)))
        for kind, what, texture in (
            ("reconstruction", subject.face, None),
            ("animation", face, subject.face.uv_texture_gt),
        ):
            for path in deca_outputs.write_files(
                folder / subject.name / kind, subject.name, subject.found.crop, what, engine.template,
                self.options.deca, texture,
            ):  # fmt: skip
                engine.original(path)


def measurement_points(
    measurement: Measurement, track: Track, index: int, which: str, number: int
) -> NDArray[np.floating]:
    """The embedded landmarks (468, 3) of one frame of a track."""
    face: FaceTrack = choose_faces(measurement, which, number)[track.number - 1]
    return face.points[track.frames[index]]


def _performance(track: Track, code: DecaCode, measurement: Measurement, fps: Fraction, source: Path) -> Performance:
    """A performance over all frames; where the face is out of sight it holds still as it was last seen."""
    seen = np.zeros(measurement.frames, bool)
    seen[track.frames] = True
    last = np.clip(np.searchsorted(track.frames, np.arange(measurement.frames), side="right") - 1, 0, None)
    chosen = torch.from_numpy(last)
    return Performance(
        code_map(code, lambda part: part[chosen]),
        flame_exports.rotation_of(track.code)[last],
        measurement.times,
        seen,
        fps,
        source,
    )
