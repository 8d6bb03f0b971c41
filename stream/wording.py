"""What is wrong with options, in the user's words: pydantic says what its types are called, and not what is there."""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

LONGEST = 60
"""Characters shown of what is there."""
WANTED: Mapping[str, str] = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "path_type": "a file name",
    "tuple_type": "a list, such as [a, b]",
    "list_type": "a list, such as [a, b]",
    "dict_type": "a mapping, such as {name: value}",
    "mapping_type": "a mapping, such as {name: value}",
    "model_type": "a mapping, such as {name: value}",
    "model_attributes_type": "a mapping, such as {name: value}",
    "literal_error": "{expected}",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
}
"""pydantic's kind of error -> what the option must be."""


def problems(error: ValidationError, given: Any, model: Any) -> list[tuple[str, str]]:
    """(path within `given`, what is wrong and what to do) for every option that is wrong, each once.

    model: what `given` should be, a model of options or a type that is made of some.
    Where several kinds of value are allowed, pydantic has an error for each of them, under a path with the names of its
    types; here they are one.
    """
    wanted: dict[str, list[str]] = {}
    other: dict[str, str] = {}
    there: dict[str, Any] = {}
    for each in error.errors():
        kind, context = each["type"], _plain(each.get("ctx", {}))
        path = _place(each["loc"], given, missing=kind == "missing")
        there[path] = each["input"]
        if kind == "missing":
            other[path] = "is missing: give it"
        elif kind == "union_tag_not_found":
            other[path] = f"has no {context['discriminator']}: give it"
        elif kind == "union_tag_invalid":
            other[path] = (
                f"{context['discriminator']} must be one of {context['expected_tags']}, not {context['tag']!r}"
            )
        elif kind == "extra_forbidden":
            other[path] = _unknown(str(each["loc"][-1]), each["loc"][:-1], model)
        elif kind in WANTED:
            words = WANTED[kind].format(**context)
            if words not in wanted.setdefault(path, []):
                wanted[path].append(words)
        else:
            other[path] = each["msg"].removeprefix("Value error, ")
    found = {path: f"must be {' or '.join(words)}, not {shown(there[path])}" for path, words in wanted.items()}
    found |= other
    # of a list whose second entry is wrong it is not to be said that it should have been no list
    return [(path, text) for path, text in found.items() if not any(_within(each, path) for each in found)]


def _plain(context: Mapping[str, Any]) -> dict[str, Any]:
    return {name: f"{value:g}" if isinstance(value, float) else value for name, value in context.items()}


def shown(value: Any) -> str:
    """A value as the YAML has it, shortened."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def _within(inner: str, outer: str) -> bool:
    return inner != outer and inner.startswith(outer) and inner[len(outer)] in ".["


def _place(loc: Sequence[int | str], given: Any, *, missing: bool) -> str:
    """The path as the user wrote it: without the names of types that pydantic puts in between."""
    path, node = "", given
    for number, key in enumerate(loc):
        last = missing and number == len(loc) - 1
        if isinstance(node, Mapping) and (key in node or last):
            path, node = f"{path}.{key}", node.get(key)
        elif isinstance(node, list | tuple) and isinstance(key, int) and (key < len(node) or last):
            path, node = f"{path}[{key}]", node[key] if key < len(node) else None
    return path


def _unknown(key: str, loc: Sequence[int | str], model: Any) -> str:
    known = sorted({name for each in _models(loc, model) for name in each.model_fields})
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"unknown option; known: {', '.join(known)}{hint}"


def _described(loc: Sequence[int | str], model: Any) -> str:
    found = [each.model_fields[str(loc[-1])].description for each in _models(loc[:-1], model)]
    return "; ".join(text for text in found if text)


def _models(loc: Sequence[int | str], model: Any) -> list[type[BaseModel]]:
    """The model of options at a place, or those that it may be."""
    here = list(_named_in(model))
    for key in loc:
        inner = [
            found
            for each in here
            if key in each.model_fields
            for found in _named_in(each.model_fields[str(key)].annotation)
        ]
        chosen = [each for each in here if key == each.__name__ or key in _kinds(each)]
        here = inner or chosen or here
    return here


def _named_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _named_in(part)


def _kinds(model: type[BaseModel]) -> tuple[Any, ...]:
    return tuple(
        value
        for name in ("kind", "type")
        if name in model.model_fields
        for value in get_args(model.model_fields[name].annotation)
    )
