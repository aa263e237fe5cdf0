"""The thumbnail of a run, for the Gallery."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from models.runtime.settings import Limits
from pipelines.base import Output

POSTER = "poster.jpg"
_SIDE = 512


def ensure_poster(folder: Path, outputs: tuple[Output, ...], limits: Limits) -> tuple[Output, ...]:
    """The outputs with a poster among them: the pipeline's own, else one made from its first image."""
    if any(o.role == "poster" for o in outputs):
        return outputs
    source = next((folder / o.path for o in outputs if o.kind == "image" and (folder / o.path).is_file()), None)
    if source is None:
        return outputs
    with Image.open(source) as image:
        if image.width * image.height > limits.image_pixels:
            return outputs
        small = image.convert("RGB")
        small.thumbnail((_SIDE, _SIDE))
        small.save(folder / POSTER, quality=85)
    return (*outputs, Output("poster", POSTER, "image", "Thumbnail"))
