"""The backend routes of Depth Anything 3 under ``/da3``: a client that is given that base address works unchanged.

Paths are those of this machine and must lie inside the folders of STUDIO_ALLOWED_DIRS (or DA3_WORKSPACE_DIR and
DA3_GALLERY_DIR). Work goes through the studio's own queue; tasks are forgotten ten minutes after their end.
"""

import html
import shutil
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Depends
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from models.runtime.device import describe_device, device_memory
from models.runtime.errors import Forbidden, InputError, StudioError
from models.runtime.settings import Settings
from pipelines.base import Inputs
from pipelines.export.colmap import Camera, Points, PosedImage, SparseModel, write_model
from pipelines.media.image import image_size
from pipelines.scene.options import Da3Options, FilterOptions, SceneOptions
from studio.api.da3_gallery import add_gallery
from studio.cli.export import export, parse_formats
from studio.cli.scene import asked_exports
from studio.jobs import Job
from studio.privacy import Caller
from studio.services import Studio

KEPT_SECONDS, KEPT_TASKS = 600, 100
GIB = 1024**3
_STATES = {"queued": "pending", "running": "running", "done": "completed", "failed": "failed", "cancelled": "failed"}
_STAGES = {"prepare": 0.1, "photos": 0.2, "network": 0.3, "finish": 0.9}


class InferenceRequest(BaseModel):
    """The body of ``/inference``; unknown names are ignored, as the original does."""

    image_paths: list[str] = Field(min_length=1, max_length=2000)
    export_dir: str | None = None
    export_format: str = "mini_npz-glb"
    extrinsics: list[list[list[float]]] | None = None
    intrinsics: list[list[list[float]]] | None = None
    process_res: int = 504
    process_res_method: str = "upper_bound_resize"
    export_feat_layers: list[int] = []
    align_to_input_ext_scale: bool = True
    conf_thresh_percentile: float = 40.0
    num_max_points: int = 1_000_000
    show_cameras: bool = True
    feat_vis_fps: int = 15
    use_ray_pose: bool = False
    ref_view_strategy: str = "saddle_balanced"


@dataclass
class Task:
    """One call of ``/inference`` and the job that does it."""

    task_id: str
    request: InferenceRequest
    job: Job
    owner: str
    created_at: float = field(default_factory=time.time)
    started_at: float | None = None
    completed_at: float | None = None
    export_dir: str = ""
    error: str = ""
    delivered: bool = False

    @property
    def status(self) -> str:
        if self.error:
            return "failed"
        state = _STATES[self.job.snapshot().state]
        return "running" if state == "completed" and not self.delivered else state

    @property
    def finished(self) -> bool:
        return self.status in ("completed", "failed")

    def view(self) -> dict[str, Any]:
        snapshot = self.job.snapshot()
        status = self.status
        progress = 1.0 if status == "completed" else 0.0
        if status == "running" and snapshot.progress is not None:
            progress = _STAGES.get(snapshot.progress.stage, 0.3)
        message = self.error or (snapshot.error.message if snapshot.error else status)
        return {
            "task_id": self.task_id,
            "status": status,
            "message": message,
            "progress": progress,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "completed_at": self.completed_at,
            "export_dir": self.export_dir,
            "request": self.request.model_dump(),
            "num_images": len(self.request.image_paths),
            "export_format": self.request.export_format,
            "process_res_method": self.request.process_res_method,
            "video_path": self.request.image_paths[0],
        }


