"""Judging a SMPLer-X checkpoint on HumanData files: per-vertex and per-joint errors as its authors report them."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

from models.bodies.joints import INDEX, NAMES
from models.bodies.smplx import Smplx, SmplxData
from models.runtime.errors import InputError
from models.runtime.safe_load import load_body_pickle, load_pickled_npy
from models.smplerx import checkpoint
from pipelines.body.metrics import Parts, error_mm, humandata_errors
from pipelines.body.training.dataset import Bodies, pose_of, walk_of
from pipelines.body.training.distributed import gathered, ranks
from pipelines.body.training.humandata import HumanData
from pipelines.body.training.options import TestBodyOptions

Array = np.ndarray
HAND_FILE, FACE_FILE, JOINT_FILE = "MANO_SMPLX_vertex_ids.pkl", "SMPL-X__FLAME_vertex_ids.npy", "SMPLX_to_J14.pkl"
J14 = ("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
       "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head")  # fmt: skip


@dataclass(frozen=True)
class Judgement:
    """Means over all people in millimetres by the original's names, and how many people there were."""

    errors: dict[str, float]
    people: int


def parts_of(data: SmplxData, folder: Path | None) -> Parts:
    """Hands, face and the 14 joints: from SMPL-X's own index files in ``folder``, or else by the skinning weights.

    Raises:
        InputError: a file of the folder is missing.
    """
    if folder is None:
        owner = np.argmax(data.weights, axis=1)

        def held(prefixes: tuple[str, ...]) -> Array:
            return np.flatnonzero(np.isin(owner, [j for j, n in enumerate(NAMES) if n.startswith(prefixes)]))

        fingers = ("index", "middle", "pinky", "ring", "thumb", "wrist")
        hands = [held(tuple(f"{side}_{f}" for f in fingers)) for side in ("left", "right")]
        face = held(("head", "jaw", "left_eye", "right_eye"))
        return Parts(*hands, face, data.J_regressor[[INDEX[n] for n in J14]].astype(np.float64))
    missing = [n for n in (HAND_FILE, FACE_FILE, JOINT_FILE) if not (folder / n).is_file()]
    if missing:
        raise InputError(f"{folder} does not hold {', '.join(missing)}; they come with SMPL-X's downloads")
    sides = load_body_pickle(folder / HAND_FILE)
    with_faces = np.asarray(load_pickled_npy(folder / FACE_FILE))
    joints = load_pickle_array(folder / JOINT_FILE)
    return Parts(np.asarray(sides["left_hand"]), np.asarray(sides["right_hand"]), with_faces, joints)


def load_pickle_array(path: Path) -> Array:
    """An array that is pickled by itself (float64)."""
    from models.runtime.narrow_pickle import read_pickle

    with path.open("rb") as file:
        return np.asarray(read_pickle(file, path.name), np.float64)


def evaluate(
    files: Sequence[Path],
    images: Path,
    smplx: Path,
    weights: Path,
    options: TestBodyOptions,
    device: torch.device,
    parts: Path | None = None,
    table: Path | None = None,
    say: Callable[[str], None] = print,
) -> Judgement:
    """Runs a checkpoint over the files; ``table`` gets one CSV row per person. Under torchrun the ranks share the work.

    ``mpjpe_body`` is the mean distance of the 14 joints with the pelvises laid upon each other; names that begin with
    ``pa`` come after the best similarity.
    """
    data = SmplxData.load(smplx)
    sets = [HumanData(path, images, data.hand_means, options.data.every) for path in files]
    walk = walk_of([len(s) for s in sets], options.data.strategy, options.data.total)
    bodies = Bodies(sets, Smplx(data), walk, augment=False)
    areas, regressor = parts_of(data, parts), data.J_regressor.astype(np.float64)
    with ranks(device) as team:
        network = checkpoint.load(weights, team.device)
        body = Smplx(data).to(team.device)
        own = range(team.rank, len(bodies), team.count)
        rows: list[dict[str, float]] = []
        loader = DataLoader(Subset(bodies, list(own)), options.batch, num_workers=options.data.workers)
        for item in loader:
            with torch.inference_mode():
                found = body(network(item["image"]["crop"].to(team.device)).pose).vertices.cpu().double().numpy()
                truth = {n: v.to(team.device) for n, v in item["truth"].items()}
                true = body(pose_of(truth)).vertices.cpu().double().numpy()
            for a, b in zip(found, true, strict=True):
                errors = dict(humandata_errors(a, b, regressor, areas))
                joints, pelvis = areas.joints14, regressor[INDEX["pelvis"]]
                errors["mpjpe_body"] = error_mm(joints @ a - pelvis @ a, joints @ b - pelvis @ b)
                rows.append({"index": float(own[len(rows)]), **errors})
            if team.first:
                say(f"{len(rows) * team.count}/{len(bodies)} people")
        rows = sorted(gathered(rows, team), key=lambda r: r["index"])
        if table is not None and team.first:
            with table.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
    names = [n for n in rows[0] if n != "index"]
    return Judgement({n: float(np.mean([r[n] for r in rows])) for n in names}, len(rows))
