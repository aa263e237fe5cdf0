"""GLB files read back by trimesh and pygltflib, and evaluated as a viewer would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pygltflib
import pytest
import torch
import trimesh
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from models.geometry import skinning
from models.geometry.cameras import (
    FLIP_YZ,
    camera_centers,
    intrinsics_from_fov,
    look_at,
    transform_points,
    upright_alignment,
)
from pipelines.export.glb import (
    GlbBuilder,
    Material,
    camera_frustums,
    linear_colors,
    rainbow,
    robust_extent,
    split_seams,
    write_scene_glb,
)
from pipelines.export.glb_rig import Clip, add_morphs, add_skeleton, bind

RNG = np.random.default_rng(0)
VERTICES = RNG.normal(size=(12, 3)).astype(np.float32)
FACES = np.array([[0, 1, 2], [2, 1, 3], [9, 10, 11]])
TYPES = {5121: np.uint8, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


def read(file: pygltflib.GLTF2, index: int) -> np.ndarray:
    """An accessor's values, following the specification; matrices come back row-major."""
    accessor = file.accessors[index]
    view = file.bufferViews[accessor.bufferView]
    dtype, width = TYPES[accessor.componentType], WIDTH[accessor.type]
    start = view.byteOffset + (accessor.byteOffset or 0)
    assert start % np.dtype(dtype).itemsize == 0
    flat = np.frombuffer(file.binary_blob(), dtype, accessor.count * width, start)
    if accessor.type == "MAT4":
        return flat.reshape(-1, 4, 4).swapaxes(1, 2)
    return flat.reshape(accessor.count, width) if width > 1 else flat


def as_srgb(linear: np.ndarray) -> np.ndarray:
    c = linear / 255
    return 255 * np.where(c <= 0.0031308, 12.92 * c, 1.055 * np.maximum(c, 1e-9) ** (1 / 2.4) - 0.055)


def test_points_and_cameras(tmp_path: Path) -> None:
    colors = RNG.integers(0, 256, (500, 3), dtype=np.uint8)
    points = RNG.normal(size=(500, 3))
    E = np.stack([look_at([0, 0, 4 + i], [0, 0, 0]) for i in range(3)])
    K = np.stack([intrinsics_from_fov(1.0, 64, 48)] * 3)
    path = write_scene_glb(tmp_path / "s.glb", points, colors, (E, K, (64, 48)), matrix=FLIP_YZ)
    scene = trimesh.load(path)
    cloud, wires = scene.geometry["points"], scene.geometry["cameras"]
    np.testing.assert_allclose(cloud.vertices, points * [1, -1, -1], atol=1e-6)
    np.testing.assert_array_equal(cloud.colors, linear_colors(colors))
    assert len(wires.vertices) == 3 * 16
    raw = write_scene_glb(tmp_path / "r.glb", points, colors, linear=False)
    np.testing.assert_array_equal(trimesh.load(raw).geometry["points"].colors[:, :3], colors)


def test_linear_colors_round_trip_on_average_and_keep_the_ends() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 200, axis=1).repeat(3, axis=2)
    for value, block in enumerate(grey):
        linear = linear_colors(block)
        assert linear.shape == (200, 4) and (linear[:, 3] == 255).all()
        assert as_srgb(linear[:, :3].mean()) == pytest.approx(value, abs=1.0)
    assert (linear_colors(grey[0])[:, :3] == 0).all() and (linear_colors(grey[255])[:, :3] == 255).all()
    with pytest.raises(ValueError, match="uint8"):
        linear_colors(np.zeros((3, 3)))


def test_frustums_start_at_the_centres_and_follow_the_corner_pixels() -> None:
    E = np.stack([look_at([1, 2, 5 + i], [0, 0, 0]) for i in range(2)])
    K = intrinsics_from_fov(1.0, 64, 48)
    wires = camera_frustums(E, K, 64, 48, depth=0.5)
    assert wires.shape == (2, 8, 2, 3)
    np.testing.assert_allclose(wires[:, :4, 0], np.repeat(camera_centers(E)[:, None], 4, 1), atol=1e-12)
    local = transform_points(E, wires[:, :4, 1])
    np.testing.assert_allclose(local[..., 2], 0.5)
    assert local[0, 0, 0] < 0 and local[0, 0, 1] < 0 and local[0, 2, 0] > 0
    assert len(np.unique(rainbow(7), axis=0)) == 7 and rainbow(0).shape == (0, 3)


def test_extent_ignores_strays() -> None:
    points = RNG.uniform(-1, 1, (1000, 3))
    points[:5] = 1e6
    assert 2 < robust_extent(points) < 4
    assert robust_extent(np.zeros((4, 3))) == 1 and robust_extent(np.zeros((0, 3))) == 1


