"""Engine ``deca``: heads of photos by DECA and the installed FLAME head, with everything the original leaves behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.deca.data import TEMPLATE
from models.deca.network import DecaCode
from models.runtime.errors import InputError
from pipelines.base import Event, Output, Preview, Progress, RunContext
from pipelines.export.archive import folder_files, write_zip
from pipelines.export.npz import write_npz
from pipelines.export.obj_read import read_obj
from pipelines.face import deca_files, deca_outputs, flame_exports
from pipelines.face.blendshapes import NAMES
from pipelines.face.deca_decode import JAW_TOUR, YAW_TOUR
from pipelines.face.deca_detect import Found, find_faces
from pipelines.face.deca_network import (
    Face,
    InPhoto,
    decode,
    draw_in_photo,
    encode,
    files_of,
    joined,
    photo_points,
    posed,
    rows,
)
from pipelines.face.dense_mesh import DenseTemplate
from pipelines.face.engine_deca_video import DecaVideo
from pipelines.face.exports import NOTE, SHOWN_SIDE
from pipelines.face.facemesh import person_mask
from pipelines.face.flame_shapes import FlameShapes, ahead, shapes_of
from pipelines.face.flame_texture import FlamePainter
from pipelines.face.options import FaceOptions
from pipelines.face.repose import FOLDER, Look, PosableHead
from pipelines.face.state import FaceState
from pipelines.media.image import read_image, write_image
from pipelines.media.sniff import sniff
from pipelines.media.video import VideoWriter
from pipelines.render.depth_color import colorize
from pipelines.render.shading import vertex_normals
from pipelines.tracking.networks import BlazeNetworks

Image = NDArray[np.uint8]
ORIGINAL = "deca"  # folder of the files that bear the original's names
LARGEST_DRAWN = 12_000_000  # pixels of a photo that is drawn over at its own size
TURN_VIEWS = (-40, 0, 40)
TOUR_RATE, TOUR_SIDE = 12, 512
TOUR_OPEN = 24.0  # degrees of the jaw that the whole shape jawOpen stands for
SILHOUETTE = "mediapipe-selfie-segmentation"
LIKE_NOTHING = 0.35  # of the crop's coordinates: landmarks that lie further from those found are not of this face


@dataclass(frozen=True)
class Subject:
    """One face with everything DECA says of it."""

    number: int
    name: str
    found: Found
    code: DecaCode
    face: Face
    shapes: FlameShapes
    texture: Image
    weights: NDArray[np.float64]


class DecaEngine:
    """Works through one job and writes its results into the run folder."""

    def __init__(self, options: FaceOptions, ctx: RunContext) -> None:
        self.options, self.ctx, self.deca = options, ctx, options.deca
        self.files = files_of(ctx.weights, options.deca.albedo)
        mesh = read_obj(self.files.data / TEMPLATE)
        dense = DenseTemplate.of_template(mesh) if self.files.dense is None else DenseTemplate.load(self.files.dense)
        self.template = deca_outputs.HeadTemplate(mesh, dense)
        self.painter = FlamePainter(mesh, int(options.texture_size))
        self.state = FaceState()
        self.subjects: list[Subject] = []
        self.taken: set[str] = set()

    def run(self, sources: tuple[Path, ...], driver: Path | None, side_cars: dict[str, Path]) -> Iterator[Event]:
        """Heads of photos or of one video; with a driver the first wears its expression.

        ``side_cars`` are landmark files by the stem of their photo.
        """
        if len(sources) == 1 and sniff(sources[0]).kind == "video":
            yield from DecaVideo(self).run(sources[0])
        else:
            yield from self.photos(sources, side_cars)
        if driver is not None:
            made = len(self.state.outputs)
            yield from DecaVideo(self).transfer(driver)
            self.state.first(made)
        if self.deca.tour:
            yield from self._tour(self.subjects[0])
        self.finish()

    def finish(self) -> None:
        """Parameters, poster, one archive of the original's files, and state."""
        self._write_parameters()
        files = folder_files(self.ctx.out_dir / ORIGINAL)
        if files:
            write_zip(self.ctx.out_dir / f"{ORIGINAL}.zip", files)
            self.add("deca_files", f"{ORIGINAL}.zip", "archive", "All files under DECA's names (ZIP)")
        first = self.subjects[0]
        write_image(self.ctx.out_dir / "poster.jpg", self.posable(first).picture(Look(), samples=2))
        self.add("poster", "poster.jpg", "image", "Poster")
        self.state.summary = {"heads": len(self.subjects), **self.state.summary}
        self.state.save(self.ctx.out_dir / "work")

    def add(self, role: str, path: str, kind: str, title: str) -> None:
        self.state.outputs.append(Output(role, path, kind, title))  # type: ignore[arg-type]

    def photos(self, sources: tuple[Path, ...], side_cars: dict[str, Path]) -> Iterator[Event]:
        """All photos: faces first, then the networks on all crops together, then heads photo by photo."""
        found: list[tuple[Path, list[Found]]] = []
        without = []
        for index, path in enumerate(sources):
            yield Progress("faces", index, len(sources), path.name)
            self.ctx.check()
            photo = read_image(path, self.ctx.settings.limits)
            try:
                found.append((path, find_faces(path, photo, side_cars.get(path.stem), self.options, self.ctx)))
            except InputError as error:
                if len(sources) == 1:
                    raise
                without.append(f"{path.name}: {error.message}")
        if not found:
            raise InputError("No face was found in these photos; use pictures in which a face is in sight")
        crops = np.stack([face.crop for _, faces in found for face in faces])
        yield Progress("encode", 0, len(crops), "Reading the faces")
        codes = encode(self.files, self.ctx.settings, crops, self.deca.batch)
        done = 0
        for index, (path, faces) in enumerate(found):
            photo = read_image(path, self.ctx.settings.limits)
            stem = deca_outputs.file_name(path.stem, self.taken)
            subjects = []
            for k, face in enumerate(faces):
                yield Progress("texture", done, len(crops), f"Face {done + 1}")
                name = stem if len(faces) == 1 else f"{stem}_{k + 1}"
                subjects.append(self.subject(photo, name, face, rows(codes, [done])))
                done += 1
                self.ctx.check()
            self.pictures(photo, subjects, path.name, index)
            yield Preview("head", f"face_{subjects[0].number:02d}.glb", "model3d")
        self.state.warnings += without

    def subject(self, photo: Image, name: str, found: Found, code: DecaCode) -> Subject:
        """Decodes, paints and writes one head."""
        number = len(self.subjects) + 1
        face = decode(self.files, self.ctx.settings, code, found.crop[None], self.deca.extract_texture)[0]
        shapes = shapes_of(self.files, self.ctx.settings, code)
        _, marks = posed(self.files, self.ctx.settings, ahead(code))
        texture = self.painter.paint(photo, face, found.tform, self._mask(photo, found))
        subject = Subject(number, name, found, code, face, shapes, texture, shapes.curves(marks)[0])
        self.subjects.append(subject)
        self._remark(subject)
        self._write_models(subject)
        folder = self.ctx.out_dir / ORIGINAL
        folder.mkdir(exist_ok=True)
        shown = deca_outputs.tiles(found.crop, face)
        if self.deca.save_vis:
            depth = (face.depth,) if self.deca.save_depth else ()
            self.original(deca_outputs.write_overview(folder / f"{name}_vis.jpg", shown, *depth))
        for path in deca_outputs.write_files(folder / name, name, found.crop, face, self.template, self.deca):
            self.original(path)
        return subject

    def _mask(self, photo: Image, found: Found) -> NDArray[np.float32] | None:
        """Where the person is in a photo, as far as the embedded networks are there to tell."""
        if found.points is None or not self.ctx.weights.installed(SILHOUETTE):
            return None
        return person_mask(BlazeNetworks(self.ctx.cache, self.ctx.weights), photo, found.points)

    def original(self, path: Path) -> None:
        relative = path.relative_to(self.ctx.out_dir).as_posix()
        kind = "image" if path.suffix in (".jpg", ".png") else "model3d" if path.suffix == ".obj" else "data"
        self.add("deca", relative, "data" if kind == "model3d" else kind, f"DECA: {path.name}")

    def _write_models(self, subject: Subject) -> None:
        out, stem, number = self.ctx.out_dir, f"face_{subject.number:02d}", subject.number
        origin, mesh = flame_exports.origin_of(subject.shapes), self.template.mesh
        frontal = subject.face.frontal.astype(np.float64) - origin
        flame_exports.write_head(out / f"{stem}.glb", frontal, mesh, subject.texture)
        self.add("head", f"{stem}.glb", "model3d", f"Head {number}, textured (GLB)")
        points, triangles, _ = deca_outputs.dense(
            subject.face, frontal, vertex_normals(frontal, mesh.faces), self.template, self._colours(subject.face)
        )
        flame_exports.write_clay(out / f"{stem}_detail.glb", points, triangles)
        self.add("detail", f"{stem}_detail.glb", "model3d", f"Head {number}, detailed (GLB)")
        flame_exports.write_clay(out / f"{stem}_coarse.glb", frontal, mesh.faces)
        self.add("coarse", f"{stem}_coarse.glb", "model3d", f"Head {number}, coarse (GLB)")
        write_image(out / f"{stem}_texture.png", subject.texture)
        self.add("texture", f"{stem}_texture.png", "image", f"Head {number} (texture)")
        path = self.posable(subject).save(out / FOLDER / f"{stem}.npz")
        self.add("posable", path.relative_to(out).as_posix(), "data", f"Head {number} (to pose again, NPZ)")

    @staticmethod
    def _colours(face: Face) -> Image:
        return deca_files.to_picture(face.uv_texture_gt)

    def posable(self, subject: Subject) -> PosableHead:
        """The head as it is saved for posing it again."""
        frontal = subject.face.frontal.astype(np.float64)
        return flame_exports.posable(
            subject.number, subject.shapes, frontal, subject.weights, self.template.mesh, subject.texture
        )

    def _remark(self, subject: Subject) -> None:
        if subject.found.points is None:
            return
        fitted = photo_points(subject.face.landmarks2d, subject.found.tform)
        off = np.linalg.norm(fitted - subject.found.points, axis=1).mean() * subject.found.tform[0, 0] / 112
        if off > LIKE_NOTHING:
            self.state.warnings.append(
                f"Face {subject.number}: head and landmarks lie far apart; the head may be wrong"
            )

    def pictures(self, photo: Image, subjects: list[Subject], name: str, index: int) -> None:
        """The shown photo with heads, landmarks and depth, view by view, and the original's pictures of it."""
        shown, factor = _at_most(photo, SHOWN_SIDE)
        smaller = np.diag([1 / factor, 1 / factor, 1.0])
        tforms = [s.found.tform @ smaller for s in subjects]
        drawn = self.draw(shown, subjects, tforms)
        near = drawn.depth
        turned = [self.posable(subjects[0]).picture(Look(yaw), samples=2) for yaw in TURN_VIEWS]
        views = {
            "photo": shown,
            "render": drawn.detail,
            "landmarks": self._marked(shown, subjects, tforms),
            "depth": colorize(near, near > 0, (0.0, 1.0)),
            "turned": np.hstack(turned),
        }
        for role, picture in views.items():
            path = f"{role}/{index:04d}.jpg"
            (self.ctx.out_dir / role).mkdir(exist_ok=True)
            write_image(self.ctx.out_dir / path, picture)
            self.add(role, path, "image", f"{role.capitalize()}: {name}")
        if self.deca.render_original and (self.deca.save_vis or self.deca.save_images):
            self._original_size(photo, subjects)

    def draw(self, photo: Image, subjects: list[Subject], tforms: list[NDArray[np.floating]]) -> InPhoto:
        """The photo with these heads over it."""
        code = joined([s.code for s in subjects])
        return draw_in_photo(self.files, self.ctx.settings, photo, code, np.stack(tforms))

    def _marked(self, photo: Image, subjects: list[Subject], tforms: list[NDArray[np.floating]]) -> Image:
        canvas = photo
        for subject, tform in zip(subjects, tforms, strict=True):
            points = photo_points(subject.face.landmarks3d, tform)
            canvas = deca_files.draw_landmarks(canvas, points, subject.face.landmarks3d[:, 3])
            size = max(0.5, float(np.ptp(points[:, 1])) / 300)
            corner = (int(points[:, 0].min()), max(int(points[:, 1].min()) - 8, int(24 * size)))
            for colour, width in (((0, 0, 0), 4), ((255, 255, 255), 2)):
                cv2.putText(canvas, str(subject.number), corner, cv2.FONT_HERSHEY_SIMPLEX, size, colour, width,
                            cv2.LINE_AA)  # fmt: skip
        return canvas

    def _original_size(self, photo: Image, subjects: list[Subject]) -> None:
        """``NAME_vis_original_size.jpg`` and ``orig_NAME_...`` of every face of a photo."""
        side = int(max(photo.shape[:2]) * min(1.0, (LARGEST_DRAWN / (photo.shape[0] * photo.shape[1])) ** 0.5))
        large, factor = _at_most(photo, side)
        folder = self.ctx.out_dir / ORIGINAL
        for s in subjects:
            tform = s.found.tform @ np.diag([1 / factor, 1 / factor, 1.0])
            points2d, points3d = (photo_points(m, tform) for m in (s.face.landmarks2d, s.face.landmarks3d))
            drawn = self.draw(large, [s], [tform])
            shown = deca_outputs.original_tiles(large, drawn, points2d, points3d, s.face.landmarks3d[:, 3])
            if self.deca.save_vis:
                self.original(deca_outputs.write_overview(folder / f"{s.name}_vis_original_size.jpg", shown))
            if self.deca.save_images:
                for key in ("inputs", "shape_images", "shape_detail_images", "landmarks2d"):
                    path = folder / s.name / f"orig_{s.name}_{key}.jpg"
                    self.original(write_image(path, deca_files.to_picture(shown[key])))

    def _tour(self, subject: Subject) -> Iterator[Event]:
        """The head turns to both sides, then opens its jaw."""
        head = self.posable(subject)
        looks = [Look(yaw) for yaw in YAW_TOUR] + [Look(added={"jawOpen": a / TOUR_OPEN}) for a in JAW_TOUR]
        path = self.ctx.out_dir / "tour.mp4"
        with VideoWriter(path, TOUR_RATE, (TOUR_SIDE, TOUR_SIDE), limits=self.ctx.settings.limits) as video:
            for i, look in enumerate(looks):
                yield Progress("animate", i, len(looks), "Turning the head")
                video.write(head.picture(look, TOUR_SIDE))
                self.ctx.check()
        self.add("tour", "tour.mp4", "video", "Tour: yaw and jaw (MP4)")

    def _write_parameters(self) -> None:
        out, subjects = self.ctx.out_dir, self.subjects
        faces = [flame_exports.told(s.number, s.name, s.code, s.found.tform, s.weights) for s in subjects]
        camera = "world_to_photo times (x, y, z, 1) of DECA's vertices in metres gives pixels of the photo"
        text = json.dumps({"expression": NOTE, "camera": camera, "faces": faces}, indent=1)
        (out / "parameters.json").write_text(text, encoding="utf-8")
        code = joined([s.code for s in subjects])
        parts = {name: getattr(code, name).numpy() for name in vars(code)}
        arrays = {
            "vertices": np.stack([s.face.verts for s in subjects]),
            "landmarks2d": np.stack([photo_points(s.face.landmarks2d, s.found.tform) for s in subjects]),
            "landmarks3d_world": np.stack([s.face.landmarks3d_world for s in subjects]),
            "photo_to_crop": np.stack([s.found.tform for s in subjects]),
            "expression": np.stack([s.weights for s in subjects]),
            "expression_names": np.array(NAMES),
            "faces": self.template.mesh.faces.astype(np.int32),
        }
        write_npz(out / "parameters.npz", {**{f"code_{n}": v for n, v in parts.items()}, **arrays})
        self.add("parameters", "parameters.json", "data", "Parameters (JSON)")
        self.add("parameters_npz", "parameters.npz", "data", "Parameters and meshes (NPZ)")


def _at_most(photo: Image, side: int) -> tuple[Image, float]:
    """The photo with at most that many pixels along its longer side, and the factor."""
    factor = min(1.0, side / max(photo.shape[:2]))
    if factor == 1.0:
        return photo, 1.0
    size = (round(photo.shape[1] * factor), round(photo.shape[0] * factor))
    return cv2.resize(photo, size, interpolation=cv2.INTER_AREA), factor
