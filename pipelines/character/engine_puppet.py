"""Engine ``puppet``: one drawing of a whole figure moves like a paper puppet; needs no checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from models.runtime.errors import InputError
from pipelines.base import RunContext
from pipelines.character.drawing import read_figure, segmenter
from pipelines.character.options import CharacterOptions
from pipelines.character.puppet import Puppet
from pipelines.character.work import CharacterWork


class PuppetEngine:
    """The first drawing of the sheet through the motion.

    Raises:
        InputError: no drawing, no figure in it, or no skeleton's motion.
    """

    def __init__(self, work: CharacterWork, options: CharacterOptions, ctx: RunContext) -> None:
        sheet = work.sheet
        if not sheet.drawings:
            raise InputError("The paper puppet needs a drawing; a 3D character moves with the engine udp")
        if work.motion is None:
            raise InputError("The paper puppet moves by a skeleton; give a BVH file, a Body result or a video")
        limits = ctx.settings.limits
        figure, self.notes = read_figure(
            sheet.drawings[0], sheet.mask, sheet.rig, limits, segmenter(ctx.cache, ctx.weights)
        )
        if len(sheet.drawings) > 1:
            self.notes.append(f"The puppet is made of {sheet.drawings[0].name}; the other drawings were not used")
        self.size, self.weights = work.size, ()
        still = options.range.still_place
        self._puppet = Puppet(figure, work.motion, work.size, options.puppet, options.view, still)

    def frames(self) -> Iterator[np.ndarray]:
        """Chunks (N, H, W, 4) uint8 of straight RGBA."""
        return self._puppet.frames()
