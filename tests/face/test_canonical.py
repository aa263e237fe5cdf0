"""The canonical face: a clean surface, symmetric, without holes, and with closed lips."""

import numpy as np

from pipelines.face.blendshapes import NAMES, NOT_ESTIMATED, offsets_of, shapes, weights_of
from pipelines.face.canonical import LANDMARKS, OVAL_RING, PUPILS_APART, canonical_face, pupils
from pipelines.face.cranium import MIDDLE, grown
from pipelines.tracking.face_points import LOWER_INNER, UPPER_INNER


def edges(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(pairs, axis=0, return_counts=True)


def test_skull_and_neck_close_the_head() -> None:
    face = canonical_face()
    shell = face.shell(face.positions)
    vertices = face.complete(face.positions)
    pairs, used = edges(face.faces[(face.faces >= face.inner_stop).any(axis=1)])
    assert set(pairs[used == 1].ravel()) - set(OVAL_RING) <= set(range(face.count - 2 * len(OVAL_RING), face.count))
    assert np.ptp(vertices[-2 * len(OVAL_RING) :], axis=0).max() < 0.004  # what stays open is a pinhole
    behind = vertices[face.inner_stop :]
    assert behind[:, 2].min() < -0.16
    assert np.abs(behind[:, 0]).max() < 0.085
    corners = vertices[face.faces[-len(face.sheet.faces) :]]
    outward = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert ((outward * (corners.mean(axis=1) - MIDDLE)).sum(axis=1) > 0).mean() > 0.95
    moved = shell.outline + np.array([0, 0.01, 0])
    assert np.abs(shell.behind(shell.outline) - behind).max() < 1e-9
    assert np.abs(shell.behind(moved)[-72:] - behind[-72:]).max() < 1e-9  # the neck stays where it is


def test_a_silhouette_makes_the_hair_larger() -> None:
    face = canonical_face()
    shell = face.shell(face.positions)
    to_camera = np.diag([1.0, -1.0, -1.0, 1.0])
    to_camera[2, 3] = 0.8
    y, x = np.mgrid[:600, :600]

    def place(points: np.ndarray) -> np.ndarray:
        return points[..., :2] / points[..., 2:] * 900 + 300

    middle = place(to_camera[:3, :3] @ MIDDLE + to_camera[:3, 3])
    mask = (np.hypot(x - middle[0], y - middle[1]) < 140).astype(np.float32)
    larger = grown(shell, to_camera, place, 1.0, mask)
    assert larger.positions[..., 1].max() > shell.positions[..., 1].max() + 0.005
    nothing = grown(shell, to_camera, place, 1.0, np.zeros((600, 600), np.float32))
    assert np.abs(nothing.positions - shell.positions).max() < 0.01


def test_surface_is_a_manifold_and_opens_only_where_it_should() -> None:
    face = canonical_face()
    assert set(face.faces.ravel()) == set(range(face.count))
    pairs, used = edges(face.faces)
    assert used.max() == 2
    skin = face.faces[face.skin_faces]
    assert len(skin) == 852
    pairs, used = edges(skin)
    border = set(pairs[used == 1].ravel())
    rings = {*face.right_eye, *face.left_eye, *face.mouth, *OVAL_RING}
    assert border == rings


def test_texture_triangles_do_not_overlap_or_turn_over() -> None:
    face = canonical_face()
    a, b, c = (face.uv[face.faces[:, i]] for i in range(3))
    area = np.cross(b - a, c - a)
    assert (area > 0).all()
    assert area.sum() / 2 < 1
    assert face.uv.min() >= 0
    assert face.uv.max() <= 1


def test_face_is_symmetric_and_measures_what_it_says() -> None:
    face = canonical_face()
    assert np.abs(face.positions - face.positions[face.pairs] * (-1, 1, 1)).max() < 1e-6
    assert np.array_equal(face.pairs[face.pairs], np.arange(LANDMARKS))
    right, left = pupils(face.positions)
    assert abs(np.linalg.norm(left - right) - PUPILS_APART) < 1e-6
    assert np.abs(face.positions[list(UPPER_INNER)] - face.positions[list(LOWER_INNER)]).max() < 1e-6


def test_eyes_and_mouth_lie_behind_the_skin() -> None:
    face = canonical_face()
    vertices = face.complete(face.positions)
    assert vertices.shape == (face.count, 3)
    inside = vertices[face.inner_start : face.teeth_start - 1].reshape(len(face.cavity), -1, 3)
    assert (inside[..., 2] < vertices[face.mouth, 2]).all()


def test_teeth_hide_behind_closed_lips_and_the_lower_row_follows_the_jaw() -> None:
    face = canonical_face()
    rest = face.complete(face.positions)
    opened = face.complete(face.positions + shapes()[NAMES.index("jawOpen")], face.positions)
    upper, lower = np.split(np.arange(face.teeth_start, face.inner_stop), 2)
    lips = rest[[13, 14], 2].mean()
    assert (rest[[*upper, *lower], 2] < lips - 0.003).all()
    assert np.abs(opened[upper] - rest[upper]).max() < 1e-9
    assert (opened[lower, 1] < rest[lower, 1] - 0.015).all()
    assert (opened[lower, 2] < opened[14, 2]).all()


def test_shapes_are_complete_and_mirror_each_other() -> None:
    face, table = canonical_face(), shapes()
    assert table.shape == (52, LANDMARKS, 3)
    assert len(set(NAMES)) == 52
    for k, name in enumerate(NAMES):
        size = np.abs(table[k]).max()
        assert size < 0.05
        assert (size > 0.001) == (name not in NOT_ESTIMATED), name
        if name.endswith("Left"):
            other = table[NAMES.index(name.removesuffix("Left") + "Right")]
            assert np.abs(table[k] - other[face.pairs] * (-1, 1, 1)).max() < 1.5e-3, name


def test_open_jaw_parts_the_lips_and_leaves_the_nose() -> None:
    jaw = shapes()[NAMES.index("jawOpen")]
    assert jaw[14, 1] < -0.02
    assert abs(jaw[13, 1]) < 0.001
    assert np.abs(jaw[[1, 4, 33, 263, 10]]).max() < 1e-3


def test_single_shapes_are_found_again() -> None:
    for name in ("jawOpen", "eyeBlinkLeft", "mouthSmileRight", "browInnerUp", "mouthPucker"):
        truth = np.eye(52)[NAMES.index(name)] * 0.8
        found = weights_of(offsets_of(truth)[None])[0]
        assert NAMES[int(found.argmax())] == name
        assert 0.55 < found.max() < 0.95
    assert weights_of(np.zeros((3, LANDMARKS, 3))).max() == 0