def test_textured_mesh(tmp_path: Path) -> None:
    uv = RNG.uniform(size=(12, 2))
    texture = RNG.integers(0, 256, (8, 16, 3), dtype=np.uint8)
    builder = GlbBuilder()
    group = builder.add_group("world", np.diag([2.0, 2, 2, 1]))
    builder.add_mesh(VERTICES, FACES, normals=VERTICES, uv=uv, material=Material(texture=texture), parent=group)
    path = builder.save(tmp_path / "m.glb")
    scene = trimesh.load(path, process=False)
    (mesh,) = scene.geometry.values()
    np.testing.assert_array_equal(mesh.faces, FACES)
    np.testing.assert_allclose(mesh.vertices, VERTICES)
    np.testing.assert_allclose(mesh.visual.uv, uv, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(mesh.visual.material.baseColorTexture.convert("RGB")), texture)
    np.testing.assert_allclose(scene.bounds, [2 * VERTICES.min(0), 2 * VERTICES.max(0)], rtol=1e-6)
    unit = VERTICES / np.linalg.norm(VERTICES, axis=1, keepdims=True)
    file = pygltflib.GLTF2().load(str(path))
    np.testing.assert_allclose(read(file, file.meshes[0].primitives[0].attributes.NORMAL), unit, atol=1e-6)


def test_large_meshes_use_wide_indices_and_colours(tmp_path: Path) -> None:
    sphere = trimesh.creation.icosphere(subdivisions=7)  # more than 65535 vertices
    colors = np.full((len(sphere.vertices), 4), (10, 200, 30, 128), np.uint8)
    builder = GlbBuilder(linear=False)
    builder.add_mesh(sphere.vertices, sphere.faces, colors=colors)
    path = builder.save(tmp_path / "l.glb")
    (mesh,) = trimesh.load(path, process=False).geometry.values()
    np.testing.assert_array_equal(mesh.faces, sphere.faces)
    file = pygltflib.GLTF2().load(str(path))
    np.testing.assert_array_equal(read(file, file.meshes[0].primitives[0].attributes.COLOR_0), colors)


def test_empty_clouds_give_a_readable_file(tmp_path: Path) -> None:
    path = write_scene_glb(tmp_path / "e.glb", np.zeros((0, 3)), np.zeros((0, 3), np.uint8))
    assert pygltflib.GLTF2().load(str(path)).meshes == []
    with pytest.raises(ValueError, match="vertices"):
        GlbBuilder().add_points(np.zeros((0, 3)))


def test_jpeg_textures_and_unlit_materials(tmp_path: Path) -> None:
    builder = GlbBuilder()
    look = Material(texture=np.full((16, 16, 3), 90, np.uint8), jpeg_quality=90, unlit=True)
    builder.add_mesh(VERTICES, FACES, uv=VERTICES[:, :2], material=look)
    file = pygltflib.GLTF2().load(str(builder.save(tmp_path / "j.glb")))
    assert file.images[0].mimeType == "image/jpeg"
    assert file.extensionsUsed == ["KHR_materials_unlit"]


@given(st.integers(0, 10_000))
def test_split_seams_keeps_every_corner(seed: int) -> None:
    rng = np.random.default_rng(seed)
    faces, uv_faces = rng.integers(0, 6, (8, 3)), rng.integers(0, 9, (8, 3))
    new, vertex, coordinate = split_seams(faces, uv_faces)
    np.testing.assert_array_equal(vertex[new], faces)
    np.testing.assert_array_equal(coordinate[new], uv_faces)
    assert len(vertex) <= 24


@given(st.integers(0, 10_000))
def test_upright_frame_levels_the_cameras(seed: int) -> None:
    rng = np.random.default_rng(seed)
    world = Rotation.random(rng=rng).as_matrix()
    up = world[:, 1]
    eyes = [world @ [np.sin(a), 0.3 * rng.normal(), np.cos(a)] * 4 for a in rng.uniform(-1, 1, 5)]
    E = np.stack([look_at(eye, world @ [0, 0.1, 0], up) for eye in eyes])
    T = upright_alignment(E, rng.normal(size=(50, 3)))
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.linalg.det(T[:3, :3]) > 0
    assert (T[:3, :3] @ up)[1] > 0.9
    forward = T[:3, :3] @ E[0, 2, :3]
    assert abs(forward[0]) < 1e-9 and forward[2] < 0


