"""Structure from motion with pycolmap, as a process of its own: ``python -m pipelines.scene.sfm_worker job.json``.

pycolmap corrupts the heap of a process that also loads Pillow, and a stuck solver can only be stopped by killing its
process; so nothing but numpy is imported beside it. Progress goes to stdout as one JSON object a line; the answer is
``result.json`` and ``result.npz`` in the job's ``work`` folder. ``pipelines.scene.sfm`` is the other side.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pycolmap

GRID = 8  # one node of the undistortion grid every so many pixels
BATCH = 4  # photos per extraction call, the step in which progress is told


def say(stage: str, done: int = 0, total: int | None = None) -> None:
    print(json.dumps({"stage": stage, "done": done, "total": total}), flush=True)


def extract(job: dict, database: Path, images: Path) -> None:
    """Features of every photo; photos of one group share one camera."""
    options = pycolmap.FeatureExtractionOptions()
    options.sift.max_num_features = job["max_features"]
    options.num_threads = job["threads"]
    total, done = len(job["names"]), 0
    say("features", 0, total)
    for group in job["groups"]:
        reader = pycolmap.ImageReaderOptions()
        if group["focal_px"]:
            width, height = group["size"]
            reader.camera_params = f"{group['focal_px']},{width / 2},{height / 2},0"
        names = group["names"]
        for start in range(0, len(names), BATCH):
            batch = names[start : start + BATCH]
            pycolmap.extract_features(
                database,
                images,
                image_names=batch,
                camera_mode=pycolmap.CameraMode.SINGLE,
                reader_options=reader,
                extraction_options=options,
                device=pycolmap.Device.cpu,
            )
            if start == 0:
                with pycolmap.Database.open(database) as opened:
                    reader.existing_camera_id = opened.read_image_with_name(batch[0]).camera_id
            done += len(batch)
            say("features", done, total)


def match(job: dict, database: Path, work: Path) -> None:
    """Matches and verifies the pairs of the job, in blocks so that progress can be told."""
    options = pycolmap.FeatureMatchingOptions()
    options.num_threads = job["threads"]
    pairs = job["pairs"]
    names = job["names"]
    listing = work / "pairs.txt"
    block = max(8, len(pairs) // 20)
    say("matching", 0, len(pairs))
    for start in range(0, len(pairs), block):
        part = pairs[start : start + block]
        listing.write_text("".join(f"{names[a]} {names[b]}\n" for a, b in part))
        pairing = pycolmap.ImportedPairingOptions()
        pairing.match_list_path = listing
        pycolmap.match_image_pairs(
            database, matching_options=options, pairing_options=pairing, device=pycolmap.Device.cpu
        )
        say("matching", start + len(part), len(pairs))


def pair_statistics(job: dict, database: Path) -> list[dict]:
    """Per verified pair: inliers, the median displacement of the matches in pixels, and how it was explained."""
    found = []
    with pycolmap.Database.open(database) as opened:
        ids = {image.image_id: image.name for image in opened.read_all_images()}
        order = {name: i for i, name in enumerate(job["names"])}
        points = {i: opened.read_keypoints(i) for i in ids}
        points = {
            i: (k if isinstance(k, np.ndarray) else pycolmap.keypoints_to_matrix(k))[:, :2] for i, k in points.items()
        }
        counts = {order[ids[i]]: len(k) for i, k in points.items()}
        pair_ids, geometries = opened.read_two_view_geometries()
        for pair_id, geometry in zip(pair_ids, geometries, strict=True):
            inliers = geometry.inlier_matches
            inliers = inliers if isinstance(inliers, np.ndarray) else pycolmap.matches_to_matrix(inliers)
            if len(inliers) == 0:
                continue
            a, b = pycolmap.pair_id_to_image_pair(pair_id)
            shift = points[b][inliers[:, 1]] - points[a][inliers[:, 0]]
            found.append(
                {
                    "a": order[ids[a]],
                    "b": order[ids[b]],
                    "inliers": len(inliers),
                    "shift_px": float(np.median(np.hypot(shift[:, 0], shift[:, 1]))),
                    "config": pycolmap.TwoViewGeometryConfiguration(geometry.config).name,
                }
            )
    return [{"features": [counts.get(i, 0) for i in range(len(job["names"]))]}, *found]


def mapping_options(job: dict, attempt: int) -> pycolmap.IncrementalPipelineOptions:
    """Each further attempt asks less of the first pair, for short baselines and few matches."""
    options = pycolmap.IncrementalPipelineOptions()
    options.min_model_size = 2
    options.multiple_models = True
    options.max_num_models = 3
    options.extract_colors = True
    options.num_threads = job["threads"]
    options.random_seed = job["seed"]
    options.ba_refine_focal_length = job["refine_focal"]
    options.ba_refine_extra_params = job["refine_distortion"]
    options.mapper.abs_pose_refine_focal_length = job["refine_focal"]
    options.mapper.abs_pose_refine_extra_params = job["refine_distortion"]
    options.mapper.init_min_tri_angle = (16.0, 4.0, 1.0)[attempt]
    options.mapper.init_min_num_inliers = (100, 60, 30)[attempt]
    options.mapper.filter_min_tri_angle = (1.5, 1.0, 0.5)[attempt]
    options.triangulation.min_angle = (1.5, 1.0, 0.5)[attempt]
    if len(job["names"]) == 2:
        options.triangulation.ignore_two_view_tracks = False
    return options


def reconstruct(job: dict, database: Path, images: Path, work: Path) -> pycolmap.Reconstruction | None:
    """The model with the most registered photos, or None."""
    wanted = len(job["names"])
    best = None
    for attempt in range(3):
        say("mapping", 0, wanted)
        registered = [2]

        def told(count: list[int] = registered) -> None:
            count[0] += 1
            say("mapping", min(count[0], wanted), wanted)

        folder = work / f"model{attempt}"
        folder.mkdir()
        if job["mapper"] == "global" and attempt == 0:
            options = pycolmap.GlobalPipelineOptions()
            options.num_threads = job["threads"]
            options.random_seed = job["seed"]
            models = pycolmap.global_mapping(database, images, folder, options=options)
        else:
            models = pycolmap.incremental_mapping(
                database, images, folder, options=mapping_options(job, attempt), next_image_callback=told
            )
        for model in models.values():
            if model.num_points3D() == 0:  # what a camera that stands still comes back as
                continue
            if best is None or model.num_reg_images() > best.num_reg_images():
                best = model
        if best is not None and best.num_reg_images() >= max(2, 0.6 * wanted):
            break
    return best


def undistortion(camera: pycolmap.Camera) -> tuple[np.ndarray, np.ndarray]:
    """Pinhole intrinsics (3, 3) and where each node of a coarse pixel grid lies in the photo, (h, w, 2); both with the
    centre of the first pixel at (0, 0)."""
    K = np.array(camera.calibration_matrix(), np.float64)
    xs = np.arange(-GRID, camera.width + 2 * GRID, GRID, dtype=np.float64)
    ys = np.arange(-GRID, camera.height + 2 * GRID, GRID, dtype=np.float64)
    grid = np.stack(np.meshgrid(xs, ys), -1) + 0.5
    rays = (grid - K[:2, 2]) / [K[0, 0], K[1, 1]]
    flat = rays.reshape(-1, 2)
    nodes = camera.img_from_cam(np.concatenate([flat, np.ones((len(flat), 1))], 1))
    nodes = np.asarray(nodes, np.float64).reshape(grid.shape) - 0.5
    K[:2, 2] -= 0.5
    return K, nodes.astype(np.float32)


def dump(job: dict, model: pycolmap.Reconstruction, work: Path) -> dict:
    """Writes ``result.npz`` and returns the numbers for ``result.json``."""
    order = {name: i for i, name in enumerate(job["names"])}
    images = sorted(
        (im for im in model.images.values() if im.has_pose and im.name in order), key=lambda im: order[im.name]
    )
    cameras = sorted({im.camera_id for im in images})
    arrays: dict[str, np.ndarray] = {}
    for row, camera_id in enumerate(cameras):
        arrays[f"K{row}"], arrays[f"grid{row}"] = undistortion(model.cameras[camera_id])
    point_ids = sorted(model.points3D)
    rows = {p: i for i, p in enumerate(point_ids)}
    seen_image, seen_point = [], []
    for i, image in enumerate(images):
        for point in image.points2D:
            if point.has_point3D():
                seen_image.append(i)
                seen_point.append(rows[point.point3D_id])
    points = [model.points3D[p] for p in point_ids]
    arrays |= {
        "index": np.array([order[im.name] for im in images], np.int64),
        "camera": np.array([cameras.index(im.camera_id) for im in images], np.int64),
        "extrinsics": np.array([im.cam_from_world().matrix() for im in images], np.float64),
        "points": np.array([p.xyz for p in points], np.float64).reshape(-1, 3),
        "colors": np.array([p.color for p in points], np.uint8).reshape(-1, 3),
        "errors": np.array([p.error for p in points], np.float64),
        "seen_image": np.array(seen_image, np.int64),
        "seen_point": np.array(seen_point, np.int64),
    }
    np.savez(work / "result.npz", **arrays)
    distorted = [
        bool(abs(model.cameras[c].img_from_cam(np.array([[0.5, 0.5, 1.0]])) - _pinhole(model.cameras[c])).max() > 0.05)
        for c in cameras
    ]
    return {
        "registered": len(images),
        "points": len(points),
        "reprojection_px": float(model.compute_mean_reprojection_error()) if len(points) else 0.0,
        "sizes": [[model.cameras[c].width, model.cameras[c].height] for c in cameras],
        "distorted": distorted,
    }


def _pinhole(camera: pycolmap.Camera) -> np.ndarray:
    K = np.array(camera.calibration_matrix())
    return np.array([[K[0, 0] * 0.5 + K[0, 2], K[1, 1] * 0.5 + K[1, 2]]])


def run(job: dict) -> dict:
    work, images = Path(job["work"]), Path(job["images"])
    if job["task"] == "read":
        model = pycolmap.Reconstruction(job["model"])
        job["names"] = sorted(im.name for im in model.images.values())
        return {"names": job["names"], **dump(job, model, work)}
    database = work / "database.db"
    pycolmap.Database.open(database).close()
    extract(job, database, images)
    match(job, database, work)
    features, *pairs = pair_statistics(job, database)
    answer = {**features, "pairs": pairs, "registered": 0, "points": 0}
    if pairs:
        model = reconstruct(job, database, images, work)
        if model is not None:
            answer |= dump(job, model, work)
    return answer


def main() -> None:
    pycolmap.logging.minloglevel = pycolmap.logging.Level.ERROR
    pycolmap.logging.logtostderr = True
    job = json.loads(Path(sys.argv[1]).read_text())
    (Path(job["work"]) / "result.json").write_text(json.dumps(run(job)))


if __name__ == "__main__":
    main()
