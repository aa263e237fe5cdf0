"""Result files: the animated model, motion in all forms animators use, the original's parameter files, plots."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import torch

from models.bodies.joints import INDEX, NAMES, PARENTS
from models.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from pipelines.base import Output, RunContext
from pipelines.body import videos
from pipelines.body.boxes import process
from pipelines.body.clip import VIEWER
from pipelines.body.figures import BodyModel, Figurine, color_of
from pipelines.body.options import BodyOptions
from pipelines.body.overlay import project
from pipelines.body.people import BodyState, Person
from pipelines.body.smooth import jitter
from pipelines.body.upright import level_axes
from pipelines.export.bvh import write_bvh
from pipelines.export.glb import GlbBuilder
from pipelines.export.glb_people import add_person
from pipelines.export.glb_rig import Clip
from pipelines.export.motion import Motion
from pipelines.media.atomic import replacing

Array = np.ndarray
Z_UP = np.array([[1.0, 0, 0], [0, 0, -1.0], [0, 1.0, 0]])
POSES = 6  # skeletons drawn per person in the plot
SHAPES = 10


def summary(people: list[Person], state: BodyState) -> dict[str, float | int | str | bool]:
    """Numbers for tables and APIs."""
    facts: dict[str, float | int | str | bool] = {"people": len(people), "frames": state.frames, "body": state.body}
    errors = [p.error_mm for p in people if np.isfinite(p.error_mm)]
    if errors:
        facts["fit_mm"] = round(float(np.mean(errors)), 1)
    if not state.still and people:
        shakes = [jitter(p.motion.joints()[:, : INDEX["jaw"]], state.fps) for p in people]
        facts["mean_acceleration"] = round(float(np.mean(shakes)), 2)
    return facts


def write_files(
    people: list[Person], state: BodyState, model: BodyModel, source: str, options: BodyOptions, ctx: RunContext
) -> None:
    """Model, motion in all forms, tables, plots and archive of the people; nothing where there are none.

    Raises:
        Cancelled: between files.
    """
    out = ctx.out_dir
    if not people:
        return
    level = [levelled(p) for p in people]
    write_glb(out / "body.glb", level, model, on_the_spot=True)
    ctx.check()
    write_csv(out / "joints.csv", people)
    for role, figure in (("joint_plot", plot_3d(level)), ("joint_plot_2d", plot_2d(people, state))):
        (out / f"{role}.json").write_text(figure.to_json(), encoding="utf-8")
    ctx.check()
    write_archive(out / "smplx.zip", people, state, model, source, options)
    (out / "motion").mkdir(exist_ok=True)
    for person in level:
        ctx.check()
        write_bvh(out / "motion" / f"{person.name}.bvh", person.motion)
        np.savez_compressed(out / "motion" / f"{person.name}_amass.npz", **amass(person.motion))
        write_glb(out / "motion" / person.skin, [person], model)


def listed(people: list[Person], still: bool, out: Path) -> list[Output]:
    """What a run has left in ``out``, what people look at first coming first."""
    kind = "image" if still else "video"
    made = [
        Output("overlay", videos.STILL if still else videos.OVERLAY, kind, "Overlay"),
        Output("side", videos.STILL_SIDE if still else videos.SIDE, kind, "Side view"),
        Output("body", "body.glb", "model3d", "Animated bodies (GLB)"),
        Output("joints", "joints.csv", "table", "Joint positions (CSV)"),
        Output("joint_plot", "joint_plot.json", "plot", "Joints in space"),
        Output("joint_plot_2d", "joint_plot_2d.json", "plot", "Joints in the picture"),
        Output("smplx", "smplx.zip", "archive", "SMPL-X parameters per frame (ZIP)"),
    ]
    for person in people:
        who = f"person {person.number}"
        made += [
            Output("motion", f"motion/{person.name}.npz", "data", f"Motion of {who} (NPZ)"),
            Output("skin", f"motion/{person.skin}", "data", f"Skinned body of {who} (GLB)"),
            Output("bvh", f"motion/{person.name}.bvh", "data", f"Motion of {who} (BVH)"),
            Output("amass", f"motion/{person.name}_amass.npz", "data", f"Motion of {who} (AMASS)"),
        ]
    made.append(Output("poster", videos.POSTER, "image", "Poster"))
    return [o for o in made if (out / o.path).is_file()]


def write_glb(path: Path, people: list[Person], model: BodyModel, on_the_spot: bool = False) -> Path:
    """All people with skeletons, skins and one animation; the floor lies at zero and the first person at the middle.

    ``on_the_spot`` puts the rest poses where the people are in the middle of their motion, for viewers: they turn the
    camera to what a file holds at rest.
    """
    builder = GlbBuilder()
    floors = [p.floor for p in people if np.isfinite(p.floor)]
    first = people[0].motion
    lowest = float(np.median([p.motion.joints()[..., 1].min() for p in people])) - 0.03
    start = first.rest_joints[0] + first.transl[int(np.argmax(first.seen))]
    shift = np.eye(4)
    shift[:3, 3] = -np.array([start[0], float(np.median(floors)) - 0.03 if floors else lowest, start[2]])
    stage = builder.add_group("people", shift)
    clip = Clip(builder, "motion")
    for person in people:
        motion, shaped = person.motion, Figurine(model, person.motion).shaped.numpy()
        if on_the_spot:
            spot = np.median(motion.transl[motion.seen], axis=0)
            motion = replace(motion, rest_joints=motion.rest_joints + spot, transl=motion.transl - spot)
            shaped = shaped + spot
        add_person(
            builder,
            clip,
            motion,
            shaped,
            model.data,
            person.name,
            times=(person.first + np.arange(len(motion))) / motion.fps,
            colors=model.colors,
            tint=color_of(person.number),
            prefix=f"{person.name}_" if len(people) > 1 else "",
            parent=stage,
        )
    return builder.save(path)


def write_csv(path: Path, people: list[Person]) -> Path:
    """One row per frame, person and joint: metres (x right, y up, z to the viewer; a pitched camera made level) and
    pixels."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["frame", "time", "person", "joint", "x", "y", "z", "u", "v"])
        for person in people:
            joints = person.motion.joints()
            level = joints @ level_axes(person.pitch).T
            for t in np.flatnonzero(person.motion.seen):
                pixels = project(joints[t], person.camera[t])
                place = [f"{v:.5f}" for v in level[t].ravel()]
                seen = [f"{v:.2f}" for v in pixels.ravel()]
                when = f"{person.motion.times[t]:.4f}"
                for j, name in enumerate(NAMES):
                    rows.writerow(
                        [
                            person.first + t,
                            when,
                            person.number,
                            name,
                            *place[3 * j : 3 * j + 3],
                            *seen[2 * j : 2 * j + 2],
                        ]
                    )
    return path


