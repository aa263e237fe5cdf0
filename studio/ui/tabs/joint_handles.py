"""A drawing with a handle on each of its joints, to be dragged: what the page shows and what comes back from it."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
from PIL import Image

from models.runtime.errors import InputError
from pipelines.character.figure import JOINTS, PARENT_OF, Figure, from_named, named
from studio.ui import components as html

SIDE = 900  # pixels of the longer side of the picture that is sent to the page
TOGETHER = ("root", "hip")  # one place, one handle
_HERE = Path(__file__)


def joint_handles(elem_id: str) -> gr.HTML:
    """The component, hidden. Its value is ``shown``'s; ``input`` events carry what ``dragged`` reads."""
    return html.block(
        None,
        html_template='<svg class="joint-stage" role="group" aria-label="Joints of the figure"></svg>',
        css_template=_HERE.with_suffix(".css").read_text(encoding="utf-8"),
        js_on_load=_HERE.with_suffix(".js").read_text(encoding="utf-8"),
        visible=False,
        elem_id=elem_id,
    )


def shown(figure: Figure) -> dict[str, Any]:
    """What the page needs: the picture as data URL, its size and the joints in pixels of the figure."""
    height, width = figure.rgba.shape[:2]
    file = io.BytesIO()
    Image.fromarray(figure.scaled(min(1.0, SIDE / max(height, width))).rgba).save(file, "WEBP", quality=88)
    return {
        "picture": "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii"),
        "width": width,
        "height": height,
        "joints": {name: [x + 0.5, y + 0.5] for name, (x, y) in named(figure.joints).items()},
        "parents": PARENT_OF,
        "handles": [name for name in JOINTS if name != TOGETHER[1]],
        "together": TOGETHER,
    }


def dragged(figure: Figure, joints: Any) -> Figure:
    """The figure with the joints' places {name: [x, y]} that came from the page.

    Raises:
        InputError: what came is not places of all joints.
    """
    try:
        places = {str(name): (float(x) - 0.5, float(y) - 0.5) for name, (x, y) in dict(joints).items()}
    except (TypeError, ValueError) as error:
        raise InputError("The places of the joints did not arrive; find the joints again") from error
    found = from_named(places)
    height, width = figure.rgba.shape[:2]
    return replace(figure, joints=np.clip(found, -0.5, np.array([width, height]) - 0.5))
