"""The scene command's modes and further flag names: the words that users of Depth Anything 3 know."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from models.runtime.errors import InputError
from pipelines.base import Inputs, Pipeline
from pipelines.media.sniff import describe, sniff
from pipelines.scene.options import Da3Export
from studio.cli.words import RESULTS, Flag, Words
from studio.intake import assign, counted, wanted

MODES = ("auto", "image", "images", "video", "colmap")
SERVERS = {"backend": 8008, "gradio": 7860, "gallery": 8007}  # with the ports of the original
ALIASES: dict[str, tuple[str, ...]] = {
    "filter_confidence_percentile": ("conf-thresh-percentile",),
    "filter_point_budget": ("num-max-points",),
}
# What the original tool takes beside the options.
_FLAGS = (
    Flag(
        "model_dir",
        ("--model-dir",),
        str | None,
        "Released folder or name of a Depth Anything 3 checkpoint.",
        None,
        RESULTS,
    ),
    Flag(
        "use_backend",
        ("--use-backend/--no-use-backend",),
        bool,
        "Let the studio at --backend-url do the work.",
        False,
        RESULTS,
    ),
    Flag("backend_url", ("--backend-url",), str, "Address of a running studio.", "http://127.0.0.1:7860/da3", RESULTS),
    Flag(
        "gallery_dir",
        ("--gallery-dir",),
        Path | None,
        "backend, gradio, gallery: folder <group>/<scene>/.",
        None,
        RESULTS,
    ),
    Flag(
        "workspace_dir",
        ("--workspace-dir",),
        Path | None,
        "gradio: folder whose examples/ the page offers.",
        None,
        RESULTS,
    ),
    Flag("host", ("--host",), str | None, "backend, gradio, gallery: address to listen on.", None, RESULTS),
    Flag("port", ("--port",), int | None, "backend (8008), gradio (7860), gallery (8007): the port.", None, RESULTS),
    Flag("share", ("--share/--no-share",), bool, "gradio: open a temporary public address.", False, RESULTS),
    Flag("debug", ("--debug/--no-debug",), bool, "backend, gradio, gallery: say more.", False, RESULTS),
    Flag(
        "open_browser",
        ("--open-browser/--no-open-browser",),
        bool,
        "backend, gradio, gallery: show the page.",
        False,
        RESULTS,
    ),
    Flag(
        "cache_examples",
        ("--cache-examples/--no-cache-examples",),
        bool,
        "gradio: compute examples at start.",
        False,
        RESULTS,
    ),
    Flag(
        "cache_gs_tag",
        ("--cache-gs-tag",),
        str | None,
        "gradio: examples with this in their name get splats.",
        None,
        RESULTS,
    ),
    Flag(
        "auto_cleanup",
        ("--auto-cleanup/--no-auto-cleanup",),
        bool,
        "Empty --export-dir before writing to it.",
        False,
        RESULTS,
    ),
)
ROLES: dict[str, tuple[str, ...]] = {
    "glb": ("scene",),
    "npz": ("npz", "prediction"),
    "mini_npz": ("mini_npz", "prediction"),
    "ply": ("points",),
    "colmap": ("colmap_model", "colmap"),
    "depth_vis": ("depth_vis", "depth", "depth_video"),
    "feat_vis": ("feat_vis",),
    "gs_ply": ("gs_ply", "splats"),
    "gs_video": ("gs_video",),
}


def server_of(given: Mapping[str, Any]) -> str | None:
    """The studio that is to do the work: ``--server``, or the one behind ``--backend-url``."""
    if given["server"] or not given["use_backend"]:
        return given["server"]
    return given["backend_url"].rstrip("/").removesuffix("/da3")


def empty(folder: Path | None) -> None:
    """Deletes what is in an export folder.

    Raises:
        InputError: it is no folder to be emptied: the root, a home, or one that holds a repository.
    """
    if folder is None or not folder.is_dir():
        return
    folder = folder.resolve()
    if folder in (Path(folder.anchor), Path.home()) or Path.cwd().is_relative_to(folder) or (folder / ".git").exists():
        raise InputError(f"{folder} will not be emptied; name a folder of its own as --export-dir")
    for path in folder.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def asked_exports(formats: frozenset[str]) -> tuple[str, ...]:
    """The further files of engine ``da3`` that the names of an export format call for."""
    known = get_args(Da3Export)
    return tuple(name for name in known if name in formats)


def by_mode(given: list[str], extensions: str | None) -> list[Path]:
    """The input paths of ``[mode] INPUT...``, checked against the mode.

    Raises:
        InputError: a path is missing or not what the mode says.
    """
    mode = given[0] if given and given[0] in MODES else "auto"
    paths = [Path(p) for p in (given[1:] if given and given[0] in MODES else given)]
    if not paths:
        raise InputError("Nothing to work on: name photos, a folder, a video or a COLMAP folder")
    for path in paths:
        if not path.exists():
            raise InputError(f"There is no file or folder {str(path)!r}")
    if mode in ("image", "video") and len(paths) != 1:
        raise InputError(f"Mode {mode} takes one file; {len(paths)} were given")
    if mode in ("image", "video", "images"):
        for path in paths:
            _check_kind(path, "video" if mode == "video" else "image", folders=mode == "images")
    if mode == "colmap":
        _check_colmap(paths)
    if extensions:
        wanted = {f".{e.strip().lstrip('.').lower()}" for e in extensions.split(",") if e.strip()}
        paths = [file for path in paths for file in _with_endings(path, wanted)]
    return paths


def _check_kind(path: Path, kind: str, folders: bool) -> None:
    if path.is_dir():
        if not folders:
            raise InputError(f"{path.name} is a folder; mode {kind} takes one file")
        return
    found = sniff(path)
    if found.kind != kind and not (folders and found.kind == "archive"):
        raise InputError(f"{path.name} is {describe(found)}, not {'a video' if kind == 'video' else 'an image'}")


def _check_colmap(paths: list[Path]) -> None:
    if len(paths) != 1:
        raise InputError("Mode colmap takes one folder with images/ and sparse/ in it")
    path = paths[0]
    if path.is_dir() and not ((path / "images").is_dir() and (path / "sparse").is_dir()):
        raise InputError(f"{path.name} is no COLMAP folder: it needs images/ and sparse/ in it")


def _with_endings(path: Path, endings: set[str]) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted((p for p in path.iterdir() if p.is_file() and p.suffix.lower() in endings), key=counted)
    if not found:
        raise InputError(f"{path.name} holds no files ending in {', '.join(sorted(endings))}")
    return found


class SceneWords(Words):
    """Modes before the files, the original's flags and servers."""

    flags = _FLAGS
    aliases = ALIASES

    def about_inputs(self, pipeline: Pipeline) -> str:
        return f"[{'|'.join(MODES)}] then {wanted(pipeline)}; or {', '.join(SERVERS)} alone: a server."

    def about(self, pipeline: Pipeline) -> str:
        return f"{super().about(pipeline)} Modes: {', '.join((*MODES, *SERVERS))}."

    def adapt(self, given: dict[str, Any], formats: frozenset[str]) -> None:
        given["da3_exports"] = given.get("da3_exports") or ",".join(asked_exports(formats)) or None

    def instead(self, pipeline: Pipeline, given: Mapping[str, Any]) -> bool:
        words = list(given["inputs"])
        if len(words) != 1 or words[0] not in SERVERS:
            return False
        from studio.cli.scene_serve import serve

        serve(words[0], given)
        return True

    def inputs(self, pipeline: Pipeline, given: Mapping[str, Any]) -> Inputs:
        found = assign(pipeline, by_mode(list(given["inputs"]), given["image_extensions"]))
        if given["auto_cleanup"]:
            empty(given["export_dir"])
        return found

    def server(self, given: Mapping[str, Any]) -> str | None:
        return server_of(given)

    def environment(self, given: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, str]:
        return {**env, **({"DA3_MODEL_DIR": given["model_dir"]} if given.get("model_dir") else {})}


WORDS = SceneWords()