class Backend:
    """The tasks in memory, and what becomes of their results."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        self.started = time.time()
        self.last_used: float | None = None
        self._tasks: dict[str, Task] = {}
        self._lock = threading.Lock()

    def submit(self, request: InferenceRequest, owner: str) -> Task:
        """Queues the job. Raises Forbidden for paths outside the allowed folders, InputError for what cannot work."""
        settings = self.studio.settings
        photos = tuple(allowed(path, settings) for path in request.image_paths)
        formats = parse_formats("scene", request.export_format)
        target = None if request.export_dir is None else allowed(request.export_dir, settings, must_exist=False)
        if (request.extrinsics is None) != (request.intrinsics is None):
            raise InputError("Known cameras need both extrinsics and intrinsics")
        options = SceneOptions.model_validate(
            {
                "engine": "da3",
                "filter": FilterOptions(
                    confidence_percentile=min(request.conf_thresh_percentile, 95),
                    point_budget=request.num_max_points,
                    show_cameras=request.show_cameras,
                ),
                "da3": {
                    **Da3Options().model_dump(),
                    "process_res": request.process_res,
                    "process_res_method": request.process_res_method,
                    "use_ray_pose": request.use_ray_pose,
                    "ref_view_strategy": request.ref_view_strategy,
                    "align_to_input_ext_scale": request.align_to_input_ext_scale,
                    "export_feat": tuple(request.export_feat_layers),
                    "feat_vis_fps": float(request.feat_vis_fps),
                    "exports": asked_exports(formats),
                },
            }
        )
        folder = None
        if request.extrinsics is not None:
            folder = with_cameras(photos, request, settings)
        inputs = Inputs({"archive": (folder,)} if folder else {"photos": photos})
        try:
            job = self.studio.jobs.submit("scene", inputs, options, owner, title="Depth Anything 3 backend")
        finally:
            if folder:
                shutil.rmtree(folder)
        task = Task(str(uuid.uuid4()), request, job, owner)
        task.export_dir = str(target or self.studio.runs.folder(job.id))
        with self._lock:
            self._tasks[task.task_id] = task
        threading.Thread(target=self._deliver, args=(task, formats, target), daemon=True, name="da3-task").start()
        self.last_used = time.time()
        return task

    def _deliver(self, task: Task, formats: frozenset[str], target: Path | None) -> None:
        """Waits for the job and copies what was asked for to the export folder."""
        for snapshot in task.job.follow():
            if snapshot.state == "running" and task.started_at is None:
                task.started_at = time.time()
        try:
            if task.job.snapshot().state == "done":
                export(self.studio.runs, self.studio.runs.get(task.job.id), formats, target)
        except StudioError as error:
            task.error = error.message
        task.completed_at = time.time()
        task.delivered = True

    def tasks(self) -> list[Task]:
        """All that are remembered, oldest first; old ones are forgotten here."""
        with self._lock:
            ended = sorted((t for t in self._tasks.values() if t.completed_at), key=lambda t: t.completed_at or 0)
            for i, task in enumerate(ended):
                too_old = time.time() - (task.completed_at or 0) > KEPT_SECONDS
                if too_old or len(ended) - i > KEPT_TASKS:
                    del self._tasks[task.task_id]
            return list(self._tasks.values())

    def get(self, task_id: str) -> Task:
        task = next((t for t in self.tasks() if t.task_id == task_id), None)
        if task is None:
            raise HTTPException(404, f"Task {task_id} not found")
        return task

    def forget(self, task_id: str) -> None:
        task = self.get(task_id)
        if not task.finished:
            raise HTTPException(400, "Only finished tasks can be deleted")
        with self._lock:
            self._tasks.pop(task_id, None)

    def memory(self) -> dict[str, float] | None:
        """Of the card, in GB; None without one."""
        if describe_device(self.studio.settings).kind != "cuda":
            return None
        found = device_memory(self.studio.cache.device)
        used = found.total - found.free
        return {
            "total_gb": found.total / GIB,
            "allocated_gb": used / GIB,
            "reserved_gb": used / GIB,
            "free_gb": found.free / GIB,
            "utilization_percent": 100 * used / max(found.total, 1),
        }


def roots(settings: Settings) -> list[Path]:
    """The folders whose files clients may name."""
    own = (settings.extra.get(name, "") for name in ("DA3_WORKSPACE_DIR", "DA3_GALLERY_DIR"))
    return [p.resolve() for p in (*settings.allowed_dirs, *(Path(v).expanduser() for v in own if v))]


def allowed(path: str, settings: Settings, must_exist: bool = True) -> Path:
    """A server path, inside an allowed folder. Raises Forbidden, or InputError where nothing lies there."""
    found = Path(path).expanduser().resolve()
    if not any(found.is_relative_to(root) for root in roots(settings)):
        raise Forbidden(f"{path} lies outside the folders this studio may use; add its folder to STUDIO_ALLOWED_DIRS")
    if must_exist and not found.is_file():
        raise InputError(f"There is no file {path}")
    return found


def with_cameras(photos: tuple[Path, ...], request: InferenceRequest, settings: Settings) -> Path:
    """A COLMAP folder of photos and the cameras sent along. Raises InputError for arrays of other shapes."""
    E, K = (np.array(v, dtype=np.float64) for v in (request.extrinsics, request.intrinsics))
    n = len(photos)
    if E.shape not in ((n, 3, 4), (n, 4, 4)) or K.shape != (n, 3, 3):
        raise InputError(f"{n} images need extrinsics ({n}, 4, 4) and intrinsics ({n}, 3, 3)")
    folder = settings.temp_dir / f"da3-{uuid.uuid4().hex}"
    (folder / "images").mkdir(parents=True)
    cameras, images = {}, {}
    for i, photo in enumerate(photos, start=1):
        name = f"{i:05d}_{photo.name}"
        shutil.copyfile(photo, folder / "images" / name)
        width, height = image_size(photo, settings.limits)
        lens = tuple(float(K[i - 1][at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
        cameras[i] = Camera(i, "PINHOLE", width, height, lens)
        images[i] = PosedImage.from_extrinsics(i, E[i - 1, :3], i, name)
    model = SparseModel(cameras, images, Points.make(np.zeros((0, 3)), np.zeros((0, 3), np.uint8)))
    write_model(folder / "sparse" / "0", model)
    return folder


def add_da3(router: APIRouter, studio: Studio, caller: Callable[..., Caller], base: str = "/da3") -> None:
    """Adds all routes below ``base``; an empty one puts them where the original has them."""
    backend = Backend(studio)

    @router.get(base or "/", include_in_schema=False)
    @router.get(f"{base}/dashboard", tags=["depth anything 3"], summary="The backend at a glance")
    def dashboard(who: Annotated[Caller, Depends(caller)]) -> HTMLResponse:
        return HTMLResponse(_page(backend, who))

    @router.get(f"{base}/status", tags=["depth anything 3"], summary="Model, device and memory")
    def status(who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
        loaded = [entry for entry in studio.cache.snapshot() if entry.key.startswith("da3")]
        return {
            "model_loaded": bool(loaded),
            "model_dir": loaded[0].key.partition("@")[2] if loaded else studio.settings.extra.get("DA3_MODEL_DIR", ""),
            "device": describe_device(studio.settings).name,
            "load_time": loaded[0].load_seconds if loaded else None,
            "last_used": backend.last_used,
            "uptime": time.time() - backend.started,
            "gpu_memory": backend.memory(),
        }

    @router.post(f"{base}/inference", tags=["depth anything 3"], summary="Start a reconstruction from server paths")
    async def inference(request: InferenceRequest, who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
        task = await to_thread.run_sync(lambda: backend.submit(request, who.owner))
        return {
            "success": True,
            "message": "Task submitted successfully",
            "task_id": task.task_id,
            "export_dir": task.export_dir,
            "export_format": request.export_format,
            "processing_time": None,
        }

    @router.get(f"{base}/task/{{task_id}}", tags=["depth anything 3"], summary="How a task is doing")
    def task(task_id: str, who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
        return backend.get(task_id).view()

    @router.delete(f"{base}/task/{{task_id}}", tags=["depth anything 3"], summary="Forget a finished task")
    def forget(task_id: str, who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
        backend.forget(task_id)
        return {"success": True, "message": f"Task {task_id} deleted"}

    @router.get(f"{base}/tasks", tags=["depth anything 3"], summary="All tasks")
    def tasks(who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
        seen = [t for t in backend.tasks() if who.sees_all or t.owner == who.owner]
        active, ended = [t.view() for t in seen if not t.finished], [t.view() for t in seen if t.finished]
        return {
            "tasks": active + ended,
            "active_tasks": active,
            "completed_tasks": ended,
            "active_count": len(active),
            "total_count": len(seen),
        }

    @router.get(f"{base}/gpu-memory", tags=["depth anything 3"], summary="Memory of the card")
    def gpu_memory(who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
        found = backend.memory()
        if found is None:
            return {"available": False, "message": "No CUDA device is in use"}
        used = found["utilization_percent"]
        return {
            "available": True,
            **found,
            "status": "healthy" if used < 80 else "warning" if used < 95 else "critical",
        }

    @router.post(f"{base}/cleanup", tags=["depth anything 3"], summary="Forget finished tasks")
    def cleanup(who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
        ended = [t for t in backend.tasks() if t.finished and (who.sees_all or t.owner == who.owner)]
        for each in ended:
            backend.forget(each.task_id)
        return {"success": True, "message": f"{len(ended)} finished tasks forgotten"}

    @router.post(f"{base}/reload", tags=["depth anything 3"], summary="Load the model anew at its next use")
    def reload(who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
        who.check_admin()
        studio.cache.clear()
        return {"success": True, "message": "The model is loaded again at its next use"}

    add_gallery(router, studio.settings, caller, f"{base}/gallery")


def _page(backend: Backend, who: Caller) -> str:
    rows = "".join(
        f"<tr><td>{t.task_id[:8]}</td><td>{t.status}</td><td>{len(t.request.image_paths)}</td>"
        f"<td>{html.escape(t.view()['message'])}</td></tr>"
        for t in backend.tasks()
        if who.sees_all or t.owner == who.owner
    )
    return (
        "<!doctype html><meta charset=utf-8><title>Depth Anything 3 backend</title>"
        "<style>body{font:16px system-ui;margin:2rem;max-width:60rem}td,th{padding:.3rem .8rem;text-align:left}</style>"
        f"<h1>Depth Anything 3 backend</h1><p>{html.escape(describe_device(backend.studio.settings).name)}, up for "
        f"{(time.time() - backend.started) / 60:.0f} minutes.</p>"
        f"<table><tr><th>Task<th>State<th>Images<th>Message</tr>{rows}</table>"
    )
