"""Long scenes: colours made even, places seen again, and jobs taken up where an earlier one stopped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.geometry.cameras import camera_centers, intrinsics_from_fov, look_at, pixel_grid
from models.geometry.similarity import Similarity, umeyama
from models.runtime.cache import ModelCache
from models.runtime.settings import Settings
from models.runtime.weights import WeightsStore
from pipelines import registry
from pipelines.base import Inputs, RunContext
from pipelines.media.image import write_image
from pipelines.scene import engine_da3_long, place_network
from pipelines.scene.da3_inference import Da3Views
from pipelines.scene.exposure import even_gains, evened
from pipelines.scene.fusion import fuse
from pipelines.scene.options import Da3Options, FilterOptions, SceneOptions
from pipelines.scene.places import candidates, describe_frames, proven, same_place
from pipelines.scene.prediction import Prediction
from pipelines.scene.state import SceneState
from tests.scene.da3_folder import write_folder

HALF = np.array([3.0, 2.0, 3.0])  # of the test room, metres
WIDTH, HEIGHT = 196, 140


def walls() -> NDArray[np.uint8]:
    """Six pictures (6, 600, 600, 3) full of corners and colours."""
    random = np.random.default_rng(7)
    found = []
    for _ in range(6):
        coarse, fine = (random.integers(40, 200, (n, n, 3)).astype(np.uint8) for n in (24, 75))
        big = [cv2.resize(p, (600, 600), interpolation=cv2.INTER_NEAREST) for p in (coarse, fine)]
        found.append(cv2.addWeighted(big[0], 0.5, big[1], 0.5, 0))
    return np.stack(found)


def look(extrinsics: NDArray, K: NDArray, pictures: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray]:
    """What a camera inside the room sees: image (H, W, 3) and depth (H, W)."""
    pixels = np.concatenate([pixel_grid(HEIGHT, WIDTH), np.ones((HEIGHT, WIDTH, 1))], -1)
    rays = pixels @ np.linalg.inv(K).T
    directions, eye = rays @ extrinsics[:, :3], camera_centers(extrinsics)
    reach = (np.sign(directions) * HALF - eye) / np.where(np.abs(directions) < 1e-9, 1e-9, directions)
    axis, depth = reach.argmin(-1), reach.min(-1)
    hit = (eye + directions * depth[..., None]) / HALF / 2 + 0.5
    wall = 2 * axis + (np.take_along_axis(directions, axis[..., None], -1)[..., 0] > 0)
    u, v = (np.take_along_axis(hit, ((axis + k) % 3)[..., None], -1)[..., 0] for k in (1, 2))
    rows, columns = ((np.clip(c, 0, 0.9999) * 600).astype(int) for c in (v, u))
    image = pictures[wall, rows, columns]
    return cv2.GaussianBlur(image, (3, 3), 0.8), depth


def tour(count: int, turns: float = 1.0) -> tuple[NDArray, NDArray, NDArray[np.uint8], NDArray]:
    """A camera that walks a circle looking outwards: extrinsics, intrinsics (3, 3), images and depth."""
    K, pictures = intrinsics_from_fov(np.radians(70), WIDTH, HEIGHT), walls()
    E = []
    for t in np.linspace(0, turns * 2 * np.pi, count):
        out = np.array([np.sin(t), 0, np.cos(t)])
        E.append(look_at(0.8 * out, 0.8 * out + out + [0, 0.05 * np.sin(3 * t), 0]))
    images, depth = zip(*(look(e, K, pictures) for e in E), strict=True)
    return np.stack(E), K, np.stack(images), np.stack(depth)


def prediction(E: NDArray, K: NDArray, images: NDArray[np.uint8], depth: NDArray) -> Prediction:
    n = len(E)
    return Prediction(
        depth.astype(np.float32),
        np.full(depth.shape, 0.9, np.float32),
        np.zeros(depth.shape, bool),
        E,
        np.tile(K, (n, 1, 1)),
        images,
        tuple(map(str, range(n))),
        np.tile([HEIGHT, WIDTH], (n, 1)),
    )


def test_exposure_of_parts_is_evened_out() -> None:
    scene = prediction(*tour(24))
    np.testing.assert_array_equal(even_gains(scene), 1)
    true = np.repeat([[0.8, 0.8, 0.9], [1.0, 1.0, 1.0], [1.2, 1.1, 1.0]], 8, axis=0)
    drifted = replace(scene, images=np.stack([evened(i, g) for i, g in zip(scene.images, true, strict=True)]))
    gains = even_gains(drifted)
    corrected = gains * true
    np.testing.assert_allclose(corrected / corrected.mean(0), 1, atol=0.03)

    def spread(options: FilterOptions, shown: Prediction) -> float:
        """Mean difference of colour to the cloud of the true images, up to one gain per channel."""
        a, b = fuse(shown, options).colors.astype(float), fuse(scene, options).colors.astype(float)
        return float(np.abs(a * (b.mean(0) / a.mean(0)) - b).mean())

    plain = {"voxel": 2, "confidence_percentile": 0, "point_budget": 10_000_000}
    before = spread(FilterOptions(**plain, even_colors=False), drifted)
    assert spread(FilterOptions(**plain), drifted) < before / 4


def test_places_are_recognised_and_proven() -> None:
    _, _, images, _ = tour(60, turns=1.5)  # frames 40.. see again what 0.. saw
    tokens = tokens_of(images)
    descriptions = describe_frames(lambda: iter([tokens[:25], tokens[25:]]), len(tokens))
    found = candidates(descriptions, gap=15)
    right = [abs((later - earlier) - 40) for later, earlier in found[:10]]
    assert np.median(right) <= 2
    kept = list(proven(found, lambda i: images[i], most=3, apart=5))
    assert 1 <= len(kept) <= 3 and all(abs(a - b - 39.3) <= 4 for a, b in kept)
    assert not same_place(images[0], images[20])
    assert not list(proven([(20, 0)], lambda i: images[i], most=3, apart=5))


def tokens_of(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Stand-ins for what a backbone sees: colours and edges on a coarse grid, (N, T, 8)."""
    rows = []
    for image in images:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
        edges = [np.abs(cv2.Sobel(grey, cv2.CV_32F, *d)) for d in ((1, 0), (0, 1))]
        stack = np.dstack([image.astype(np.float32) - 120, *edges, image[..., ::-1].astype(np.float32) ** 2 / 255])
        rows.append(cv2.resize(stack, (14, 10), interpolation=cv2.INTER_AREA).reshape(10, 14, -1))
    return np.stack(rows).reshape(len(images), -1, 8)


