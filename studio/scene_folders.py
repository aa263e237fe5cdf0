"""Folders of scenes as Depth Anything 3's own page keeps them: examples to start from, and a gallery of results.

``DA3_WORKSPACE_DIR/examples/<name>/`` holds photos; with DA3_CACHE_EXAMPLES they are computed when the page opens, and
names that contain DA3_CACHE_GS_TAG get a higher resolution and splats. ``DA3_GALLERY_DIR/<group>/<scene>/`` holds
scene.glb, scene.jpg, depth_vis/, images/ and metadata.json.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
import time
from pathlib import Path

from models.runtime.errors import InputError, StudioError, WeightsMissing
from models.runtime.settings import Settings
from pipelines.base import Inputs
from pipelines.media.image import write_image
from pipelines.scene.da3_exports import depth_picture
from pipelines.scene.options import Da3Options, FilterOptions, SceneOptions
from pipelines.scene.prediction import Prediction
from studio.privacy import LOCAL_OWNER
from studio.runs import RunRecord, RunStore
from studio.services import Studio

log = logging.getLogger("studio.scene")
PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}
CACHED_PERCENTILE = 20.0
_TITLE = "Example: "


def example_folders(settings: Settings) -> list[Path]:
    """The folders with photos below ``DA3_WORKSPACE_DIR/examples``, in order of name."""
    named = settings.extra.get("DA3_WORKSPACE_DIR", "")
    folder = Path(named).expanduser() / "examples"
    if not named or not folder.is_dir():
        return []
    return sorted(p for p in folder.iterdir() if p.is_dir() and photos_of(p))


def photos_of(folder: Path) -> tuple[Path, ...]:
    """Its pictures in order of name."""
    return tuple(sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in PICTURES))


def example_options(folder: Path, settings: Settings) -> SceneOptions:
    """How an example is computed ahead."""
    tag = settings.extra.get("DA3_CACHE_GS_TAG", "")
    splats = bool(tag) and tag.lower() in folder.name.lower()
    da3 = Da3Options(
        process_res_method="lower_bound_resize" if splats else "upper_bound_resize",
        infer_gs=splats,
        exports=("depth_vis", "gs_video") if splats else ("depth_vis",),
    )
    return SceneOptions(engine="da3", da3=da3, filter=FilterOptions(confidence_percentile=CACHED_PERCENTILE))


def cached_run(runs: RunStore, folder: Path) -> RunRecord | None:
    """The newest run that computed an example, finished or on its way."""
    found = runs.list(None, "scene", None, f"{_TITLE}{folder.name}")
    return next(
        (r for r in found if r.title == f"{_TITLE}{folder.name}" and r.state in ("done", "running", "queued")), None
    )


def compute_examples(studio: Studio) -> int:
    """Queues every example that has no result yet, where DA3_CACHE_EXAMPLES asks for it; returns how many."""
    settings = studio.settings
    if settings.extra.get("DA3_CACHE_EXAMPLES", "").strip().lower() not in {"1", "true", "yes", "on"}:
        return 0
    count = 0
    for folder in example_folders(settings):
        if cached_run(studio.runs, folder) is not None:
            continue
        inputs = Inputs({"photos": photos_of(folder)})
        try:
            title, options = f"{_TITLE}{folder.name}", example_options(folder, settings)
            studio.jobs.submit("scene", inputs, options, LOCAL_OWNER, title=title, keep="reference")
        except WeightsMissing as error:
            log.warning("the examples are not computed ahead: %s", error.message)
            break
        except StudioError as error:
            log.warning("example %s is not computed ahead: %s", folder.name, error.message)
            continue
        count += 1
    return count


def save_to_gallery(runs: RunStore, run_id: str, root: Path, group: str, name: str) -> Path:
    """Copies a finished scene into a gallery and returns its folder there.

    Raises:
        InputError: the names hold characters that are no part of a folder's name, or the run is no finished scene.
    """
    for what, text in (("group", group), ("name", name)):
        if not re.fullmatch(r"[\w][\w .-]{0,80}", text):
            raise InputError(f"The {what} {text!r} is no folder name; use letters, digits, blanks, - and _")
    record = runs.get(run_id)
    scene, stored = record.first("scene"), record.first("prediction")
    if record.state != "done" or scene is None or stored is None:
        raise InputError("Only a finished scene can go to the gallery")
    percentile = record.options.get("filter", {}).get("confidence_percentile", 0)
    target = root / group.strip() / f"{name.strip()}_{time.strftime('%Y%m%d_%H%M%S')}_pct{percentile:g}"
    target.mkdir(parents=True)
    shutil.copyfile(runs.file(run_id, scene.path), target / "scene.glb")
    prediction = Prediction.load(runs.file(run_id, stored.path))
    for folder in ("images", "depth_vis"):
        (target / folder).mkdir()
    for i in range(len(prediction)):
        depth, _, image = prediction.view(i)
        write_image(target / "images" / f"{i:04d}.jpg", image)
        write_image(target / "depth_vis" / f"{i:04d}.jpg", depth_picture(depth))
    shutil.copyfile(target / "images" / "0000.jpg", target / "scene.jpg")
    facts = {"title": record.title or name, "run": run_id, "engine": record.engine, "summary": record.summary}
    (target / "metadata.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return target
