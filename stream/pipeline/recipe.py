"""What decides on the values of a product, as one short text: if it is the same, so are they.

The options of a processor and of all before it in the chain, what is in the files that they name, and which version of
whose code they are for; not the options that are marked as changing no value (`stream.registry.SAME_RESULT`).
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import xxhash

from stream import registry
from stream.events import Change
from stream.registry import Options

BLOCK_BYTES = 1 << 20


def recipes(processors: Sequence[Options], changes: Iterable[Change] = ()) -> list[str]:
    """One for each processor, and a last one, for what is made of the results of all.

    changes: of options, that every scan of the run repeats.
    """
    found = xxhash.xxh3_128()
    for change in changes:
        told = {name: value for name, value in asdict(change).items() if name in ("frame", "path", "value")}
        found.update(_text(told))
    made = []
    for options in processors:
        found.update(_text(_ingredients(options)))
        made.append(found.hexdigest())
    return [*made, found.hexdigest()]


def _ingredients(options: Options) -> Any:
    kind = options.model_dump()["type"]
    left_out = {name for mark in ("x-same-result", "x-reads-file") for name in registry.marked(type(options), mark)}
    return [
        kind,
        registry.origin("processors", kind),
        options.model_dump(mode="json", exclude=left_out),
        [[option, _content(path), part] for option, path, part in registry.named_parts(options)],
    ]


def _content(path: str) -> str:
    found = xxhash.xxh3_128()
    try:
        with open(path, "rb") as file:
            while block := file.read(BLOCK_BYTES):
                found.update(block)
    except OSError as error:
        return f"{path}: {error.strerror}"
    return found.hexdigest()


def _text(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()