def turned(motion: Motion, axes: Array) -> tuple[Array, Array]:
    """Root rotation (T, 3) and translation (T, 3) after turning the world by ``axes`` (3, 3).

    The body turns about its pelvis at the rest place J, so the translation becomes ``A (J + t) - J``.
    """
    root = axis_angle_to_matrix(torch.from_numpy(np.asarray(motion.rotations[:, 0], np.float64)))
    orient = matrix_to_axis_angle(torch.from_numpy(axes) @ root).numpy()
    rest = np.asarray(motion.rest_joints[0], np.float64)
    return orient, (rest + motion.transl) @ axes.T - rest


def levelled(person: Person) -> Person:
    """The person in a world whose vertical is y, not the camera's: what goes to other programs."""
    if not person.pitch:
        return person
    orient, transl = turned(person.motion, level_axes(person.pitch))
    rotations = np.array(person.motion.rotations, np.float64)
    rotations[:, 0] = orient
    return replace(person, motion=replace(person.motion, rotations=rotations, transl=transl), pitch=0.0)


def amass(motion: Motion) -> dict[str, Array]:
    """Fields of an AMASS file of SMPL-X: z up, all 55 rotations in a row."""
    orient, transl = turned(motion, Z_UP)
    poses = np.asarray(motion.rotations, np.float64).copy()
    poses[:, 0] = orient
    flat = poses.reshape(len(poses), -1)
    betas = np.zeros(16)
    betas[: len(motion.betas)] = motion.betas[:16]
    return {
        "poses": flat,
        "trans": transl,
        "betas": betas,
        "num_betas": np.int64(16),
        "gender": np.array("neutral"),
        "surface_model_type": np.array("smplx"),
        "mocap_frame_rate": np.float64(motion.fps),
        "mocap_time_length": np.float64(len(motion) / motion.fps),
        "root_orient": flat[:, :3],
        "pose_body": flat[:, 3:66],
        "pose_jaw": flat[:, 66:69],
        "pose_eye": flat[:, 69:75],
        "pose_hand": flat[:, 75:],
    }


def smplx_fields(person: Person, row: int, orient: Array, transl: Array, hand_means: Array) -> dict[str, Array]:
    """One frame's parameters under the original's names and shapes, in camera axes (y down, z forward).

    Hands are written as the original has them: without the model's resting pose ``hand_means`` (2, 45), which its
    layer adds.
    """
    pose = np.asarray(person.motion.rotations[row], np.float32)
    left, right = (pose[k : k + 15] - m.reshape(15, 3) for k, m in zip((25, 40), hand_means, strict=True))
    betas = np.zeros((1, SHAPES), np.float32)
    betas[0, : len(person.motion.betas)] = person.motion.betas[:SHAPES]
    expression = person.expression[row : row + 1] if len(person.expression) else np.zeros((1, SHAPES))
    return {
        "global_orient": orient[None].astype(np.float32),
        "body_pose": pose[1:22],
        "left_hand_pose": left,
        "right_hand_pose": right,
        "jaw_pose": pose[22:23],
        "leye_pose": pose[23:24].astype(np.float64),
        "reye_pose": pose[24:25].astype(np.float64),
        "betas": betas,
        "expression": np.asarray(expression, np.float32),
        "transl": transl[None].astype(np.float32),
    }


