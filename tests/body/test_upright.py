"""Who stands, stands upright: the camera's pitch from feet and sizes, leans taken back, floors level."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from examples import people
from models.bodies.joints import INDEX
from models.bodies.mannequin import load
from pipelines.body.clip import Track
from pipelines.body.outputs import levelled
from pipelines.body.people import Person
from pipelines.body.recover import recover
from pipelines.body.shape import Figure
from pipelines.body.upright import ANKLES, HIPS, SHOULDERS, camera_pitch, level_axes, standing, turn, upright
from tests.body.known import landmarks, track_of

FOCAL, SIZE = 704.0, (640, 480)


def seen_from(motion: people.Motion, pitch: float, away: float = 0.0) -> Track:
    """The track of a motion, ``away`` metres farther, for a camera in its place that looks down by ``pitch``."""
    points = (landmarks(motion) - (0, 0, away)) @ turn(pitch).T
    picture = points[..., :2] / np.maximum(-points[..., 2:], 0.1) * FOCAL * (1, -1) + np.array(SIZE) / 2
    world = points - points[:, HIPS].mean(axis=1, keepdims=True)
    return replace(track_of(motion), world=world, picture=picture)


def leans(track: Track) -> np.ndarray:
    """Degrees by which the line from ankles to shoulders leans to the viewer, (T,)."""
    axis = track.world[:, SHOULDERS].mean(axis=1) - track.world[:, ANKLES].mean(axis=1)
    return np.degrees(np.arctan2(axis[:, 2], axis[:, 1]))


@pytest.mark.parametrize("degrees", [-25, 18])
def test_a_body_tipped_by_mistake_stands_again(degrees: float) -> None:
    track = track_of(people.walking().people[0])
    tipped = replace(track, world=track.world @ turn(np.radians(degrees)).T)
    assert abs(np.median(leans(tipped))) > abs(degrees) - 5
    assert abs(np.median(leans(upright(tipped)))) < 1.5
    bones = [np.linalg.norm(t.world[:, 25] - t.world[:, 27], axis=1) for t in (tipped, upright(tipped))]
    np.testing.assert_allclose(*bones, atol=1e-9)


def test_who_bends_or_is_half_seen_is_left_alone() -> None:
    track = track_of(people.walking().people[0])
    bent = track.world.copy()
    bent[:, :23] = (bent[:, :23] - bent[:, HIPS].mean(axis=1, keepdims=True)) @ turn(np.radians(60)).T
    bowing = replace(track, world=bent)
    unseen = np.where(np.arange(33) >= 25, 0.1, track.visibility)
    for other in (bowing, replace(track, visibility=unseen)):
        assert standing(other).max() == 0
        assert upright(other) is other


@pytest.mark.parametrize("degrees", [0, 8, 15])
def test_two_people_on_one_floor_tell_the_cameras_pitch(degrees: float) -> None:
    near, far = people.crossing().people
    tracks = [seen_from(near, np.radians(degrees)), seen_from(far, np.radians(degrees), away=3.0)]
    assert np.degrees(camera_pitch(tracks)) == pytest.approx(degrees, abs=3.0)


def test_one_person_tells_it_roughly_and_nobody_not_at_all() -> None:
    motion = people.crossing().people[0]
    alone = replace(motion, transl=np.repeat(motion.transl[:1], len(motion), axis=0))
    assert np.degrees(camera_pitch([seen_from(alone, np.radians(12))])) == pytest.approx(12, abs=5)
    assert camera_pitch([seen_from(alone, 0.0)]) == 0
    assert camera_pitch([]) == 0


def test_what_goes_to_other_programs_is_level() -> None:
    pitch = np.radians(15)
    motion = people.crossing().people[0]
    track = seen_from(motion, pitch)
    found = recover(upright(track, pitch), Figure.of(load().data), 0.5, pitch=pitch)
    boxes, camera = np.zeros((len(motion), 4)), np.ones((len(motion), 4))
    person = Person(1, 0, found.motion, camera, boxes, found.placement.contact, found.placement.floor, pitch=pitch)
    level = levelled(person).motion.joints()
    np.testing.assert_allclose(level, found.motion.joints() @ level_axes(pitch).T, atol=1e-6)
    up = level[:, INDEX["neck"]] - level[:, [INDEX["left_ankle"], INDEX["right_ankle"]]].mean(axis=1)
    assert np.abs(np.degrees(np.arctan2(up[:, 2], up[:, 1]))).mean() < 4
    assert found.placement.floor == pytest.approx(motion.joints()[:, INDEX["left_foot"], 1].min(), abs=0.12)
