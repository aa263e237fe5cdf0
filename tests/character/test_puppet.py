"""The paper puppet: limbs keep their length, feet their place, the picture its unity."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.character.drawing import read_figure
from pipelines.character.figure import Figure
from pipelines.character.options import PuppetOptions
from pipelines.character.puppet import Puppet
from pipelines.export.bvh import read_bvh
from pipelines.export.motion import Motion
from pipelines.export.retarget import bvh_motion
from tests.character import drawn

SIZE = (256, 256)


def posed(puppet: Puppet) -> np.ndarray:
    return np.concatenate([chunk for _, chunk in puppet.vertices()])


def limb_lengths(puppet: Puppet, vertices: np.ndarray) -> np.ndarray:
    """Lengths (T, B) between the outer handles of each limb bone, relative to the drawing."""
    mesh = puppet.mesh
    handles = (vertices[:, mesh.handle_vertices] * mesh.handle_weights).sum(2)
    found = []
    for index, bone in enumerate(puppet.parts.bones):
        own = np.flatnonzero(mesh.handle_bone == index)
        if bone.layer > 1 and len(own) > 1 and not bone.name.endswith(("palm", "sole")):
            drawn_length = abs(mesh.handle_place[own[0]] - mesh.handle_place[own[-1]])
            found.append(np.abs(handles[:, own[0]] - handles[:, own[-1]]) / drawn_length)
    return np.stack(found, 1)


def foot_slide(puppet: Puppet, vertices: np.ndarray) -> float:
    """Farthest way any point of a sole goes while its foot stands, as a part of the figure's height."""
    mesh, worst = puppet.mesh, 0.0
    for contact in puppet.motion.contacts:
        own = np.flatnonzero(mesh.handle_bone == puppet.parts.bone(f"{contact.side}_sole"))
        handles = (vertices[:, mesh.handle_vertices[own]] * mesh.handle_weights[own]).sum(2)
        stood = handles[contact.first : contact.last + 1]
        worst = max(worst, float(np.abs(stood - stood.mean(0)).max()))
    return worst / puppet.figure.height


def pieces(rgba: np.ndarray) -> int:
    """Connected pieces of a frame larger than specks."""
    count, _, stats, _ = cv2.connectedComponentsWithStats((rgba[..., 3] > 127).astype(np.uint8))
    return int((stats[1:, cv2.CC_STAT_AREA] > 3).sum()) if count > 1 else 0


def halo(rgba: np.ndarray) -> float:
    """Share of rim pixels whose colour is no mixture of the drawing's two colours."""
    soft = (rgba[..., 3] > 20) & (rgba[..., 3] < 235)
    ink, way = np.array(drawn.INK, float), np.array(drawn.SKIN, float) - drawn.INK
    off = rgba[soft][:, :3] - ink
    along = np.clip(off @ way / (way @ way), 0, 1)
    return float((np.linalg.norm(off - along[:, None] * way, axis=1) > 25).mean())


@pytest.fixture(scope="module")
def waving() -> Puppet:
    return Puppet(drawn.figure(), drawn.waving(), SIZE)


def test_limbs_keep_their_length(waving: Puppet) -> None:
    lengths = limb_lengths(waving, posed(waving))
    assert np.abs(lengths - 1).max() < 0.05


def test_standing_feet_stay(waving: Puppet) -> None:
    assert {c.side for c in waving.motion.contacts} == {"left", "right"}
    assert foot_slide(waving, posed(waving)) < 0.02


def test_every_frame_is_one_piece_without_halo(waving: Puppet) -> None:
    frames = np.concatenate(list(waving.frames()))
    assert frames.shape == (48, SIZE[1], SIZE[0], 4)
    assert all(pieces(f) == 1 for f in frames)
    assert max(halo(f) for f in frames[::6]) < 0.005