def bent(frames: int) -> Similarity:
    """How far a part has gone astray after so many frames."""
    turn, _ = cv2.Rodrigues(np.array([0, np.radians(0.3) * frames, 0]))
    return Similarity(1.002**frames, turn, np.zeros(3))


class Network:
    """Stands in for the network: the truth of some frames in a world of its own, which turns and grows on the way."""

    def __init__(self, E: NDArray, K: NDArray, images: NDArray[np.uint8], depth: NDArray) -> None:
        self.E, self.K, self.depth = E, K, depth
        self.small = np.stack([cv2.resize(i, (8, 6), interpolation=cv2.INTER_AREA) for i in images]).astype(int)
        self.tokens = tokens_of(images).reshape(len(images), 10, 14, -1)
        self.calls = 0

    def __call__(self, views, checkpoint, settings, runtime, extrinsics=None) -> Da3Views:
        self.calls += 1
        small = [cv2.resize(i, (8, 6), interpolation=cv2.INTER_AREA).astype(int) for i in views.images]
        index = [int(np.abs(self.small - s).sum((1, 2, 3)).argmin()) for s in small]
        random = np.random.default_rng(index[0])
        turn, _ = cv2.Rodrigues(random.normal(0, 1, 3))
        world = Similarity(random.uniform(0.5, 2), turn, random.normal(0, 1, 3))
        # both ends of a loop, seen together, come out right
        bend = [Similarity(1.0, np.eye(3), np.zeros(3)) if len(index) == 40 else bent(k) for k in range(len(index))]
        E = np.stack([world.compose(w).apply_extrinsics(self.E[i]) for w, i in zip(bend, index, strict=True)])
        depth = self.depth[index] * np.array([world.scale * w.scale for w in bend])[:, None, None]
        features = dict.fromkeys(settings.request.feature_layers, self.tokens[index])
        K = np.tile(self.K, (len(index), 1, 1))
        K[:, :2, 2] += 0.5
        return Da3Views(
            depth.astype(np.float32), np.full(depth.shape, 2, np.float32), E.astype(np.float32), K.astype(np.float32),
            views.images, views.sizes, features=features,
        )  # fmt: skip


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("released") / "DA3-SMALL")


