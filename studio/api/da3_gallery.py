"""The gallery of finished scenes: ``<folder>/<group>/<scene>/`` with scene.glb and scene.jpg, as a page and as JSON."""

from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException

from models.runtime.settings import Settings
from studio.privacy import Caller

PAGE = Path(__file__).with_name("gallery.html")
_PICTURES = {".png", ".jpg", ".jpeg", ".webp", ".bmp"}


def gallery_root(settings: Settings) -> Path | None:
    """The folder that DA3_GALLERY_DIR names, None where there is none."""
    named = settings.extra.get("DA3_GALLERY_DIR", "")
    folder = Path(named).expanduser().resolve() if named else None
    return folder if folder is not None and folder.is_dir() else None


def groups_of(root: Path) -> list[Path]:
    """The groups of a gallery in order of name."""
    return sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))


def scenes_of(group: Path) -> list[Path]:
    """The complete scenes of a group."""
    return [p for p in groups_of(group) if (p / "scene.glb").is_file() and (p / "scene.jpg").is_file()]


def add_gallery(router: APIRouter, settings: Settings, caller: Callable[..., Caller], base: str) -> None:
    """Adds the gallery's routes below ``base``; an empty one is a server of its own."""

    def root() -> Path:
        found = gallery_root(settings)
        if found is None:
            raise HTTPException(404, "There is no gallery: DA3_GALLERY_DIR names no folder")
        return found

    def page(who: Annotated[Caller, Depends(caller)]) -> HTMLResponse:
        root()
        return HTMLResponse(PAGE.read_text(encoding="utf-8").replace("{{base}}", escape(base, quote=True)))

    @router.get(f"{base}/manifest.json", tags=["depth anything 3"], summary="Groups of scenes")
    def groups(who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
        return {"groups": [{"id": p.name, "title": p.name} for p in groups_of(root())]}

    @router.get(f"{base}/manifest/{{group}}.json", tags=["depth anything 3"], summary="Scenes of a group")
    def scenes(group: str, who: Annotated[Caller, Depends(caller)]) -> dict[str, Any]:
        folder = root() / _part(group)
        if not folder.is_dir():
            raise HTTPException(404, f"No group {group}")
        return {"group": group, "items": [_item(base, group, p) for p in scenes_of(folder)]}

    for address in {base or "/", f"{base}/"}:
        shown = address == (base or "/")
        router.get(address, tags=["depth anything 3"], summary="The gallery as a page", include_in_schema=shown)(page)

    @router.get(f"{base}/{{path:path}}", tags=["depth anything 3"], summary="A file of a scene")
    def file(path: str, who: Annotated[Caller, Depends(caller)]) -> FileResponse:
        folder = root()
        found = folder.joinpath(*(_part(p) for p in path.split("/"))).resolve()
        if not found.is_relative_to(folder):
            raise HTTPException(403, "Outside the gallery")
        if not found.is_file():
            raise HTTPException(404, f"No file {path}")
        headers = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox"}
        return FileResponse(found, headers=headers)


def _part(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise HTTPException(400, "Not a name of the gallery")
    return name


def _item(base: str, group: str, scene: Path) -> dict[str, Any]:
    own = f"{base}/{group}/{scene.name}"
    shown = scene / "depth_vis"
    pictures = sorted(p for p in shown.iterdir() if p.suffix.lower() in _PICTURES) if shown.is_dir() else []
    return {
        "id": scene.name,
        "title": scene.name,
        "model": f"{own}/scene.glb",
        "thumbnail": f"{own}/scene.jpg",
        "depth_images": [f"{own}/depth_vis/{p.name}" for p in pictures],
    }
