"""Speed of DECA's encoders and decoding on this machine, beside the original where a checkout of it is at hand.

    python -m benchmarks.deca_speed --original FOLDER --data FOLDER [--rounds 9]

``--data`` holds a made-up FLAME and the small data files as the parity set has them. The original's rasteriser exists
for CUDA alone, so both sides draw with the studio's; its share of the time is told apart. Every round runs both sides
once, in turn, on the same stand-in weights and crop, and a matrix product whose rate is the yardstick. Processor time
(user and system) is what counts; the clock's time is told beside it.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from models.deca.network import Deca
from models.runtime.fuse import fold_norms
from models.runtime.state_dict import load_strict
from pipelines.export.obj_read import read_obj
from pipelines.face import deca_outputs, deca_render
from pipelines.face.deca_decode import DecaDecoder
from pipelines.face.deca_render import FAR, DecaRenderer
from pipelines.render.raster import Rule, rasterize_tensor
from tests.parity.deca import synthetic_flame
from tests.parity.synth import synth_state

SIDE = 224
MATRIX = 1024


class Clock:
    """Sums processor and clock seconds of what runs inside."""

    def __init__(self) -> None:
        self.processor = self.wall = 0.0

    def run(self, work: Callable[[], Any]) -> Any:
        wall, processor = time.perf_counter(), time.process_time()
        result = work()
        self.wall += time.perf_counter() - wall
        self.processor += time.process_time() - processor
        return result


DRAWING = Clock()


class Settings(dict):
    """As much of a configuration node as the original asks for."""

    __getattr__ = dict.__getitem__
    __setattr__ = dict.__setitem__


def _stand_ins() -> None:
    """Modules that the original imports and that are gone, or that it does not need here."""
    import scipy.ndimage

    if not hasattr(scipy.ndimage, "morphology"):
        scipy.ndimage.morphology = scipy.ndimage  # type: ignore[attr-defined]
    yacs, config = types.ModuleType("yacs"), types.ModuleType("yacs.config")
    config.CfgNode = Settings  # type: ignore[attr-defined]
    sets = types.ModuleType("decalib.datasets")
    sets.datasets = None  # type: ignore[attr-defined]
    sys.modules |= {"yacs": yacs, "yacs.config": config, "decalib.datasets": sets}
    for name in ("kornia", "kornia.geometry", "kornia.geometry.transform", "kornia.geometry.transform.imgwarp"):
        sys.modules[name] = types.ModuleType(name)
    for word in ("warp_perspective", "get_perspective_transform", "warp_affine"):
        setattr(sys.modules["kornia.geometry.transform.imgwarp"], word, None)
    sys.modules.setdefault("imageio", types.ModuleType("imageio"))


def _files(data: Path, folder: Path) -> None:
    """The data files in the layout the original reads."""
    z = dict(np.load(data / "flame_synth.npz", allow_pickle=False))
    mesh = read_obj(data / "head_template.obj")
    regressor = np.zeros((5, len(mesh.vertices)))
    regressor[z["J_row"], z["J_col"]] = z["J_val"]
    fields = {
        "v_template": mesh.vertices - np.array([0.0, 1.5, 0.0]),
        "f": mesh.faces,
        "shapedirs": np.einsum("vj,jck->vck", z["basis"].astype(np.float64), z["shape_coef"]),
        "posedirs": np.einsum("vj,jck->vck", z["basis"].astype(np.float64), z["pose_coef"]),
        "J_regressor": regressor,
        "weights": z["weights"],
        "kintree_table": z["kintree_table"],
    }
    (folder / "generic_model.pkl").write_bytes(pickle.dumps(fields))
    marks = dict(np.load(data / "landmark_embedding.npz", allow_pickle=False))
    dynamic = {n: torch.from_numpy(v) for n, v in marks.items() if n.startswith("dynamic")}
    np.save(folder / "landmark_embedding.npy", np.array(marks | dynamic, dtype=object), allow_pickle=True)
    np.save(folder / "fixed_displacement_256.npy", np.load(data / "fixed_displacement_256.npz")["fixed"])
    np.save(folder / "texture_data_256.npy", np.array({}, dtype=object), allow_pickle=True)
    mask = cv2.imread(str(data / "uv_face_eye_mask.png"), cv2.IMREAD_UNCHANGED)
    for name in ("uv_face_mask.png", "uv_face_eye_mask.png"):
        cv2.imwrite(str(folder / name), mask)
    cv2.imwrite(str(folder / "mean_texture.jpg"), np.full((512, 512, 3), 128, np.uint8))
    (folder / "head_template.obj").write_bytes((data / "head_template.obj").read_bytes())


def original(checkout: Path, data: Path, state: dict[str, torch.Tensor]) -> Any:
    """The original's model with the stand-in weights, drawing with the studio's rasteriser."""
    _stand_ins()
    sys.path.insert(0, str(checkout))
    import decalib.deca as module
    from decalib.utils import renderer, util
    from decalib.utils.config import cfg

    def standard(triangles: Any, depth: Any, ids: Any, bary: Any, height: int, width: int) -> None:
        drawn = DRAWING.run(lambda: rasterize_tensor(triangles, height, width, Rule.STRICT, FAR))
        depth.copy_(drawn.depth)
        ids.copy_(drawn.triangle)
        bary.copy_(drawn.barycentric)

    renderer.standard_rasterize, renderer.load_obj = standard, util.load_obj
    module.set_rasterizer = lambda kind: None
    with tempfile.TemporaryDirectory() as folder:
        _files(data, Path(folder))
        for name, value in cfg.model.items():
            if isinstance(value, str) and name.endswith("_path"):
                cfg.model[name] = str(Path(folder) / Path(value).name)
        cfg.rasterizer_type, cfg.pretrained_modelpath, cfg.model.use_tex = "standard", "", False
        network = module.DECA(cfg, "cpu")
    for part in ("E_flame", "E_detail", "D_detail"):
        own = {n.removeprefix(f"{part}."): v for n, v in state.items() if n.startswith(f"{part}.")}
        getattr(network, part).load_state_dict(own, strict=True)
    return network.eval()


def studio(data: Path, state: dict[str, torch.Tensor]) -> DecaDecoder:
    """The studio's networks as the engine uses them."""
    with torch.device("meta"):
        network = Deca()
    network = fold_norms(load_strict(network, state, "stand-in")).to(memory_format=torch.channels_last)
    return DecaDecoder(network, synthetic_flame(data), DecaRenderer.load(data)).eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--original", type=Path, help="a checkout of the original")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--keys", type=Path, required=True, help="deca_model.json of the parity set")
    parser.add_argument("--rounds", type=int, default=9)
    given = parser.parse_args()
    torch.set_num_threads(2)
    state = synth_state(json.loads(given.keys.read_text(encoding="utf-8")), 0)
    for name in ("E_flame", "E_detail"):
        state[f"{name}.layers.2.weight"] *= 0.02
    bias = state["E_flame.layers.2.bias"]
    bias[206] = 8.0
    ours = studio(given.data, state)
    deca_render.rasterize_tensor = lambda *told: DRAWING.run(lambda: rasterize_tensor(*told))
    theirs = original(given.original, given.data, state) if given.original else None
    generator = torch.Generator().manual_seed(0)
    crop = torch.rand(1, 3, SIDE, SIDE, generator=generator)
    last = crop.to(memory_format=torch.channels_last)
    sides: dict[str, Callable[[], Any]] = {}
    with torch.inference_mode():
        code = ours.deca.encode(last)
        sides["encode, studio"] = lambda: ours.deca.encode(last)

        def decode() -> Any:
            head = ours.head(code, crop)
            seen = ours.pictures(head)
            for points in (head.landmarks2d, head.landmarks3d):
                deca_outputs.marked(crop[0].numpy(), points[0].numpy())
            return head, seen

        sides["decode, studio"] = decode
        if theirs is not None:
            codes = theirs.encode(crop)
            sides["encode, original"] = lambda: theirs.encode(crop)
            sides["decode, original"] = lambda: theirs.decode(codes)
            want, shown = theirs.decode(codes)
            head, seen = decode()
            for name in ("verts", "uv_detail_normals", "uv_texture_gt"):
                off = (getattr(head, name) - want[name]).abs()
                print(f"{name}: largest difference {off.max():.1e}, mean {off.mean():.1e}")
            off = (seen.shape_detail_images - shown["shape_detail_images"]).abs()
            print(f"shape_detail_images: pixels off by more than 0.005: {(off > 5e-3).float().mean():.4%}")
        best: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sides}
        rates = []
        a = torch.rand(MATRIX, MATRIX)
        for _ in range(given.rounds):
            for name, work in sides.items():
                clock, before = Clock(), DRAWING.processor
                clock.run(work)
                best[name].append((clock.processor, clock.wall, DRAWING.processor - before))
            start = time.perf_counter()
            a @ a
            rates.append(2 * MATRIX**3 / (time.perf_counter() - start) / 1e9)
    print(f"matrix product {min(rates):.0f} to {max(rates):.0f} GFLOP/s over {given.rounds} rounds")
    middle = {}
    for name, rows in best.items():
        processor, wall, drawing = (float(np.median([r[i] for r in rows])) for i in range(3))
        middle[name] = processor
        least = min(r[1] for r in rows)
        print(f"{name}: processor {processor * 1e3:.1f} ms (median), clock {wall * 1e3:.1f} ms, best {least * 1e3:.1f},"
              f" drawing {drawing * 1e3:.1f} ms")  # fmt: skip
    for what in ("encode", "decode"):
        if f"{what}, original" in middle:
            rounds = zip(best[f"{what}, original"], best[f"{what}, studio"], strict=True)
            ratios = sorted(theirs[0] / ours[0] for theirs, ours in rounds)
            print(f"{what}: original / studio {ratios[len(ratios) // 2]:.2f} (median of interleaved rounds, "
                  f"{ratios[0]:.2f} to {ratios[-1]:.2f})")  # fmt: skip


if __name__ == "__main__":
    main()
