"""Pip's character sheet with its UDPs, and a picture of each move: `python -m examples.pip [--out DIR]`.

The sheet is what CoNR's users draw by hand; the UDPs beside it say where every pixel lies on the body.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pipelines.character.bodies import pip
from pipelines.character.made_sheet import made_sheet
from pipelines.character.moving import MOVES
from pipelines.character.options import ViewOptions
from pipelines.character.stage import Stage
from pipelines.export.motion import read_motion
from pipelines.export.npz import write_npz
from pipelines.media.image import write_image
from pipelines.render.skinned import picture
from pipelines.render.udp import UdpConvention

NAMES = ("front", "back", "left", "right")
VIEWS = (0.0, 180.0, 90.0, -90.0)
SIDE = 512
CARD = (384, 256)  # of the shape in which cards show pictures
PAPER = (244, 241, 234)
SHOTS = {"dance": 0.30, "wave": 0.45}  # share of the clip that its card shows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "character")
    folder = parser.parse_args().out
    body = pip()
    values, _ = UdpConvention().values(body.rest)
    for name, (rgba, udp) in zip(NAMES, made_sheet(body, values, VIEWS, SIDE), strict=True):
        write_image(folder / "pip" / f"{name}.png", rgba)
        write_npz(folder / "pip" / f"{name}_udp.npz", {"i": udp.astype(np.float16)}, level=9)
    for move, share in SHOTS.items():
        stage = Stage(body, read_motion(MOVES / f"{move}.npz"), ViewOptions(), CARD)
        frame = round(share * len(stage))
        rgba = picture(body, stage.vertices(frame), stage.camera(frame))
        alpha = rgba[..., 3:] / 255
        write_image(
            folder / f"{move}.jpg", np.rint(rgba[..., :3] * alpha + np.array(PAPER) * (1 - alpha)).astype(np.uint8), 88
        )
    for path in sorted(folder.rglob("*.*")):
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
