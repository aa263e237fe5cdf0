"""Controls for an options model, made from its form: the basic ones in sight, the advanced ones folded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import gradio as gr
from gradio.components import Component

from pipelines.base import Engine, Options
from studio import forms
from studio.forms import FieldSpec
from studio.ui import components as html

AUTO = "auto"
_SLIDER_SPAN = 5000


@dataclass(frozen=True)
class OptionsPanel:
    """The controls of one options model, in the order of ``specs``."""

    model: type[Options]
    specs: tuple[FieldSpec, ...]
    controls: tuple[Component, ...]

    def build(self, values: Sequence[Any], extra: Mapping[str, Any] | None = None) -> Any:
        """Options from the controls' values. Raises InputError naming what is wrong."""
        given = {spec.name: value for spec, value in zip(self.specs, values, strict=True)}
        return forms.build(self.model, {**given, **(extra or {})})

    def fill(self, flat: Mapping[str, Any]) -> dict[Component, Any]:
        """Updates that set the controls to flat option values; what is not named goes back to its default."""
        return {
            control: gr.update(value=_shown(spec, flat.get(spec.name, spec.default)))
            for spec, control in zip(self.specs, self.controls, strict=True)
        }

    def control(self, name: str) -> Component:
        return next(c for s, c in zip(self.specs, self.controls, strict=True) if s.name == name)


def options_panel(
    model: type[Options], skip: Collection[str] = (), basic: Collection[str] = (), prefix: str = ""
) -> OptionsPanel:
    """Draws the controls of ``model`` here.

    Fields named in ``basic`` and those the model does not call advanced stay in sight; the rest comes in one folded
    section, under the titles of its groups. ``prefix`` gives every control the element id ``<prefix>-<name>``.
    """
    chosen = [spec for spec in forms.specs(model) if spec.name not in skip]
    drawn: dict[str, Component] = {}
    for spec in chosen:
        if not spec.advanced or spec.name in basic:
            drawn[spec.name] = control(spec, prefix)
    folded = [spec for spec in chosen if spec.name not in drawn]
    if folded:
        with gr.Accordion("Advanced options", open=False, elem_classes="ls-advanced"):
            for group, members in groupby(folded, key=lambda spec: spec.path[0] if len(spec.path) > 1 else ""):
                if group:
                    info = model.model_fields[group]
                    html.block(html.group_line(info.title or group, info.description or ""))
                with gr.Row(elem_classes="ls-controls"):
                    for spec in members:
                        drawn[spec.name] = control(spec, prefix, min_width=170)
    return OptionsPanel(model, tuple(chosen), tuple(drawn[s.name] for s in chosen))


def engine_choice(engines: Sequence[Engine], **place: Any) -> gr.Dropdown:
    """Automatic, or one engine by name."""
    choices = [("Automatic (best installed)", AUTO), *((engine.title, engine.name) for engine in engines)]
    return gr.Dropdown(choices, value=AUTO, label="Engine", interactive=True, **place)


def control(spec: FieldSpec, prefix: str = "", **place: Any) -> Component:
    """The control that fits one field."""
    words: dict[str, Any] = {
        "label": spec.title,
        "info": spec.description or None,
        "interactive": True,
        **({"elem_id": f"{prefix}-{spec.name}"} if prefix else {}),
        **place,
    }
    value = _shown(spec, spec.default)
    if spec.kind == "bool":
        return gr.Checkbox(value=value, **words)
    if spec.kind == "choice":
        choices = [(str(c).replace("_", " "), c) for c in spec.choices]
        if len(choices) <= 3:
            return gr.Radio(choices, value=value, **words)
        return gr.Dropdown(choices, value=value, **words)
    if spec.kind == "choices":
        return gr.CheckboxGroup([(str(c).replace("_", " "), c) for c in spec.choices], value=value, **words)
    if spec.minimum is not None and spec.maximum is not None and _slides(spec):
        step = spec.step or _nice_step(spec.maximum - spec.minimum)
        return gr.Slider(spec.minimum, spec.maximum, value=value, step=step, buttons=[], **words)
    if spec.kind in ("int", "float"):
        return gr.Number(
            value=value,
            minimum=spec.minimum,
            maximum=spec.maximum,
            precision=0 if spec.kind == "int" else None,
            placeholder="automatic" if spec.optional else None,
            **words,
        )
    if dict(spec.extra).get("widget") == "color":
        return gr.ColorPicker(value=value, **words)
    return gr.Textbox(value=value, max_lines=1, placeholder="automatic" if spec.optional else None, **words)


def _shown(spec: FieldSpec, value: Any) -> Any:
    """Values as the controls hold them: lists of numbers are written with commas."""
    if spec.kind == "numbers" and value is not None:
        return ", ".join(f"{number:g}" for number in value)
    if spec.kind == "choices":
        return list(value or ())
    return value


def _slides(spec: FieldSpec) -> bool:
    """Whether a slider can hit the values of a bounded number; over a huge range it cannot, and a field is better."""
    return spec.kind in ("int", "float") and not spec.optional and spec.maximum - spec.minimum <= _SLIDER_SPAN


def _nice_step(span: float) -> float:
    for step in (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0):
        if span / step <= 200:
            return step
    return max(1.0, round(span / 200))
