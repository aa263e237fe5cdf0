"""A motion as UDP frames, the way CoNR's users make them by hand: one ``.npz`` with the array ``i`` per frame."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Generator
from pathlib import Path

import numpy as np

from pipelines.base import Event, Output, Progress, RunContext
from pipelines.character.bodies import driving_body
from pipelines.character.options import CharacterOptions
from pipelines.character.stage import Stage
from pipelines.character.udp_files import FIELD
from pipelines.character.work import CharacterWork
from pipelines.media.atomic import replacing
from pipelines.render.udp import UdpConvention, udp_frame

FILE = "udp.zip"
REPORT_FRAMES = 5


def write_udps(work: CharacterWork, options: CharacterOptions, ctx: RunContext) -> Generator[Event, None, Output]:
    """Writes the frames (half precision, which is enough) into a ZIP in the run's folder."""
    stage = Stage(driving_body(work.sheet, work.motion, options.conr.driver, ctx), work.motion, options.view, work.size)
    values, _ = UdpConvention().values(stage.body.rest)
    with replacing(Path(ctx.out_dir / FILE)) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as pack:
        for index in range(len(stage)):
            udp = udp_frame(stage.body, stage.vertices(index), stage.camera(index), values)
            frame = io.BytesIO()
            np.savez_compressed(frame, **{FIELD: udp.astype(np.float16)})
            pack.writestr(f"{index:05d}.npz", frame.getvalue())
            if index % REPORT_FRAMES == 0:
                yield Progress("udp", index + 1, len(stage))
            ctx.check()
    return Output("udp", FILE, "archive", "Motion as UDP frames (ZIP)")
