"""One description of a form, made from an options model: browser controls, flags, REST fields and tool schemas use it.

Nested option groups are flattened: field ``matching.window`` of a model becomes the form name ``matching_window``.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from models.runtime.errors import InputError
from pipelines.base import Options

FieldKind = Literal["bool", "int", "float", "choice", "choices", "text", "numbers"]


@dataclass(frozen=True)
class FieldSpec:
    """One field of a form.

    ``name`` is the flat form name, ``path`` the way to the field through nested groups. ``kind`` ``choices`` means any
    number of ``choices``; ``numbers`` a list of numbers. ``optional`` fields accept "nothing" (None) as a value.
    ``extra`` is whatever else the model says about the field, for example ``{"widget": "color"}``.
    """

    name: str
    path: tuple[str, ...]
    kind: FieldKind
    default: Any
    description: str
    title: str
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    optional: bool = False
    advanced: bool = False
    extra: tuple[tuple[str, Any], ...] = ()

    @property
    def flag(self) -> str:
        """The command-line spelling without the leading dashes."""
        return self.name.replace("_", "-")

    @property
    def group(self) -> str:
        """The nested group the field belongs to, or an empty string."""
        return ".".join(self.path[:-1])


def specs(model: type[Options]) -> list[FieldSpec]:
    """The flat form of an options model, in the order of its fields.

    Raises:
        TypeError: a field has a type no form control exists for, or two fields share a flat name.
    """
    found = list(_walk(model, (), None))
    names = [spec.name for spec in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise TypeError(f"{model.__name__}: two fields share the form name {', '.join(sorted(twice))}")
    return found


def build(model: type[Options], flat: Mapping[str, Any]) -> Any:
    """Options from flat form values; what is missing, empty or None keeps its default.

    Raises:
        InputError: a name is unknown, or a value is out of bounds; the message names the field.
    """
    known = {spec.name: spec for spec in specs(model)}
    tree: dict[str, Any] = {}
    for spec in known.values():
        _put(tree, spec.path, spec.default)
    for given, value in flat.items():
        name = given.replace("-", "_").replace(".", "_")
        spec = known.get(name)
        if spec is None:
            raise InputError(_unknown(given, list(known)))
        if value is None and not spec.optional:
            continue
        if isinstance(value, str) and not value.strip() and spec.kind != "text":
            continue
        _put(tree, spec.path, _read(spec, value))
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        raise InputError(explain(error)) from error


def flatten(options: Options) -> dict[str, Any]:
    """The flat form values of options: ``build(type(options), flatten(options)) == options``."""
    values = {}
    for spec in specs(type(options)):
        value: Any = options
        for part in spec.path:
            value = getattr(value, part)
        values[spec.name] = value
    return values


def _put(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value


def explain(error: ValidationError) -> str:
    """One line for a person: which option is wrong and why."""
    parts = []
    for item in error.errors(include_url=False, include_context=False):
        where = "_".join(str(p) for p in item["loc"]) or "options"
        text = item["msg"].removeprefix("Value error, ")
        parts.append(f"{where}: {text[:1].lower()}{text[1:]} (given: {item.get('input')!r:.60})")
    return "Option " + "; ".join(parts)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
    return f"Unknown option {name!r}" + (f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}")


def _walk(model: type[BaseModel], path: tuple[str, ...], inherited: bool | None) -> list[FieldSpec]:
    found: list[FieldSpec] = []
    for name, info in model.model_fields.items():
        extra = dict(info.json_schema_extra) if isinstance(info.json_schema_extra, dict) else {}
        advanced = bool(extra.pop("advanced", bool(path) if inherited is None else inherited))
        annotation, optional = _without_none(info.annotation)
        here = (*path, name)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            default = info.get_default(call_default_factory=True)
            found += [_rebase(spec, default) for spec in _walk(annotation, here, advanced or None)]
            continue
        found.append(_field(here, annotation, info, optional, advanced, extra, f"{model.__name__}.{name}"))
    return found


def _rebase(spec: FieldSpec, group_default: Any) -> FieldSpec:
    """A group's own default value wins over the defaults of the fields inside it."""
    if group_default is None:
        return spec
    value = getattr(group_default, spec.path[-1], spec.default)
    return FieldSpec(**{**spec.__dict__, "default": value})


def _field(
    path: tuple[str, ...],
    annotation: Any,
    info: FieldInfo,
    optional: bool,
    advanced: bool,
    extra: dict[str, Any],
    where: str,
) -> FieldSpec:
    kind, choices = _kind(annotation, where)
    low, high, step = _bounds(info)
    return FieldSpec(
        name="_".join(path),
        path=path,
        kind=kind,
        default=info.get_default(call_default_factory=True),
        description=info.description or "",
        title=info.title or path[-1].replace("_", " ").capitalize(),
        choices=choices,
        minimum=low,
        maximum=high,
        step=extra.pop("step", step if step is not None else (1 if kind == "int" else None)),
        optional=optional,
        advanced=advanced,
        extra=tuple(sorted(extra.items())),
    )


def _without_none(annotation: Any) -> tuple[Any, bool]:
    if get_origin(annotation) is Annotated:
        return _without_none(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [a for a in get_args(annotation) if a is not type(None)]
        if len(rest) == 1:
            return _without_none(rest[0])[0], len(rest) < len(get_args(annotation))
    return annotation, False


def _kind(annotation: Any, where: str) -> tuple[FieldKind, tuple[Any, ...]]:
    plain: dict[Any, FieldKind] = {bool: "bool", int: "int", float: "float", str: "text"}
    if annotation in plain:
        return plain[annotation], ()
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return "choice", args
    if origin in (tuple, list, frozenset):
        inner = {_without_none(a)[0] for a in args if a is not Ellipsis}
        if inner <= {int, float}:
            return "numbers", ()
        if len(inner) == 1:
            item = inner.pop()
            if get_origin(item) is Literal:
                return "choices", get_args(item)
    raise TypeError(f"{where}: no form control for {annotation}")


def _bounds(info: FieldInfo) -> tuple[float | None, float | None, float | None]:
    low = high = step = None
    for rule in info.metadata:
        if isinstance(rule, Ge):
            low = rule.ge
        elif isinstance(rule, Gt):
            low = rule.gt
        elif isinstance(rule, Le):
            high = rule.le
        elif isinstance(rule, Lt):
            high = rule.lt
        elif isinstance(rule, MultipleOf):
            step = rule.multiple_of
    return low, high, step


def _read(spec: FieldSpec, value: Any) -> Any:
    """Text from forms and command lines as what the field holds; other values pass unchanged."""
    if spec.kind == "choice" and isinstance(value, str):
        return next((c for c in spec.choices if str(c) == value), value)
    if spec.kind in ("choices", "numbers"):
        items = [p.strip() for p in value.split(",") if p.strip()] if isinstance(value, str) else list(value)
        if spec.kind == "numbers":
            return tuple(items)
        return tuple(next((c for c in spec.choices if str(c) == str(i)), i) for i in items)
    if spec.kind == "int" and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
