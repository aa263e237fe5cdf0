"""Cameras from photos: drives the structure-from-motion process, stops it, and explains in words why it failed."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

import pipelines
from models.runtime.errors import Cancelled, InputError
from models.runtime.safe_load import load_npz
from pipelines.base import Progress

GRID = 8  # pixels between the nodes of the worker's undistortion grid
_POLL_SECONDS = 0.2
_STILL_SHIFT = 0.0025  # median match displacement, as a share of the image width, below which nothing moved
_FEW_FEATURES = 250
_LEAST_SHARE = 0.15  # points per match of a pair; a camera that only turns leaves next to none


@dataclass(frozen=True)
class CameraGroup:
    """Photos that share one camera. ``size`` is (width, height); ``focal_px`` a prior, or None."""

    names: tuple[str, ...]
    size: tuple[int, int]
    focal_px: float | None = None


@dataclass(frozen=True)
class SfmJob:
    """What the worker needs. ``pairs`` are indices into ``names``; ``threads`` 0 uses every core."""

    images: Path
    names: tuple[str, ...]
    groups: tuple[CameraGroup, ...]
    pairs: tuple[tuple[int, int], ...]
    max_features: int = 6000
    mapper: str = "incremental"
    refine_focal: bool = True
    refine_distortion: bool = True
    seed: int = 0
    threads: int = 0
    timeout_seconds: float = 1800.0


@dataclass(frozen=True)
class SfmResult:
    """Registered photos and sparse points.

    ``index`` (n,) positions in the job's names; ``extrinsics`` (n, 3, 4) world-to-camera; ``intrinsics`` (n, 3, 3) of
    the photos without distortion, first pixel centred at (0, 0); ``grids`` (n,) where a coarse pixel grid lies in the
    distorted photo, or None; ``points`` (P, 3); ``colors`` (P, 3) uint8; ``seen_image``/``seen_point`` (M,) which of
    the n photos saw which point; ``reprojection_px`` the mean error; ``sizes`` (width, height) of the cameras.
    """

    index: np.ndarray
    extrinsics: np.ndarray
    intrinsics: np.ndarray
    grids: tuple[np.ndarray | None, ...]
    points: np.ndarray
    colors: np.ndarray
    seen_image: np.ndarray
    seen_point: np.ndarray
    reprojection_px: float
    sizes: tuple[tuple[int, int], ...]


def solve(
    job: SfmJob, work: Path, cancelled: Callable[[], bool], photo_names: tuple[str, ...]
) -> Generator[Progress, None, SfmResult]:
    """Runs the worker; yields its progress, returns the cameras. ``photo_names`` are the names people know.

    Raises:
        InputError: no cameras could be found; the message says why and what would help.
        Cancelled: the user stopped the job; the worker is killed.
    """
    payload = {
        "task": "solve",
        **asdict(job),
        "images": str(job.images),
        "work": str(work),
        "threads": job.threads or os.cpu_count() or 1,
    }
    answer = yield from _run_worker(payload, work, cancelled, job.timeout_seconds)
    inliers = [pair["inliers"] for pair in answer["pairs"]]
    needed = max(8.0, _LEAST_SHARE * float(np.median(inliers))) if inliers else 8.0
    if answer["registered"] < 2 or answer["points"] < needed:
        width = max(group.size[0] for group in job.groups)
        raise InputError(explain_failure(answer["features"], answer["pairs"], width, photo_names))
    _refuse_still_camera(answer["pairs"], max(group.size[0] for group in job.groups))
    return _read_result(answer, work)


def read_model(
    model: Path, work: Path, cancelled: Callable[[], bool], least: int = 2
) -> Generator[Progress, None, tuple[SfmResult, tuple[str, ...]]]:
    """Reads a COLMAP model (text or binary), its cameras as given; also returns the photos' names in index order.

    Raises:
        InputError: the model cannot be read or has fewer than ``least`` cameras.
    """
    payload = {"task": "read", "model": str(model), "work": str(work), "images": ""}
    answer = yield from _run_worker(payload, work, cancelled, 300.0)
    if answer["registered"] < least:
        raise InputError(f"The COLMAP model in {model.name} holds fewer than {least} registered photos")
    return _read_result(answer, work), tuple(answer["names"])


def _run_worker(
    payload: dict, work: Path, cancelled: Callable[[], bool], timeout_seconds: float
) -> Generator[Progress, None, dict]:
    work.mkdir(parents=True, exist_ok=True)
    description = work / "job.json"
    description.write_text(json.dumps(payload))
    environment = dict(os.environ)
    root = str(Path(pipelines.__file__).parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(p for p in (root, environment.get("PYTHONPATH", "")) if p)
    log = work / "worker.log"
    deadline = time.monotonic() + timeout_seconds
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.scene.sfm_worker", str(description)],
            stdout=subprocess.PIPE,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env=environment,
            text=True,
            start_new_session=True,
        )
        lines: queue.Queue[str | None] = queue.Queue()
        reader = threading.Thread(target=_pump, args=(process, lines), daemon=True)
        reader.start()
        try:
            while True:
                try:
                    line = lines.get(timeout=_POLL_SECONDS)
                except queue.Empty:
                    line = ""
                if line is None:
                    break
                if line.startswith("{"):
                    told = json.loads(line)
                    yield Progress(told["stage"], told["done"], told["total"])
                if cancelled():
                    raise Cancelled("Stopped.")
                if time.monotonic() > deadline:
                    raise InputError(
                        f"Finding the cameras took longer than {timeout_seconds / 60:.0f} minutes and was stopped; "
                        "use fewer photos or fewer features"
                    )
            code = process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            reader.join(timeout=5)
    result = work / "result.json"
    if code != 0 or not result.is_file():
        raise InputError(_worker_words(payload["task"], log.read_text(errors="replace")))
    return json.loads(result.read_text())


def _pump(process: subprocess.Popen, lines: queue.Queue[str | None]) -> None:
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _worker_words(task: str, log: str) -> str:
    last = next((line.strip() for line in reversed(log.splitlines()) if line.strip()), "no reason given")
    if task == "read":
        return f"The COLMAP model cannot be read ({last[:200]}); it needs cameras, images and points3D as .bin or .txt"
    return f"The cameras could not be computed ({last[:200]}); try other photos or fewer features"


def _read_result(answer: dict, work: Path) -> SfmResult:
    data = load_npz(work / "result.npz")
    rows = data["camera"]
    grids = tuple(data[f"grid{row}"] if answer["distorted"][row] else None for row in rows)
    return SfmResult(
        index=data["index"],
        extrinsics=data["extrinsics"],
        intrinsics=np.stack([data[f"K{row}"] for row in rows]),
        grids=grids,
        points=data["points"],
        colors=data["colors"],
        seen_image=data["seen_image"],
        seen_point=data["seen_point"],
        reprojection_px=float(answer["reprojection_px"]),
        sizes=tuple(tuple(answer["sizes"][row]) for row in rows),
    )


def _refuse_still_camera(pairs: list[dict], width: int) -> None:
    shifts = [pair["shift_px"] for pair in pairs]
    if shifts and max(shifts) < _STILL_SHIFT * width:
        raise InputError(_STILL)


_STILL = (
    "The camera does not move between these photos, so depth cannot be measured; walk sideways between the shots, "
    "a step of about a tenth of the distance to the subject"
)


def explain_failure(features: list[int], pairs: list[dict], width: int, names: tuple[str, ...]) -> str:
    """Why no cameras were found, in words for the user, from what extraction and matching saw.

    ``features`` per photo; ``pairs`` as the worker reports them (a, b, inliers, shift_px, config); ``width`` in pixels.
    """
    poor = [names[i] for i, count in enumerate(features) if count < _FEW_FEATURES]
    strong = [pair for pair in pairs if pair["inliers"] >= 30]
    if len(features) - len(poor) < 2:
        return (
            "The photos are too blurred or too plain to find anything to match "
            f"({', '.join(poor[:3])}{' and others' if len(poor) > 3 else ''}); "
            "use sharp photos of something with visible texture"
        )
    if strong and max(pair["shift_px"] for pair in strong) < _STILL_SHIFT * width:
        return _STILL
    if strong and sum(p["config"] in ("PANORAMIC", "PLANAR_OR_PANORAMIC") for p in strong) > len(strong) / 2:
        return (
            "The camera only turns on the spot (or sees one flat surface), so depth cannot be measured; "
            "take the photos from different places"
        )
    if not strong:
        return (
            "The photos overlap too little to be matched; let neighbouring photos share at least two thirds of "
            "what they show, and add photos in between"
        )
    return (
        "No consistent camera positions could be found; add photos taken from more places, with more overlap and "
        "without motion blur or moving subjects"
    )


def undistort(photo: np.ndarray, grid: np.ndarray | None) -> np.ndarray:
    """The photo (H, W, 3) as a pinhole camera of the same focal length sees it; ``grid`` as in ``SfmResult``.

    What the lens did not see is filled by repeating the border.
    """
    if grid is None:
        return photo
    h, w = photo.shape[:2]
    x, y = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
    nodes = cv2.remap(grid, x / GRID + 1, y / GRID + 1, cv2.INTER_LINEAR)
    return cv2.remap(photo, nodes[..., 0], nodes[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