def test_a_drawing_at_rest_looks_as_drawn() -> None:
    """Turning every bone by nothing gives the drawing back."""
    figure = drawn.figure()
    puppet = Puppet(figure, drawn.waving(2), (400, 400), PuppetOptions(swing=0))
    pose = puppet.motion.pose
    still = type(pose)(
        np.ones_like(pose.turn),
        np.tile([complex(*b.start) for b in puppet.parts.bones], (2, 1)),
        np.ones_like(pose.stretch),
    )
    placed = puppet._deform(still)
    assert np.abs(placed - puppet.mesh.rest).max() < 0.01


def test_an_arm_goes_before_and_behind_the_body() -> None:
    motion = drawn.waving(24)
    toward = Motion(**{**vars(motion), "rotations": motion.rotations.copy()})
    toward.rotations[:, 16] = [0.0, -1.2, -1.0]  # the left arm towards the viewer, then away from him
    toward.rotations[12:, 16] = [0.0, 1.2, -1.0]
    order = Puppet(drawn.figure(), toward, SIZE).motion.order
    place = [list(row).index(3) - list(row).index(0) for row in order]
    assert place[2] > 0 > place[-3]


def test_foreshortening_shortens_only_when_asked() -> None:
    motion = drawn.waving(12)
    motion.rotations[:, 16] = [0.0, -1.3, 0.0]
    kept = Puppet(drawn.figure(), motion, SIZE, PuppetOptions(foreshortening=0)).motion.pose.stretch
    short = Puppet(drawn.figure(), motion, SIZE, PuppetOptions(foreshortening=1)).motion.pose.stretch
    assert np.abs(kept - 1).max() < 0.021
    assert short.min() < 0.6


def test_one_frame_and_arms_drawn_against_the_body() -> None:
    puppet = Puppet(drawn.figure(arms=2.0), drawn.waving(1), SIZE)
    (frames,) = puppet.frames()
    assert len(frames) == 1
    assert pieces(frames[0]) == 1


def test_a_hop_leaves_the_ground() -> None:
    count = 30
    hop = np.where((np.arange(count) > 10) & (np.arange(count) < 20), 0.3, 0.0)
    motion = drawn.turned({"left_shoulder": [0.0] * count}, hop=list(hop))
    root = Puppet(drawn.figure(), motion, SIZE).motion.root
    assert root.imag[15] < root.imag[2] - 10


def test_joints_outside_and_tiny_figures_are_refused() -> None:
    good = drawn.figure()
    with pytest.raises(InputError, match="outside the picture"):
        Puppet(good.moved("left_hand", 2000, 0), drawn.waving(2), SIZE)
    with pytest.raises(InputError, match="same place"):
        Puppet(good.moved("left_hand", *good.at("left_elbow")), drawn.waving(2), SIZE)
    with pytest.raises(InputError, match="pixels high"):
        Puppet(drawn.figure(size=40), drawn.waving(2), SIZE)


@pytest.mark.media
def test_the_drawing_dabs(testdata: Path) -> None:
    folder = testdata / "character"
    figure, notes = read_figure(
        folder / "drawing_texture.png", folder / "drawing_mask.png", folder / "drawing_char_cfg.yaml", Limits()
    )
    assert not notes
    motion = bvh_motion(read_bvh(folder / "dab.bvh"), "dab.bvh")
    puppet = Puppet(figure, motion, SIZE)
    vertices = posed(puppet)
    assert np.abs(limb_lengths(puppet, vertices) - 1).max() < 0.05
    assert foot_slide(puppet, vertices) < 0.02
    frames = [puppet.picture(t, vertices[t]) for t in range(0, len(vertices), 5)]
    assert all(pieces(f) == 1 for f in frames)


def test_scaling_keeps_joints_on_their_pixels() -> None:
    figure = drawn.figure()
    half = figure.scaled(0.5)
    assert np.abs(half.joints - ((figure.joints + 0.5) / 2 - 0.5)).max() < 1e-9
    assert isinstance(half, Figure)
