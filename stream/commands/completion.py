"""`inbeam completion SHELL`: a script that lets bash, zsh or fish complete commands, options and file names.

bash  inbeam completion bash > ~/.local/share/bash-completion/completions/inbeam
zsh   inbeam completion zsh > ~/.zfunc/_inbeam        (with fpath+=(~/.zfunc) before compinit in ~/.zshrc)
fish  inbeam completion fish > ~/.config/fish/completions/inbeam.fish
"""

import argparse
from collections.abc import Iterator

import shtab

from stream.commands.main import COMMANDS, parser

SHELLS = ("bash", "zsh", "fish")
FILES = ("FILE", "OUT", "IMAGE", "files", "file", "config", "poni", "mask", "dark", "flat", "server_key", "secret_key")
FOLDERS = ("FOLDER", "folder")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam completion`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = __doc__
    parser.add_argument("shell", choices=SHELLS, help="for which shell")


def run(options: argparse.Namespace) -> int:
    """Print the script: made once from all commands, so that pressing TAB starts nothing."""
    made = parser(COMMANDS)
    for action in _actions(made):
        name = action.metavar if isinstance(action.metavar, str) else action.dest
        if name in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        elif name in FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
    print(shtab.complete(made, options.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from _actions(command)
        else:
            yield action
