"""Bodies that can dance: the studio's own character, a user's GLB, the mannequin and SMPL-X."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from models.bodies import mannequin
from models.bodies.smplx import SmplxData
from models.runtime.errors import InputError
from models.runtime.settings import Limits
from pipelines.base import RunContext
from pipelines.character.inputs import CharacterSheet
from pipelines.export.glb_read import read_character
from pipelines.export.motion import Motion
from pipelines.render.skinned import SkinnedBody, a_pose, body_of

SMPLX_WEIGHTS = "smplx-neutral"
PIP = Path(__file__).resolve().parents[2] / "assets" / "character" / "pip.glb"


def character_body(sheet: CharacterSheet, limits: Limits) -> SkinnedBody:
    """The 3D character of a sheet, or the studio's own. Raises InputError for a model that cannot be moved."""
    return a_pose(read_character(sheet.model, limits)) if sheet.model is not None else pip()


@lru_cache(maxsize=1)
def pip() -> SkinnedBody:
    """The studio's own character."""
    return a_pose(read_character(PIP, Limits()))


def person_body(motion: Motion, smplx: Path | None) -> SkinnedBody:
    """The mannequin, or SMPL-X from its file, in the shape of the motion's person; arms lowered."""
    if smplx is not None:
        return a_pose(body_of(SmplxData.load(smplx), motion.betas))
    made = mannequin.load()
    return a_pose(body_of(made.data, motion.betas, made.colors))


def driving_body(sheet: CharacterSheet, motion: Motion, wanted: str, ctx: RunContext) -> SkinnedBody:
    """The body whose surface tells a pose: ``auto``, ``character``, ``mannequin`` or ``smplx``.

    Raises:
        InputError: the character is wanted, but there are only drawings of it.
        WeightsMissing: SMPL-X is wanted and not installed.
    """
    has_body = sheet.model is not None or sheet.built_in
    if wanted == "character" and not has_body:
        raise InputError("The driving body is to be the character itself, but only drawings were given")
    if wanted in ("auto", "character") and has_body:
        return character_body(sheet, ctx.settings.limits)
    if wanted == "smplx" or (wanted == "auto" and ctx.weights.installed(SMPLX_WEIGHTS)):
        return person_body(motion, ctx.weights.path(SMPLX_WEIGHTS))
    return person_body(motion, None)
