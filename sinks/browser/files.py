"""The files that a run writes, as its own configuration and sinks say."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stream import registry


def written(document: Mapping[str, Any] | None, placed: Mapping[str, Path] | None) -> list[dict[str, str]]:
    """`type` and absolute `path` of the file that each sink has the running, or the last, scan in.

    placed: see `stream.context.Context`.
    """
    found = []
    for entry in (document or {}).get("sinks") or ():
        kind = str(entry.get("type"))
        try:
            field = registry.model("sinks", kind).model_fields.get("path")
        except LookupError:
            continue
        path = (placed or {}).get(str(entry.get("path", field.default if field is not None else "")))
        if path is not None:
            found.append({"type": kind, "path": str(path.absolute())})
    return found