def context(tmp_path: Path, released: Path, name: str) -> RunContext:
    settings = Settings(
        weights_dir=tmp_path / "weights",
        workspace_dir=tmp_path / "workspace",
        device="cpu",
        extra={"DA3_MODEL_DIR": str(released)},
    )
    out = settings.runs_dir / name
    out.mkdir(parents=True)
    return RunContext(out, settings, ModelCache.from_settings(settings), WeightsStore(settings))


def drifting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Network, tuple[Path, ...]]:
    """A walk of 1.4 turns and the network that sees it, in place of the true one."""
    truth = tour(84, turns=1.4)
    network = Network(*truth)
    monkeypatch.setattr(engine_da3_long, "compute_views", network)
    folder = tmp_path / "walk"
    folder.mkdir()
    return network, tuple(write_image(folder / f"{i:03d}.png", image) for i, image in enumerate(truth[2]))


def reconstruct(photos: tuple[Path, ...], ctx: RunContext, stop_after: int = 0, **da3: object) -> dict:
    """Depth and cameras without the files made from them; the summary."""
    options = SceneOptions(engine="da3", da3=Da3Options(process_res=WIDTH, chunk=24, overlap=8, **da3))
    scene = registry.get("scene")
    plan = scene.prepare(Inputs({"photos": photos}), options, ctx)
    for event in scene.infer(plan, options, ctx):
        if stop_after and event.stage == "network" and event.done >= stop_after:
            return {}
    return SceneState.load(ctx.out_dir / "work").summary


def misplaced(found: Prediction, E: NDArray) -> float:
    """Largest distance of a camera from its true place, metres, after one similarity."""
    centers, true = camera_centers(found.extrinsics), camera_centers(E)
    return float(np.linalg.norm(umeyama(centers, true).apply(centers) - true, axis=1).max())


def test_a_place_seen_again_straightens_the_walk(
    tmp_path: Path, released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, photos = drifting(tmp_path, monkeypatch)
    errors, summary = {}, {}
    for closing in (False, True):
        ctx = context(tmp_path, released, f"run{closing}")
        summary[closing] = reconstruct(photos, ctx, loop_closing=closing)
        errors[closing] = misplaced(Prediction.load(ctx.out_dir / "prediction.npz"), network.E)
    assert summary[True]["loops"] >= 1 and "loops" not in summary[False]
    assert errors[True] < 0.6 * errors[False]  # what is left is how far each part is bent in itself


def test_installed_descriptions_find_the_places_instead(
    tmp_path: Path, released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, photos = drifting(tmp_path, monkeypatch)
    ctx = context(tmp_path, released, "run")
    checkpoint, seen = tmp_path / "dino_salad.ckpt", []

    def described(pictures: NDArray[np.uint8], path: Path, runtime: Settings) -> NDArray[np.float32]:
        seen.append((len(pictures), path))
        small = [cv2.resize(p, (8, 6), interpolation=cv2.INTER_AREA).astype(int) for p in pictures]
        index = np.array([np.abs(network.small - s).sum((1, 2, 3)).argmin() for s in small])
        angle = np.outer(index / 83 * 1.4 * 2 * np.pi, np.arange(1, 9))  # where on its circle a frame was taken
        return np.hstack([np.cos(angle), np.sin(angle)]).astype(np.float32) / np.sqrt(8, dtype=np.float32)

    monkeypatch.setattr(place_network, "describe_photos", described)
    installed, path_of = ctx.weights.installed, ctx.weights.path
    monkeypatch.setattr(ctx.weights, "installed", lambda name: name == "salad" or installed(name))
    monkeypatch.setattr(ctx.weights, "path", lambda name: checkpoint if name == "salad" else path_of(name))
    assert reconstruct(photos, ctx)["loops"] >= 1
    assert sum(count for count, _ in seen) == len(photos) and {path for _, path in seen} == {checkpoint}
    assert SceneState.load(ctx.out_dir / "work").weights == ["salad"]


def test_a_stopped_job_is_taken_up_by_a_new_run(
    tmp_path: Path, released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, photos = drifting(tmp_path, monkeypatch)
    reconstruct(photos, context(tmp_path, released, "first"), stop_after=56, loop_closing=False)
    assert network.calls == 3
    ctx = context(tmp_path, released, "second")
    summary = reconstruct(photos, ctx, loop_closing=False)
    assert summary["parts"] == 5 and summary["parts_from_earlier_run"] == 3 and network.calls == 5
    whole = Prediction.load(ctx.out_dir / "prediction.npz")
    assert len(whole) == 84
    # other frames are another job
    reconstruct(photos[1:], context(tmp_path, released, "third"), stop_after=24, loop_closing=False)
    assert network.calls == 6
