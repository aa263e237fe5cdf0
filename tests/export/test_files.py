"""PLY, OBJ, NPZ, splat and ZIP files, read back by other readers."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh

from models.runtime.errors import InputError, NotFound
from pipelines.export.archive import folder_files, stream_zip, zip_folder
from pipelines.export.npz import read_npz, write_npz
from pipelines.export.obj import write_obj
from pipelines.export.ply import write_mesh_ply, write_points_ply
from pipelines.export.splat import SH_C0, Gaussians, write_splat, write_splat_ply

RNG = np.random.default_rng(0)
VERTICES = RNG.normal(size=(6, 3)).astype(np.float32)
FACES = np.array([[0, 1, 2], [2, 1, 3], [3, 4, 5]])
COLORS = RNG.integers(0, 256, (6, 3), dtype=np.uint8)


def test_ply_points(tmp_path: Path) -> None:
    cloud = trimesh.load(write_points_ply(tmp_path / "p.ply", VERTICES, COLORS, normals=VERTICES))
    assert isinstance(cloud, trimesh.PointCloud)
    np.testing.assert_array_equal(cloud.vertices.astype(np.float32), VERTICES)
    np.testing.assert_array_equal(cloud.colors[:, :3], COLORS)
    assert b"binary_little_endian" in (tmp_path / "p.ply").read_bytes()[:60]
    with pytest.raises(ValueError, match="uint8"):
        write_points_ply(tmp_path / "q.ply", VERTICES, COLORS / 255)
    assert not (tmp_path / "q.ply").exists()


def test_ply_mesh(tmp_path: Path) -> None:
    mesh = trimesh.load(write_mesh_ply(tmp_path / "m.ply", VERTICES, FACES, COLORS), process=False)
    np.testing.assert_array_equal(mesh.faces, FACES)
    np.testing.assert_array_equal(mesh.vertices.astype(np.float32), VERTICES)
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], COLORS)


def test_obj_with_texture_and_seams(tmp_path: Path) -> None:
    uv = RNG.uniform(size=(9, 2))
    texture = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    uv_faces = np.arange(9).reshape(3, 3)
    files = write_obj(
        tmp_path / "head.obj", VERTICES, FACES, uv, uv_faces, textures={"map_Kd": texture, "map_Bump": texture}
    )
    assert [f.name for f in files] == ["head.obj", "head.mtl", "head.png", "head_bump.png"]
    assert "map_Bump head_bump.png" in files[1].read_text()
    mesh = trimesh.load(files[0], process=False)
    assert len(mesh.faces) == 3
    np.testing.assert_allclose(mesh.triangles, VERTICES[FACES], atol=1e-6)
    np.testing.assert_allclose(mesh.visual.uv[mesh.faces], uv[uv_faces], atol=1e-6)
    np.testing.assert_array_equal(np.asarray(mesh.visual.material.image), texture)


@pytest.mark.parametrize("normals", [None, VERTICES])
@pytest.mark.parametrize("uv", [None, VERTICES[:, :2]])
def test_obj_face_forms(tmp_path: Path, uv: np.ndarray | None, normals: np.ndarray | None) -> None:
    (path,) = write_obj(tmp_path / "a.obj", VERTICES, FACES, uv=uv, normals=normals)
    last = path.read_text().splitlines()[-1]
    pattern = {(False, False): "{0}", (True, False): "{0}/{0}", (False, True): "{0}//{0}", (True, True): "{0}/{0}/{0}"}
    form = pattern[uv is not None, normals is not None]
    assert last == "f " + " ".join(form.format(i) for i in (4, 5, 6))


def test_obj_vertex_colors(tmp_path: Path) -> None:
    (path,) = write_obj(tmp_path / "a.obj", VERTICES, FACES, colors=COLORS)
    mesh = trimesh.load(path, process=False)
    np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3], COLORS, atol=1)


@pytest.mark.parametrize("level", [0, 1, 9])
def test_npz_round_trip(tmp_path: Path, level: int) -> None:
    arrays = {"depth": VERTICES, "names": np.array(["a", "Ü"]), "empty": np.zeros((0, 3)), "mask": COLORS > 9}
    path = write_npz(tmp_path / "x.npz", arrays, level)
    back = read_npz(path)
    assert list(back) == list(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(back[name], value)
        assert back[name].dtype == value.dtype
    assert list(read_npz(path, only=["mask"])) == ["mask"]
    with pytest.raises(InputError, match="conf"):
        read_npz(path, only=["conf"])


def test_npz_refuses_objects_and_damage(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    write_npz(path, {"a": VERTICES})
    with pytest.raises(ValueError, match="allow_pickle"):
        write_npz(path, {"a": np.array([{}], dtype=object)})
    np.testing.assert_array_equal(read_npz(path)["a"], VERTICES)  # the old file is still whole
    assert [p.name for p in tmp_path.iterdir()] == ["x.npz"]
    np.savez(tmp_path / "evil.npz", a=np.array([{}], dtype=object), allow_pickle=True)
    for name in ("evil.npz", "gone.npz"):
        with pytest.raises(InputError, match=name):
            read_npz(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="readable"):
        read_npz(path)


def gaussians(degree: int) -> Gaussians:
    count, harmonics = 5, (degree + 1) ** 2
    rng = np.random.default_rng(degree)
    q = rng.normal(size=(count, 4))
    return Gaussians(
        rng.normal(size=(count, 3)),
        np.exp(rng.normal(size=(count, 3))),
        q / np.linalg.norm(q, axis=1, keepdims=True),
        rng.uniform(0.1, 0.9, count),
        rng.normal(0, 0.3, (count, harmonics, 3)),
    )


@pytest.mark.parametrize("degree", [0, 2])
def test_splat_ply_fields(tmp_path: Path, degree: int) -> None:
    g = gaussians(degree)
    raw = trimesh.load(write_splat_ply(tmp_path / "g.ply", g)).metadata["_ply_raw"]["vertex"]["data"]
    names = raw.dtype.names
    assert names[:6] == ("x", "y", "z", "nx", "ny", "nz")
    assert len(names) == 17 + 3 * ((degree + 1) ** 2 - 1)
    np.testing.assert_allclose(1 / (1 + np.exp(-raw["opacity"].ravel())), g.opacities, rtol=1e-5)
    np.testing.assert_allclose(np.exp(raw["scale_1"].ravel()), g.scales[:, 1], rtol=1e-5)
    np.testing.assert_allclose(raw["rot_0"].ravel(), g.quaternions[:, 0], rtol=1e-5)
    if degree:
        np.testing.assert_allclose(raw["f_rest_8"].ravel(), g.sh[:, 1, 1], rtol=1e-5)  # green's first after 8 of red


def test_splat_rows(tmp_path: Path) -> None:
    g = gaussians(0)
    data = write_splat(tmp_path / "g.splat", g).read_bytes()
    assert len(data) == 32 * len(g)
    rows = np.frombuffer(data, dtype=[("p", "<f4", 3), ("s", "<f4", 3), ("c", "u1", 4), ("q", "u1", 4)])
    size = rows["s"].prod(axis=1) * rows["c"][:, 3]
    assert (np.diff(size) <= 1e-2 * size[:-1]).all()
    first = int(np.argmin(np.abs(g.means[:, 0] - rows["p"][0, 0])))
    np.testing.assert_allclose(rows["c"][0, :3], np.clip((0.5 + SH_C0 * g.sh[first, 0]) * 255, 0, 255), atol=0.51)
    np.testing.assert_allclose((rows["q"][0].astype(float) - 128) / 128, g.quaternions[first], atol=0.01)


def test_splats_from_points_keep_their_colour(tmp_path: Path) -> None:
    g = Gaussians.from_points(VERTICES, COLORS, radius=0.01)
    np.testing.assert_allclose((0.5 + SH_C0 * g.sh[:, 0]) * 255, COLORS, atol=1e-4)
    assert len(write_splat(tmp_path / "p.splat", g).read_bytes()) == 32 * 6


def test_zip_of_a_folder_streams_and_excludes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "sub" / "cache").mkdir(parents=True)
    (run / "a.txt").write_text("x" * 100_000)
    (run / "big.npz").write_bytes(RNG.bytes(3_000_000))
    (run / "sub" / "b.txt").write_text("b")
    (run / "sub" / "cache" / "c.txt").write_text("c")
    (run / "link").symlink_to(run / "a.txt")
    files = folder_files(run, exclude=["sub/cache"])
    assert [name for _, name in files] == ["a.txt", "big.npz", "sub/b.txt"]
    pieces = list(stream_zip(files))
    assert len(pieces) > 2
    for source in (io.BytesIO(b"".join(pieces)), zip_folder(tmp_path / "run.zip", run, exclude=["sub/cache"])):
        with zipfile.ZipFile(source) as archive:
            assert archive.testzip() is None
            assert archive.read("sub/b.txt") == b"b"
            assert archive.getinfo("big.npz").compress_type == zipfile.ZIP_STORED
            assert archive.getinfo("a.txt").compress_size < 2000


def test_zip_of_a_vanished_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"gone\.txt"):
        list(stream_zip([(tmp_path / "gone.txt", "gone.txt")]))
