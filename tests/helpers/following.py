"""A page of documentation, followed to the letter: its blocks of code, and a shell in which its commands are there."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of these languages ("": without one), in order."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name in languages]


def commands(page: Path) -> list[str]:
    """Every line that begins with `inbeam`, as it would be copied into a shell."""
    lines = [line for block in blocks(page, "", "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith("inbeam ")]


def shell(folder: Path) -> dict[str, str]:
    """The environment of a shell in which `inbeam` is that of this checkout; its script lies in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    command = folder / "inbeam"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m stream.commands.main "$@"\n')
    command.chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}


def follow(line: str, folder: Path, environment: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    """Run a line, or a whole block, as a shell does that stops at the first error."""
    return subprocess.run(
        ["sh", "-eu", "-c", line],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