def chain(weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    joints = np.array([[0, 0, 0], [0.2, 1, 0], [0, 2, 0.3], [-1, 1, 0]], float)
    rotations = torch.from_numpy(Rotation.random(12, rng=np.random.default_rng(3)).as_matrix()).reshape(3, 4, 3, 3)
    return joints, weights / weights.sum(1, keepdims=True), rotations


def test_skinned_animation_moves_vertices_like_linear_blend_skinning(tmp_path: Path) -> None:
    parents = (-1, 0, 1, 1)
    joints, weights, rotations = chain(RNG.uniform(size=(12, 4)))
    shift, times = RNG.normal(size=(3, 3)), np.array([0, 0.5, 1.5])
    builder = GlbBuilder()
    skeleton = add_skeleton(builder, ["root", "spine", "head", "arm"], parents, joints)
    node = builder.add_mesh(VERTICES, FACES)
    bind(builder, node, skeleton, weights)
    Clip(builder, "walk").pose(skeleton, times, rotations.numpy(), shift)
    file = pygltflib.GLTF2().load(str(builder.save(tmp_path / "a.glb")))

    attributes = file.meshes[file.nodes[node].mesh].primitives[0].attributes
    ids, shares = read(file, attributes.JOINTS_0), read(file, attributes.WEIGHTS_0)
    inverse = read(file, file.skins[0].inverseBindMatrices)
    clip = file.animations[0]
    for frame in range(3):
        local = np.tile(np.eye(4), (len(file.nodes), 1, 1))
        for i, each in enumerate(file.nodes):
            local[i, :3, 3] = each.translation or [0, 0, 0]
        for channel in clip.channels:
            sampler = clip.samplers[channel.sampler]
            np.testing.assert_allclose(read(file, sampler.input), times)
            value = read(file, sampler.output)[frame]
            if channel.target.path == "rotation":
                local[channel.target.node, :3, :3] = Rotation.from_quat(value).as_matrix()
            else:
                local[channel.target.node, :3, 3] = value
        world: dict[int, np.ndarray] = {}

        def visit(index: int, above: np.ndarray, local: np.ndarray = local, world: dict = world) -> None:
            world[index] = above @ local[index]
            for child in file.nodes[index].children:
                visit(child, world[index])

        for top in file.scenes[0].nodes:
            visit(top, np.eye(4))
        moves = np.stack([world[j] for j in file.skins[0].joints]) @ inverse
        homogeneous = np.concatenate([VERTICES, np.ones((12, 1))], axis=1)
        seen = np.einsum("vk,vkrc,vc->vr", shares, moves[ids], homogeneous)[:, :3]
        _, relative = skinning.chain_transforms(rotations[frame : frame + 1], torch.from_numpy(joints)[None], parents)
        expected = skinning.skin(torch.from_numpy(VERTICES.astype(float))[None], torch.from_numpy(weights), relative)
        np.testing.assert_allclose(seen, expected[0].numpy() + shift[frame], atol=1e-5)


def test_only_the_four_strongest_joints_are_kept(tmp_path: Path) -> None:
    weights = np.tile(np.array([0.05, 0.3, 0.2, 0.1, 0.35]), (12, 1))
    builder = GlbBuilder()
    skeleton = add_skeleton(builder, list("abcde"), (-1, 0, 1, 2, 3), RNG.normal(size=(5, 3)))
    node = builder.add_mesh(VERTICES, FACES)
    bind(builder, node, skeleton, weights)
    file = pygltflib.GLTF2().load(str(builder.save(tmp_path / "w.glb")))
    attributes = file.meshes[0].primitives[0].attributes
    assert read(file, attributes.JOINTS_0)[0].tolist() == [4, 1, 2, 3]
    np.testing.assert_allclose(read(file, attributes.WEIGHTS_0).sum(1), 1, atol=1e-6)


def test_morph_targets_and_their_animation(tmp_path: Path) -> None:
    offsets = RNG.normal(size=(2, 12, 3))
    weights = np.array([[0, 0], [1, 0.5]])
    builder = GlbBuilder()
    node = builder.add_mesh(VERTICES, FACES)
    add_morphs(builder, node, ["smile", "jawOpen"], offsets)
    clip = Clip(builder, "talk")
    clip.morph(node, [0, 1], weights)
    with pytest.raises(ValueError, match="rise"):
        clip.morph(node, [1, 1], weights)
    file = pygltflib.GLTF2().load(str(builder.save(tmp_path / "f.glb")))
    mesh = file.meshes[0]
    assert mesh.extras["targetNames"] == ["smile", "jawOpen"] and mesh.weights == [0, 0]
    targets = [t["POSITION"] if isinstance(t, dict) else t.POSITION for t in mesh.primitives[0].targets]
    np.testing.assert_allclose(read(file, targets[1]), offsets[1], atol=1e-6)
    sampler = file.animations[0].samplers[0]
    np.testing.assert_allclose(read(file, sampler.output), weights.ravel())
    assert file.accessors[sampler.input].max == [1.0]


def test_neighbouring_quaternions_stay_on_one_side(tmp_path: Path) -> None:
    angles = np.linspace(0, 4 * np.pi, 40)
    builder = GlbBuilder()
    node = builder.add_group("wheel")
    Clip(builder, "spin").rotate(node, np.arange(40.0), Rotation.from_euler("y", angles[:, None]).as_matrix())
    file = pygltflib.GLTF2().load(str(builder.save(tmp_path / "q.glb")))
    q = read(file, file.animations[0].samplers[0].output)
    assert (np.sum(q[1:] * q[:-1], axis=1) > 0.9).all()
