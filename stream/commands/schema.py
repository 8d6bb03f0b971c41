"""`inbeam schema`: the JSON schema of the configuration, so that an editor completes and checks it."""

import argparse
import json
import sys
from typing import Any

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError

from stream import registry
from stream.config import RunOptions


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(options: argparse.Namespace) -> int:
    """Print the schema; configs/inbeam.schema.json is its output."""
    print(json.dumps(schema(), indent=1))
    return 0


def _without_nan(node: Any) -> Any:
    """JSON has no NaN: a default that is NaN is left out."""
    if isinstance(node, dict):
        return {key: _without_nan(value) for key, value in node.items() if value == value}
    return [_without_nan(value) for value in node] if isinstance(node, list) else node


def schema() -> dict[str, Any]:
    """The schema of a whole configuration file: of ours, and of every plug-in that is installed."""
    definitions: dict[str, Any] = {}

    def reference(key: str, model: Any) -> dict[str, str]:
        inner = _without_nan(TypeAdapter(model).json_schema(ref_template=f"#/$defs/{key}.{{model}}"))
        definitions.update({f"{key}.{name}": part for name, part in inner.pop("$defs", {}).items()})
        definitions[key] = inner
        return {"$ref": f"#/$defs/{key}"}

    def section(name: registry.Section) -> dict[str, Any]:
        found = []
        for kind in dict.fromkeys(registry.names(name)):
            try:
                found.append(reference(f"{name}.{kind}", registry.model(name, kind)))
            except (LookupError, PydanticUserError) as error:
                if kind in registry.BUILT_IN[name]:
                    raise
                print(f"inbeam schema: {name} {kind} is left out: {error}", file=sys.stderr)
        return {"oneOf": found}

    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "inbeam configuration",
        "type": "object",
        "additionalProperties": False,
        "required": ["stream", "sinks"],
        "properties": {
            "stream": section("stream"),
            "processors": {"type": "array", "items": section("processors")},
            "sinks": {"type": "array", "items": section("sinks"), "minItems": 1},
            "run": reference("run", RunOptions),
        },
        "$defs": definitions,
    }
