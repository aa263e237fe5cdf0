"""A made-up head in the file formats of FLAME and DECA: the studio's own face, and networks that know nothing.

Counts, topology and texture layout are this head's own; nothing of FLAME's or DECA's data is in it.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.sparse import csc_matrix

from models.bodies.flame import IDENTITY_COLUMNS
from models.deca.checkpoint import PARTS
from models.deca.network import Deca
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines.export.npz import write_npz
from pipelines.face.blendshapes import NAMES
from pipelines.face.canonical import canonical_face, pupils
from pipelines.face.expression import RestingFace
from pipelines.render.raster import rasterize
from pipelines.tracking.face_points import MESH_68

COLUMNS, MODES = 400, 24
UV = 256
CALM = 0.02  # of what the random networks would say about place and pose, so that heads stay on faces
FACE_SHARE, BOX = 1.45, 0.128  # how much of the crop a face fills, and the size of its landmarks in metres


def vertices() -> np.ndarray:
    """(V, 3) metres."""
    face = canonical_face()
    return face.complete(face.positions)


def write_flame(path: Path) -> Path:
    """``generic_model.pkl``: smooth identities, the studio's own expression shapes, a jaw that turns."""
    face, template = canonical_face(), vertices()
    rest = RestingFace(face.positions, 1.0)
    count = len(template)
    rng = np.random.default_rng(0)
    waves = np.sin(template @ rng.normal(0, 30, (3, MODES)) + rng.uniform(0, 6, MODES))
    shapedirs = np.zeros((count, 3, COLUMNS))
    shapedirs[:, :, :MODES] = 0.0012 * waves[:, None] * rng.normal(0, 1, (3, MODES))
    shapes = rest.morphs()
    shapedirs[:, :, IDENTITY_COLUMNS : IDENTITY_COLUMNS + len(NAMES)] = np.moveaxis(shapes, 0, 2)
    opened = np.linalg.norm(shapes[NAMES.index("jawOpen")], axis=1)
    weights = np.zeros((count, 5))
    weights[:, 2] = np.clip(opened / np.quantile(opened, 0.99), 0, 1)
    weights[:, 1] = 1 - weights[:, 2]
    right, left = pupils(template)
    joints = np.array([(0, -0.09, -0.07), (0, -0.06, -0.07), (0, -0.012, -0.075), left, right])
    distance = np.linalg.norm(template[None] - joints[:, None], axis=-1)
    near = np.zeros((5, count))
    for row, order in enumerate(np.argsort(distance, axis=1)[:, :4]):
        near[row, order] = 0.25
    fields = {
        "f": face.faces.astype(np.uint32),
        "v_template": template,
        "shapedirs": shapedirs,
        "posedirs": np.zeros((count, 3, 36)),
        "J_regressor": csc_matrix(near),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "weights": weights,
        "J": joints,
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }
    path.write_bytes(pickle.dumps(fields, protocol=2))
    return path


def write_data(folder: Path) -> Path:
    """DECA's small data files for this head."""
    folder.mkdir(parents=True, exist_ok=True)
    face = canonical_face()
    lines = [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in vertices()]
    lines += [f"vt {u:.7f} {v:.7f}" for u, v in face.uv]
    lines += ["f " + " ".join(f"{i}/{i}" for i in triangle) for triangle in (face.faces + 1).tolist()]
    (folder / "head_template.obj").write_text("\n".join(lines) + "\n", encoding="ascii")
    at = [int(np.flatnonzero((face.faces == point).any(axis=1))[0]) for point in MESH_68]
    bary = (face.faces[at] == np.array(MESH_68)[:, None]).astype(np.float32)
    faces = np.array(at)
    embedding = {
        "static_lmk_faces_idx": faces[17:],
        "static_lmk_bary_coords": bary[17:],
        "dynamic_lmk_faces_idx": np.tile(faces[:17], (79, 1)),
        "dynamic_lmk_bary_coords": np.tile(bary[:17], (79, 1, 1)),
        "full_lmk_faces_idx": faces[None],
        "full_lmk_bary_coords": bary[None],
    }
    np.save(folder / "landmark_embedding.npy", np.array(embedding, dtype=object), allow_pickle=True)
    np.save(folder / "fixed_displacement_256.npy", np.zeros((UV, UV)))
    corners = np.ones((len(face.faces), 3, 3))
    corners[..., 0] = face.uv[face.faces][..., 0] * UV - 0.5
    corners[..., 1] = (1 - face.uv[face.faces][..., 1]) * UV - 0.5
    drawn = rasterize(corners, UV, UV)
    skin = drawn.covered & face.skin_faces[drawn.triangle]
    soft = cv2.GaussianBlur(skin.astype(np.uint8) * 255, (0, 0), 1)
    for name in ("uv_face_eye_mask.png", "uv_face_mask.png"):
        cv2.imwrite(str(folder / name), cv2.merge([soft] * 4))
    cv2.imwrite(str(folder / "mean_texture.jpg"), np.full((64, 64, 3), 150, np.uint8))
    return folder


def write_networks(path: Path) -> Path:
    """``deca_model.tar`` with random networks whose codes look like faces seen from the front."""
    torch.manual_seed(0)
    network = Deca().eval()
    config = network.config
    noise = torch.rand(2, 3, config.image_size, config.image_size)
    scale = FACE_SHARE / BOX
    middle = float(np.mean([vertices()[list(MESH_68), 1].min(), vertices()[list(MESH_68), 1].max()]))
    bias = torch.zeros(config.n_coarse)
    sizes = dict(zip(config.code_sizes, np.cumsum([0, *config.code_sizes.values()]), strict=False))
    bias[sizes["cam"] : sizes["cam"] + 3] = torch.tensor([scale, 0.0, -middle])
    bias[sizes["light"] : sizes["light"] + 3] = 3.0
    with torch.inference_mode():
        for part, reach in (("E_flame", 0.06), ("E_detail", 1.0)):
            last = getattr(network, part).layers[2]
            last.bias.zero_()
            last.weight.mul_(reach / getattr(network, part)(noise).std())
        last = network.E_flame.layers[2]
        last.bias.copy_(bias)
        last.weight[sizes["cam"] : sizes["light"]] *= CALM
        last.weight[sizes["pose"] : sizes["cam"]] *= CALM
    state = network.state_dict()
    parts = {
        part: {n.removeprefix(f"{part}."): _half(t) for n, t in state.items() if n.startswith(f"{part}.")}
        for part in PARTS
    }
    torch.save({**parts, "global_step": 7}, path)
    return path


def _half(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


def write_texture_space(path: Path) -> Path:
    """``FLAME_texture.npz``: a skin colour and 200 soft changes of it."""
    rng = np.random.default_rng(1)
    mean = np.broadcast_to(np.array([120.0, 150.0, 190.0]), (16, 16, 3))
    return write_npz(path, {"mean": mean, "tex_dir": rng.normal(0, 2, (16, 16, 3, 200)).astype(np.float32)})


def install(settings: Settings, folder: Path) -> WeightsStore:
    """Makes all files and installs them the way a user does."""
    store = WeightsStore(settings)
    store.add("flame-2020", write_flame(folder / "generic_model.pkl"))
    store.add("deca-data", write_data(folder / "data"))
    store.add("deca-model", write_networks(folder / "deca_model.tar"))
    return store
