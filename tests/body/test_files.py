"""Motion files, BVH, AMASS and the original's parameter files say the same thing."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from examples import people
from models.bodies.joints import INDEX
from models.bodies.mannequin import load
from models.bodies.smplx import BodyPose, Smplx
from models.runtime.errors import InputError
from pipelines.body.figures import BodyModel, Figurine
from pipelines.body.options import BodyOptions
from pipelines.body.outputs import amass, write_archive, write_glb
from pipelines.body.people import BodyState, Person, load_people, save_people
from pipelines.export.bvh import CENTIMETRES, read_bvh, write_bvh
from pipelines.export.motion import read_motion, write_motion

MOTION = people.walking().people[0]


def person() -> Person:
    count = len(MOTION)
    camera = np.tile(np.array([704.0, 704, 320, 240]), (count, 1))
    boxes = np.tile(np.array([100.0, 50, 300, 450]), (count, 1))
    return Person(1, 0, MOTION, camera, boxes, np.zeros((count, 2), bool), floor=-1.2)


def test_motion_comes_back(tmp_path: Path) -> None:
    back = read_motion(write_motion(tmp_path / "m.npz", MOTION))
    np.testing.assert_allclose(back.joints(), MOTION.joints(), atol=1e-5)
    assert back.names == MOTION.names and back.fps == MOTION.fps


def test_other_files_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="not a motion file"):
        read_motion(tmp_path / "other.npz")
    (tmp_path / "bad.bvh").write_text("HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation")
    with pytest.raises(InputError, match="BVH"):
        read_bvh(tmp_path / "bad.bvh")


def test_bvh_reproduces_the_joints_within_5_mm(tmp_path: Path) -> None:
    back = read_bvh(write_bvh(tmp_path / "m.bvh", MOTION))
    order = [back.names.index(name) for name in MOTION.names]
    gap = np.linalg.norm(back.joints()[:, order] / CENTIMETRES - MOTION.joints(), axis=-1)
    assert gap.max() < 5e-3
    assert back.frame_time == pytest.approx(1 / MOTION.fps)


def test_bvh_of_others(testdata: Path) -> None:
    found = read_bvh(testdata / "character" / "dab.bvh")
    assert len(found.names) > 10 and np.isfinite(found.joints()).all()


def test_original_files_rebuild_the_mesh(tmp_path: Path) -> None:
    model = BodyModel.mannequin(load())
    state = BodyState("blazepose", False, 30.0, (640, 480), len(MOTION), "mannequin")
    write_archive(tmp_path / "smplx.zip", [person()], state, model, "walk.mp4", BodyOptions())
    with zipfile.ZipFile(tmp_path / "smplx.zip") as archive:
        stored = dict(np.load(io.BytesIO(archive.read("smplx/00031_0.npz"))))
        assert "meta/00031_0.json" in archive.namelist()
    assert stored["global_orient"].shape == (1, 3) and stored["body_pose"].shape == (21, 3)
    assert stored["leye_pose"].dtype == np.float64
    tensors = {k: torch.from_numpy(v.astype(np.float32)).reshape(1, -1) for k, v in stored.items()}
    with torch.inference_mode():
        mesh = Smplx(load().data)(BodyPose(**tensors)).vertices[0].numpy()
    want = Figurine(model, MOTION).vertices(30) * [1, -1, -1]
    np.testing.assert_allclose(mesh, want, atol=1e-4)


def test_amass_is_z_up() -> None:
    fields = amass(MOTION)
    assert fields["poses"].shape == (len(MOTION), 165)
    rest = MOTION.rest_joints[0]
    np.testing.assert_allclose((fields["trans"] + rest)[:, 2], (MOTION.transl + rest)[:, 1], atol=1e-9)


def test_glb_has_skin_and_animation(tmp_path: Path) -> None:
    import pygltflib

    write_glb(tmp_path / "body.glb", [person()], BodyModel.mannequin(load()), on_the_spot=True)
    glb = pygltflib.GLTF2().load(str(tmp_path / "body.glb"))
    assert len(glb.skins) == 1 and len(glb.skins[0].joints) == 55
    assert len(glb.animations) == 1 and len(glb.animations[0].channels) == 56
    # At rest the body stands where it walks: within the motion's bounds but for the arms, feet on the floor.
    names = [node.name for node in glb.nodes]
    stage = np.array(glb.nodes[names.index("people")].matrix).reshape(4, 4).T
    rest = np.array(glb.nodes[names.index("pelvis")].translation) + stage[:3, 3]
    walked = (MOTION.joints()[:, 0] + stage[:3, 3])[MOTION.seen]
    assert (rest >= walked.min(axis=0) - 1e-3).all() and (rest <= walked.max(axis=0) + 1e-3).all()
    # What moves it brings it to the same place as ever.
    move = next(c for c in glb.animations[0].channels if c.target.path == "translation")
    accessor = glb.accessors[glb.animations[0].samplers[move.sampler].output]
    view = glb.bufferViews[accessor.bufferView]
    table = np.frombuffer(
        glb.binary_blob(), np.float32, 3 * accessor.count, view.byteOffset + (accessor.byteOffset or 0)
    )
    np.testing.assert_allclose(table.reshape(-1, 3), MOTION.joints()[:, 0], atol=1e-5)


def test_people_survive_between_stages(tmp_path: Path) -> None:
    save_people([person()], tmp_path)
    (back,) = load_people(tmp_path)
    assert back.number == 1 and back.floor == -1.2
    np.testing.assert_allclose(back.motion.joints()[:, INDEX["head"]], MOTION.joints()[:, INDEX["head"]], atol=1e-4)
