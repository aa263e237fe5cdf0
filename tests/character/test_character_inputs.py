"""What people hand in, the ugly included: told apart by content, or refused in words that help."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines import registry
from pipelines.base import Inputs
from pipelines.character.engine_conr import cropped_sheet
from pipelines.character.inputs import CharacterInputs, sort_out
from pipelines.character.options import CharacterOptions
from pipelines.character.pipeline import check_fit, engine_for
from pipelines.export.bvh import read_bvh
from pipelines.export.motion import write_motion
from pipelines.export.retarget import bvh_motion, human, motion_of
from pipelines.media.image import write_image
from studio.intake import assign


class NoWeights:
    def installed(self, weight_id: str) -> bool:
        return False


def drawing(side: int = 64, clear: bool = True) -> np.ndarray:
    rgba = np.full((side, side, 4), 200, np.uint8)
    rgba[..., 3] = 255
    if clear:
        rgba[: side // 4, :, 3] = 0
        rgba[:, : side // 4, 3] = 0
    return rgba


def udp(side: int = 32) -> np.ndarray:
    frame = np.zeros((side, side, 4), np.float16)
    frame[8:24, 8:24] = 0.5
    frame[8:24, 8:24, 3] = 1
    return frame


def given(tmp_path: Path, *paths: Path, drawn: bool = False, **roles: tuple[Path, ...]) -> CharacterInputs:
    files = dict(assign(registry.get("character"), list(paths)).files) if paths else {}
    return sort_out(Inputs({**files, **roles}), drawn, tmp_path / "unpacked", Limits())


@pytest.fixture
def front(tmp_path: Path) -> Path:
    return write_image(tmp_path / "front.png", drawing())


@pytest.fixture
def frames(tmp_path: Path) -> tuple[Path, ...]:
    made = []
    for index in (10, 2, 1):
        path = tmp_path / "poses" / f"pose{index}.npz"
        path.parent.mkdir(exist_ok=True)
        np.savez(path, i=udp())
        made.append(path)
    return tuple(made)


def test_a_drawing_alone_becomes_a_puppet_with_the_built_in_move(tmp_path: Path, front: Path) -> None:
    found = given(tmp_path, front)
    assert found.sheet.drawings == (front,) and found.motion.kind == "built-in"
    assert engine_for(found, CharacterOptions(), NoWeights()) == "puppet"


def test_a_udp_beside_a_drawing_is_its_own_and_not_the_motion(
    tmp_path: Path, front: Path, frames: tuple[Path, ...]
) -> None:
    path = tmp_path / "front_udp.npz"
    np.savez(path, i=udp())
    found = given(tmp_path, front, path)
    assert found.sheet.udps == (path,) and found.motion.kind == "built-in"
    assert engine_for(found, CharacterOptions(), NoWeights()) == "puppet"
    with pytest.raises(InputError, match="UDP frames of the same character"):
        check_fit("udp", found)
    moved = given(tmp_path, front, path, *frames)
    assert engine_for(moved, CharacterOptions(), NoWeights()) == "udp"


def test_a_folder_of_udp_frames_is_a_motion_in_the_order_people_count(
    tmp_path: Path, front: Path, frames: tuple[Path, ...]
) -> None:
    found = given(tmp_path, front, frames[0].parent)
    assert found.motion.kind == "udp"
    assert [p.stem for p in found.motion.paths] == ["pose1", "pose2", "pose10"]
    assert engine_for(found, CharacterOptions(), NoWeights()) == "conr"


def test_drawings_as_poses_are_for_conr(tmp_path: Path, front: Path) -> None:
    pose = write_image(tmp_path / "pose.png", drawing())
    found = given(tmp_path, drawn=True, sheet=(front,), motion=(pose,))
    assert found.motion.kind == "drawings"
    with pytest.raises(InputError, match="engine conr"):
        check_fit("udp", given(tmp_path, drawn=True, motion=(pose,)))


def test_nine_drawings_of_different_sizes_make_one_sheet(tmp_path: Path) -> None:
    drawings = [drawing(20 + 30 * i) for i in range(9)]
    sheet = cropped_sheet(drawings, [f"{i}.png" for i in range(9)], 256)
    assert sheet.shape == (9, 256, 256, 4)
    paths = [write_image(tmp_path / f"d{i}.png", d) for i, d in enumerate(drawings)]
    assert len(given(tmp_path, *paths).sheet.drawings) == 9


def test_opaque_and_empty_drawings_are_refused_by_conr() -> None:
    with pytest.raises(InputError, match=r"flat\.png has no transparent background"):
        cropped_sheet([drawing(clear=False)], ["flat.png"], 256)
    nothing = drawing()
    nothing[..., 3] = 0
    with pytest.raises(InputError, match="shows nothing"):
        cropped_sheet([nothing], ["blank.png"], 256)


def test_a_tiny_drawing_is_enlarged() -> None:
    assert cropped_sheet([drawing(4)], ["tiny.png"], 256)[0, ..., 3].any()


def test_an_npz_of_another_kind_is_refused_by_its_names(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, pose=np.zeros(3))
    with pytest.raises(InputError, match=r"other\.npz holds pose: neither a UDP frame"):
        given(tmp_path, path)


def test_a_broken_npz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.npz"
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match="not a readable"):
        given(tmp_path, path)


def test_a_mixture_of_motions_is_refused(tmp_path: Path, frames: tuple[Path, ...]) -> None:
    path = write_motion(tmp_path / "walk.npz", motion_of(np.tile(np.eye(3), (2, 55, 1, 1)), np.zeros((2, 3)), 30.0))
    with pytest.raises(InputError, match="mixture"):
        given(tmp_path, *frames, path)


def test_a_drawing_without_its_udp_among_others_is_named(tmp_path: Path, front: Path) -> None:
    back = write_image(tmp_path / "back.png", drawing())
    path = tmp_path / "front_udp.npz"
    np.savez(path, i=udp())
    with pytest.raises(InputError, match=r"back\.png has no UDP"):
        given(tmp_path, front, back, path)


def test_the_mask_of_a_drawing_is_known_by_its_name(tmp_path: Path) -> None:
    texture = write_image(tmp_path / "texture.png", drawing())
    mask = write_image(tmp_path / "mask.png", drawing()[..., 3])
    rig = tmp_path / "char_cfg.yaml"
    rig.write_text("height: 64\nwidth: 64\nskeleton: []\n", encoding="utf-8")
    found = given(tmp_path, texture, mask, rig)
    assert found.sheet.drawings == (texture,) and found.sheet.mask == mask and found.sheet.rig == rig


BVH = """HIERARCHY
ROOT {root}
{{
 OFFSET 0 0 0
 CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
 JOINT Spine
 {{
  OFFSET 0 20 0
  CHANNELS 3 Zrotation Xrotation Yrotation
  JOINT Head
  {{
   OFFSET 0 30 0
   CHANNELS 3 Zrotation Xrotation Yrotation
   End Site
   {{
    OFFSET 0 10 0
   }}
  }}
{arms} }}
{legs}}}
MOTION
Frames: 2
Frame Time: 0.04
{rows}
"""


def limb(names: tuple[str, str, str], start: tuple[int, int], step: tuple[int, int]) -> str:
    text = ""
    for depth, name in enumerate(names):
        x, y = start if depth == 0 else step
        text += f"JOINT {name}\n{{\nOFFSET {x} {y} 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n"
    return text + f"End Site\n{{\nOFFSET {step[0]} {step[1]} 0\n}}\n" + "}\n" * 3


def bvh(tmp_path: Path, root: str = "Hips", arm: str = "Arm") -> Path:
    arms = limb((f"Left{arm}", "LeftForeArm", "LeftHand"), (15, 20), (25, 0))
    arms += limb((f"Right{arm}", "RightForeArm", "RightHand"), (-15, 20), (-25, 0))
    legs = limb(("LeftUpLeg", "LeftLeg", "LeftFoot"), (10, 0), (0, -40))
    legs += limb(("RightUpLeg", "RightLeg", "RightFoot"), (-10, 0), (0, -40))
    row = " ".join(["0 90 0", *("0 0 0",) * 15])
    path = tmp_path / "clip.bvh"
    path.write_text(BVH.format(root=root, arms=arms, legs=legs, rows=f"{row}\n{row}"), encoding="ascii")
    return path


def test_a_bvh_at_rest_is_the_human_at_rest(tmp_path: Path) -> None:
    motion = bvh_motion(read_bvh(bvh(tmp_path)), "clip.bvh")
    assert len(motion) == 2 and motion.fps == pytest.approx(25)
    known = human().known
    joints = motion.joints()[0]
    assert joints[known["left_wrist"], 0] > joints[known["left_shoulder"], 0] + 0.4
    assert joints[known["head"], 1] > joints[known["pelvis"], 1] + 0.4


def test_a_bvh_with_unknown_names_is_refused_by_them(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="left shoulder") as caught:
        bvh_motion(read_bvh(bvh(tmp_path, arm="Bone")), "clip.bvh")
    assert "Mixamo" in str(caught.value) and "clip.bvh" in str(caught.value)


def test_mixamo_names_are_known_too(tmp_path: Path) -> None:
    path = bvh(tmp_path, root="mixamorig:Hips")
    assert len(bvh_motion(read_bvh(path), path.name)) == 2


def test_the_real_clip_keeps_its_feet_on_the_ground(testdata: Path) -> None:
    motion = bvh_motion(read_bvh(testdata / "character" / "dab.bvh"), "dab.bvh")
    ankles = motion.joints()[:, [human().known["left_ankle"], human().known["right_ankle"]], 1]
    assert 0.0 < ankles.min() < 0.15 and np.median(ankles.min(axis=1)) < 0.15
