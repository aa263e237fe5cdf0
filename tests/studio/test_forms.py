"""Options models as flat forms."""

from __future__ import annotations

import pytest
from pydantic import Field

from models.runtime.errors import InputError
from pipelines.base import Options
from studio import forms
from tests.studio.fake import FakeOptions


def spec(name: str) -> forms.FieldSpec:
    return next(s for s in forms.specs(FakeOptions) if s.name == name)


def test_specs_tell_kind_bounds_and_group() -> None:
    steps = spec("steps")
    assert (steps.kind, steps.minimum, steps.maximum, steps.step, steps.default) == ("int", 1, 1000, 1, 3)
    assert spec("engine").choices == ("auto", "plain", "fancy")
    assert spec("budget").optional and spec("budget").kind == "int"
    window = spec("tuning_window")
    assert window.advanced and window.group == "tuning" and window.step == 2 and window.flag == "tuning-window"
    assert not steps.advanced


def test_build_reads_text_and_keeps_defaults() -> None:
    options = forms.build(
        FakeOptions, {"steps": "7", "tuning-sharp": "false", "tuning.window": "8", "pause": "", "budget": None}
    )
    assert options == FakeOptions(steps=7, tuning={"window": 8, "sharp": False})
    assert forms.build(FakeOptions, forms.flatten(options)) == options


@pytest.mark.parametrize(
    ("flat", "words"),
    [
        ({"stepz": 1}, "did you mean 'steps'"),
        ({"steps": 0}, "steps"),
        ({"engine": "other"}, "engine"),
        ({"tuning_window": 99}, "tuning_window"),
        ({"steps": "many"}, "steps"),
        ({"note": "x" * 50}, "note"),
    ],
)
def test_build_refuses_by_name(flat: dict, words: str) -> None:
    with pytest.raises(InputError) as caught:
        forms.build(FakeOptions, flat)
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_two_fields_may_not_share_a_name() -> None:
    class Clash(FakeOptions):
        tuning_window: int = 3

    with pytest.raises(TypeError, match="tuning_window"):
        forms.specs(Clash)


def test_lists() -> None:
    class Lists(Options):
        formats: tuple[str, ...] = Field(("a",), description="x")

    with pytest.raises(TypeError):
        forms.specs(Lists)

    class Numbers(Options):
        span: tuple[float, float] = Field((0.0, 1.0), description="x")

    assert forms.build(Numbers, {"span": "0.25, 2"}).span == (0.25, 2.0)
