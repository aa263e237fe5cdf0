"""Engine ``facemesh``: textured heads from photos and videos by the embedded networks alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.runtime.errors import InputError
from pipelines.base import Event, Output, Preview, Progress, RunContext
from pipelines.export.npz import write_npz
from pipelines.face import deca_files, exports
from pipelines.face.blendshapes import NAMES
from pipelines.face.canonical import canonical_face
from pipelines.face.expression import Performance, RestingFace, perform, still_expression
from pipelines.face.facemesh import FaceLens, HeadFit, fit_head, person_mask, with_silhouette
from pipelines.face.options import FaceOptions
from pipelines.face.repose import FOLDER, Look
from pipelines.face.state import FaceState
from pipelines.face.texture import bake
from pipelines.media.image import exif_focal_px, read_image, write_image
from pipelines.media.sniff import sniff
from pipelines.media.video import BackgroundWriter, VideoReader, VideoWriter, in_order, probe
from pipelines.tracking.face_measure import Measurement, choose_faces, measure_photo, measure_video
from pipelines.tracking.networks import BlazeNetworks

Image = NDArray[np.uint8]
CUT_BY_BORDER = 0.06  # share of landmarks outside the picture from which it is told
SMALL = 60.0  # pixels of height below which it is told
PROFILE = 45.0  # degrees; the landmarks of a full profile say little more than 50
TURN_VIEWS = (-40, 0, 40)
CLIP_SIDE = 512
REPORT = 5


@dataclass(frozen=True)
class Head:
    """One face with everything that was found out about it."""

    number: int
    landmarks: NDArray[np.floating]
    fit: HeadFit
    texture: Image
    rest: RestingFace
    expression: NDArray[np.floating]


class FacemeshEngine:
    """Works through one job and writes its results into the run folder."""

    def __init__(self, options: FaceOptions, ctx: RunContext) -> None:
        self.options, self.ctx = options, ctx
        self.state = FaceState()
        self.heads: list[Head] = []
        self.told: list[dict[str, object]] = []
        self.pupils = options.pupil_distance_mm / 1000
        self.networks = BlazeNetworks(ctx.cache, ctx.weights)

    def run(self, sources: tuple[Path, ...], driver: Path | None) -> Iterator[Event]:
        """Heads of all photos, or of one video; with a driver they wear its expression."""
        if len(sources) == 1 and sniff(sources[0]).kind == "video":
            yield from self._video(sources[0])
        else:
            yield from self._photos(sources)
        if driver is not None:
            made = len(self.state.outputs)
            yield from self._transfer(driver)
            self.state.first(made)
        self._write_parameters()
        poster = exports.head_picture(self.heads[0].fit.vertices(), self.heads[0].texture)
        write_image(self.ctx.out_dir / "poster.jpg", poster)
        self._add("poster", "poster.jpg", "image", "Poster")
        self.state.summary = {"heads": len(self.heads), **self.state.summary}
        self.state.save(self.ctx.out_dir / "work")

    def _add(self, role: str, path: str, kind: str, title: str) -> None:
        self.state.outputs.append(Output(role, path, kind, title))  # type: ignore[arg-type]

    # Photos

    def _photos(self, sources: tuple[Path, ...]) -> Iterator[Event]:
        without = []
        for index, path in enumerate(sources):
            yield Progress("faces", index, len(sources), path.name)
            self.ctx.check()
            measurement = measure_photo(path, self.ctx, cut=True)
            photo = read_image(path, self.ctx.settings.limits)
            # A number counts the faces of one photo; with several photos each gives the faces it has.
            try:
                found = choose_faces(measurement, self.options.faces, self.options.face_number)
            except InputError as error:
                if len(sources) == 1:
                    raise
                without.append(f"{path.name}: {error.message}")
                continue
            lens = self._lens(photo, exif_focal_px(path, self.ctx.settings.limits))
            heads = []
            for track in found:
                yield Progress("texture", len(self.heads), None, f"Face {len(self.heads) + 1}")
                heads.append(self._head(photo, track.points[0], lens))
                self.state.outputs += self._write_head(heads[-1])
                self.ctx.check()
            self.state.outputs += self._pictures(photo, lens, heads, path.name, index)
            yield Preview("head", f"face_{heads[0].number:02d}.glb", "model3d")
        if not self.heads:
            raise InputError("No face was found in these photos; use pictures in which a face is in sight")
        self.state.warnings += without

    def _lens(self, photo: Image, focal: float | None) -> FaceLens:
        height, width = photo.shape[:2]
        return FaceLens.assumed(width, height, self.options.fov_degrees, focal)

    def _head(self, photo: Image, landmarks: NDArray[np.floating], lens: FaceLens,
              clip: Performance | None = None) -> Head:  # fmt: skip
        """Measures and paints one head; ``_write_head`` writes it."""
        number = len(self.heads) + 1
        mask = person_mask(self.networks, photo, landmarks)
        fit = fit_head(landmarks, lens, self.pupils)
        if mask is None:
            self.state.warnings.append(f"Face {number} may not be a person's; what is around it is not used")
        else:
            fit = with_silhouette(fit, lens, mask)
        texture = bake(photo, fit, lens, int(self.options.texture_size), mask)
        if clip is None:
            rest, expression = still_expression(fit)
        else:
            shell = fit.shell and fit.shell.scaled(clip.rest.scale / fit.scale)
            rest, expression = replace(clip.rest, shell=shell), clip.weights[clip.best]
        head = Head(number, landmarks, fit, texture, rest, expression)
        self.heads.append(head)
        self._remark(head, photo)
        self.told.append({"number": number, **exports.parameters(fit, lens, expression)})
        return head

    def _write_head(self, head: Head) -> list[Output]:
        folder, stem, fit = self.ctx.out_dir, f"face_{head.number:02d}", head.fit
        title, vertices = f"Head {head.number}", fit.vertices()
        exports.write_head(folder / f"{stem}.glb", None, vertices, head.texture)
        made = [Output("head", f"{stem}.glb", "model3d", f"{title} (GLB)")]
        kinds = {
            ".obj": ("mesh", "data", "OBJ"),
            ".png": ("texture", "image", "texture"),
            ".mtl": ("material", "data", "OBJ material"),
        }
        for path in exports.write_head_obj(folder / f"{stem}.obj", vertices, head.texture):
            role, kind, what = kinds[path.suffix]
            made.append(Output(role, path.name, kind, f"{title} ({what})"))
        for role, points, what in (
            ("kpt2d", head.landmarks[:, :2], "landmarks in the photo, pixels"),
            ("kpt3d", fit.camera, "landmarks in space, metres before the camera"),
        ):
            deca_files.write_points(folder / f"{stem}_{role}.txt", points)
            made.append(Output(role, f"{stem}_{role}.txt", "text", f"{title} ({what})"))
        path = exports.posable(head.number, fit, head.rest, head.expression, head.texture).save(
            folder / FOLDER / f"{stem}.npz"
        )
        return [*made, Output("posable", path.relative_to(folder).as_posix(), "data", f"{title} (to pose again, NPZ)")]

    def _remark(self, head: Head, photo: Image) -> None:
        x, y = head.landmarks[:, 0], head.landmarks[:, 1]
        outside = float(((x < 0) | (y < 0) | (x >= photo.shape[1]) | (y >= photo.shape[0])).mean())
        if outside > CUT_BY_BORDER:
            self.state.warnings.append(f"Face {head.number} is cut by the picture's border; what is missing is guessed")
        if np.ptp(y) < SMALL:
            self.state.warnings.append(f"Face {head.number} is only {np.ptp(y):.0f} pixels high; its texture is coarse")
        if abs(head.fit.angles[0]) > PROFILE:
            self.state.warnings.append(f"Face {head.number} is seen from the side; its far side is mirrored")

    def _pictures(self, photo: Image, lens: FaceLens, heads: list[Head], name: str, index: int) -> list[Output]:
        """The shown photo with its render, landmarks and depth, view by view."""
        shown, small, factor = exports.shown_copy(photo, lens)
        drawn = shown
        for head in sorted(heads, key=lambda h: -h.fit.extrinsics[2, 3]):
            drawn = exports.over_photo(drawn, small, head.fit, head.texture)
        points = [(head.landmarks + 0.5) * factor - 0.5 for head in heads]
        turned = np.hstack(
            [exports.head_picture(heads[0].fit.vertices(), heads[0].texture, Look(a).rotation) for a in TURN_VIEWS]
        )
        pictures = {
            "photo": shown,
            "render": drawn,
            "landmarks": exports.landmark_picture(shown, points, [h.number for h in heads]),
            "depth": exports.depth_picture(shown, small, [h.fit for h in heads]),
            "turned": turned,
        }
        made = []
        for role, picture in pictures.items():
            path = f"{role}/{index:04d}.jpg"
            (self.ctx.out_dir / role).mkdir(exist_ok=True)
            write_image(self.ctx.out_dir / path, picture)
            made.append(Output(role, path, "image", f"{role.capitalize()}: {name}"))
        return made

    def _write_parameters(self) -> None:
        face = canonical_face()
        folder = self.ctx.out_dir
        told = {"pupil_distance_mm": self.options.pupil_distance_mm, "expression": exports.NOTE, "faces": self.told}
        (folder / "parameters.json").write_text(json.dumps(told, indent=1), encoding="utf-8")
        write_npz(
            folder / "parameters.npz",
            {
                "landmarks": np.stack([h.landmarks for h in self.heads]).astype(np.float32),
                "camera_points": np.stack([h.fit.camera for h in self.heads]).astype(np.float32),
                "vertices": np.stack([h.fit.vertices(face) for h in self.heads]).astype(np.float32),
                "extrinsics": np.stack([h.fit.extrinsics for h in self.heads]),
                "intrinsics": np.array([t["intrinsics"] for t in self.told]),
                "expression": np.stack([h.expression for h in self.heads]).astype(np.float32),
                "expression_names": np.array(NAMES),
                "faces": face.faces.astype(np.int32),
                "uv": face.uv.astype(np.float32),
            },
        )
        self._add("parameters", "parameters.json", "data", "Parameters (JSON)")
        self._add("parameters_npz", "parameters.npz", "data", "Parameters and meshes (NPZ)")

    # Video

    def _measured(self, path: Path) -> Iterator[Event | Measurement]:
        yield Progress("measure", note="Following the faces")
        yield from measure_video(path, self.ctx)

    def _performances(self, path: Path, measurement: Measurement) -> tuple[Performance, ...]:
        width, height = measurement.size
        lens = FaceLens.assumed(width, height, self.options.fov_degrees)
        found = choose_faces(measurement, self.options.faces, self.options.face_number)
        return tuple(perform(measurement.times, f.seen, f.points, lens, self.pupils) for f in found)

    def _video(self, path: Path) -> Iterator[Event]:
        measurement = None
        for event in self._measured(path):
            if isinstance(event, Measurement):
                measurement = event
            else:
                yield event
        found = choose_faces(measurement, self.options.faces, self.options.face_number)
        fps = probe(path, self.ctx.settings.limits).fps
        clips = self._performances(path, measurement)
        place, stills = len(self.state.outputs), []
        # The files of the still heads are written while the animation is drawn.
        with ThreadPoolExecutor(max_workers=1) as files:
            for index, (track, clip) in enumerate(zip(found, clips, strict=True)):
                yield Progress("texture", index, len(found), f"Face {index + 1}")
                start = float(clip.times[clip.best])
                photo = next(iter(VideoReader(path, self.ctx.settings.limits, times=[start]))).rgb
                lens = self._lens(photo, None)
                head = self._head(photo, track.points[clip.best], lens, clip)
                name = f"{path.name} at {start:.2f} s"
                stills.append(files.submit(self._write_head, head))
                stills.append(files.submit(self._pictures, photo, lens, [head], name, index))
                unseen = int((~clip.seen).sum())
                if unseen:
                    self.state.warnings.append(f"Face {head.number} is out of sight in {unseen} of {clip.count} frames")
                self.ctx.check()
            if self.options.expression:
                for head, clip in zip(self.heads, clips, strict=True):
                    yield from self._animate(head, clip, fps, path)
            self.state.outputs[place:place] = [made for still in stills for made in still.result()]
        self.state.summary |= {"frames": measurement.frames, "measured_before": measurement.cached}

    def _animate(self, head: Head, clip: Performance, fps: Fraction, sound: Path | None) -> Iterator[Event]:
        """The animated head of a clip, its curves and its video."""
        folder = self.ctx.out_dir
        several = len(self.heads) > 1
        stem, whose = (f"_{head.number:02d}", f" of head {head.number}") if several else ("", "")
        vertices = head.rest.vertices(np.zeros(len(NAMES)))
        rising = np.concatenate([[True], np.diff(clip.times) > 0])
        exports.write_head(
            folder / f"animated{stem}.glb",
            head.rest,
            vertices,
            head.texture,
            _frames(clip, rising),
            self.options.head_motion,
        )
        self._add("animated", f"animated{stem}.glb", "model3d", f"Animation{whose} (GLB, 52 morph targets)")
        exports.write_curves(folder, f"curves{stem}", clip.times, clip.seen, clip.weights, clip.rotations, fps)
        self._add("curves", f"curves{stem}.csv", "table", f"Expression curves{whose} (CSV, estimated)")
        self._add("curves_json", f"curves{stem}.json", "data", f"Expression curves{whose} (JSON, estimated)")
        self._add("curves_plot", f"curves{stem}_plot.json", "plot", f"Expression curves{whose}")
        self._add("motion", f"curves{stem}_motion.npz", "data", f"Head motion{whose} (NPZ)")
        limits = self.ctx.settings.limits
        with (
            VideoWriter(
                folder / f"animated{stem}.mp4", fps, (CLIP_SIDE, CLIP_SIDE), audio_from=sound, limits=limits
            ) as video,
            BackgroundWriter(video.write, depth=4) as encoder,
        ):
            turns = clip.rotations if self.options.head_motion else repeat(None)
            frames = zip(head.rest.moving(clip.weights), turns, strict=False)
            for i, picture in enumerate(in_order(partial(_clip_picture, head.texture), frames)):
                encoder.put(picture)
                if i % REPORT == 0:
                    yield Progress("animate", i, clip.count, "Drawing the head")
                    self.ctx.check()
        self._add("video", f"animated{stem}.mp4", "video", f"Animated head{whose} (MP4)")
        self.state.summary["seconds"] = round(float(clip.times[-1] - clip.times[0]), 2)

    # Somebody else's expression

    def _transfer(self, driver: Path) -> Iterator[Event]:
        head = self.heads[0]
        yield Progress("transfer", note="Reading the expression")
        if sniff(driver).kind == "image":
            photo = read_image(driver, self.ctx.settings.limits)
            face = choose_faces(measure_photo(driver, self.ctx), "largest", 1)[0]
            lens = self._lens(photo, exif_focal_px(driver, self.ctx.settings.limits))
            _, worn = still_expression(fit_head(face.points[0], lens, self.pupils))
            vertices = head.rest.vertices(worn * self.options.strength)
            exports.write_head(self.ctx.out_dir / "transfer.glb", head.rest, vertices, head.texture)
            self._add("transfer", "transfer.glb", "model3d", "Head with the other expression (GLB)")
            pair = [exports.head_picture(v, head.texture) for v in (head.fit.vertices(), vertices)]
            write_image(self.ctx.out_dir / "transfer.jpg", np.hstack(pair))
            self._add("transfer_picture", "transfer.jpg", "image", "Before and after")
            return
        measurement = None
        for event in self._measured(driver):
            if isinstance(event, Measurement):
                measurement = event
            else:
                yield event
        track = choose_faces(measurement, "largest", 1)[0]
        width, height = measurement.size
        lens = FaceLens.assumed(width, height, self.options.fov_degrees)
        clip = perform(measurement.times, track.seen, track.points, lens, self.pupils)
        # On top of the photo's own expression: a smile in the photo stays while the driver's face is at rest.
        weights = np.clip(head.expression + clip.weights * self.options.strength, 0, 1)
        worn_clip = Performance(
            clip.times, clip.seen, weights, clip.rotations, clip.places, head.rest, clip.best
        )  # fmt: skip
        yield from self._animate(head, worn_clip, probe(driver, self.ctx.settings.limits).fps, driver)


def _clip_picture(texture: Image, posed: tuple[NDArray[np.floating], NDArray[np.floating] | None]) -> Image:
    """One frame of the animated head: its vertices (V, 3) and, where it turns, its rotation (3, 3)."""
    return exports.head_picture(posed[0], texture, posed[1], CLIP_SIDE, shared=False)


def _frames(clip: Performance, kept: NDArray[np.bool_]) -> Performance:
    """The frames of a clip that are kept."""
    return Performance(
        clip.times[kept], clip.seen[kept], clip.weights[kept], clip.rotations[kept], clip.places[kept], clip.rest, 0
    )