def write_archive(
    path: Path, people: list[Person], state: BodyState, model: BodyModel, source: str, options: BodyOptions
) -> Path:
    """The original's folders in a ZIP: smplx/FRAME_PERSON.npz, meta/..., and mesh/... where wanted; frames from 1."""
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive,
    ):
        for person in people:
            orient, transl = turned(person.motion, np.diag(VIEWER))
            expression = person.expression if len(person.expression) else None
            figurine = Figurine(model, person.motion, expression) if options.show.save_mesh else None
            for row in np.flatnonzero(person.motion.seen):
                stem = f"{person.first + row + 1:05}_{person.number - 1}"
                buffer = io.BytesIO()
                np.savez(buffer, **smplx_fields(person, row, orient[row], transl[row], model.data.hand_means))
                archive.writestr(f"smplx/{stem}.npz", buffer.getvalue(), zipfile.ZIP_STORED)
                archive.writestr(f"meta/{stem}.json", json.dumps(meta(person, row, state, source), indent=4))
                if figurine is not None:
                    archive.writestr(f"mesh/{stem}.obj", obj_text(figurine.vertices(row) * VIEWER, figurine.faces))
    return path


def meta(person: Person, row: int, state: BodyState, source: str) -> dict[str, object]:
    """Camera and boxes of one person in one frame, under the original's names."""
    fx, fy, cx, cy = (float(v) for v in person.camera[row])
    x0, y0, x1, y1 = (float(v) for v in person.boxes[row])
    found = np.array([x0, y0, x1 - x0, y1 - y0])
    crop = process(found, state.size)
    return {
        "focal": [fx, fy],
        "princpt": [cx, cy],
        "bbox": (found if crop is None else crop).astype(float).tolist(),
        "bbox_mmdet": found.tolist(),
        "bbox_id": person.number - 1,
        "img_path": source,
    }


def obj_text(vertices: Array, faces: Array) -> str:
    """The original's OBJ: ``v x y z`` in shortest float text, ``f a/a b/b c/c``, nothing else."""
    lines = ["v " + " ".join(map(str, row)) + "\n" for row in np.asarray(vertices)]
    lines += [f"f {a}/{a} {b}/{b} {c}/{c}\n" for a, b, c in (np.asarray(faces) + 1).tolist()]
    return "".join(lines)


def plot_3d(people: list[Person]) -> go.Figure:
    """Skeletons at a few moments and the way of the pelvis."""
    figure = go.Figure()
    for person in people:
        joints = person.motion.joints()
        seen = np.flatnonzero(person.motion.seen)
        color = f"rgb{color_of(person.number)}"
        for i, t in enumerate(seen[np.linspace(0, len(seen) - 1, min(POSES, len(seen))).astype(int)]):
            lines: list[list[float | None]] = [[], [], []]
            for j in range(1, INDEX["jaw"]):
                for axis, column in zip((0, 2, 1), lines, strict=True):
                    sign = -1 if axis == 2 else 1
                    column += [sign * float(joints[t, PARENTS[j], axis]), sign * float(joints[t, j, axis]), None]
            figure.add_scatter3d(
                x=lines[0], y=lines[1], z=lines[2], mode="lines", line={"color": color, "width": 5},
                opacity=0.35 + 0.6 * (i + 1) / POSES, showlegend=i == 0, name=f"Person {person.number}",
                legendgroup=person.name,
            )  # fmt: skip
        path = joints[seen, 0]
        figure.add_scatter3d(
            x=path[:, 0], y=-path[:, 2], z=path[:, 1], mode="lines", line={"color": color, "width": 2, "dash": "dot"},
            showlegend=False, legendgroup=person.name,
        )  # fmt: skip
    return figure.update_layout(
        scene={"aspectmode": "data", "xaxis_title": "x (m)", "yaxis_title": "depth (m)", "zaxis_title": "height (m)"}
    )


def plot_2d(people: list[Person], state: BodyState) -> go.Figure:
    """Ways of wrists, ankles and head through the picture."""
    figure = go.Figure()
    for person in people:
        joints = person.motion.joints()
        seen = np.flatnonzero(person.motion.seen)
        color = f"rgb{color_of(person.number)}"
        for name, dash in (("head", "solid"), ("left_wrist", "dot"), ("right_wrist", "dash"), ("left_ankle", "dot"),
                           ("right_ankle", "dash")):  # fmt: skip
            at = np.stack([project(joints[t], person.camera[t])[INDEX[name]] for t in seen])
            figure.add_scatter(
                x=at[:, 0], y=at[:, 1], mode="lines", line={"color": color, "dash": dash},
                name=f"Person {person.number} {name.replace('_', ' ')}",
            )  # fmt: skip
    width, height = state.size
    return figure.update_layout(
        xaxis={"range": [0, width], "title": "x (pixels)"},
        yaxis={"range": [height, 0], "title": "y (pixels)", "scaleanchor": "x"},
    )
