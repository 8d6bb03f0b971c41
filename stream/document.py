"""YAML as it is meant: every key once, and not nested without end."""

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from stream.errors import ConfigError


class _Loader(yaml.SafeLoader):
    """Plain values only. `twice`: what is wrong with keys, one text each; YAML would keep the last and say nothing."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.twice: list[str] = []

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        first: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                continue
            before = first.setdefault((key.tag, key.value), line)
            if before != line or first[key.tag, key.value] != line:
                self.twice.append(f"line {line}: {key.value!r} is in line {before} already; keep one of them")
        return super().construct_mapping(node, deep)


def parse(text: str) -> Any:
    """The value of a YAML text. Raises ValueError, in words."""
    try:
        loader = _Loader(text)
        value = loader.get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(_words(error)) from error
    except RecursionError as error:
        raise ValueError("nested deeper than any configuration: is it one?") from error
    if loader.twice:
        raise ValueError("; ".join(dict.fromkeys(loader.twice)))
    return value


def read(path: Path) -> Any:
    """The value of a YAML file. Raises ConfigError that names it."""
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError([("", f"{path} is not there (looked from {os.getcwd()}): correct the path")]) from error
    except IsADirectoryError as error:
        raise ConfigError([("", f"{path} is a folder: give a YAML file")]) from error
    except PermissionError as error:
        raise ConfigError([("", f"{path} may not be read: change its permissions")]) from error
    except OSError as error:
        raise ConfigError([("", f"cannot read {path}: {error.strerror}")]) from error
    except ValueError as error:  # UnicodeDecodeError too
        raise ConfigError([("", f"{path} is not valid YAML: {error}")]) from error


def _words(error: yaml.YAMLError) -> str:
    """Where and what, in one line: the file has no name for PyYAML."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error)
    mark = error.problem_mark
    text = f"line {mark.line + 1}, column {mark.column + 1}: {error.problem}"
    if "'\\t'" in text:
        text += "; indent with spaces, not with tabs"
    if error.context and error.context_mark is not None:
        text += f" ({error.context} that begins in line {error.context_mark.line + 1})"
    return text
