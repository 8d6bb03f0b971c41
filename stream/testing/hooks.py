"""What a suite needs from whoever inherits it."""

from typing import NoReturn


def missing(suite: object, hook: str, gives: str) -> NoReturn:
    """Fail with what is to be written. Called by the hooks that have to be overridden.

    They are not abstract methods: pytest passes over an abstract class in silence, and a suite that was inherited with
    a misspelt hook would test nothing.
    """
    raise NotImplementedError(f"{type(suite).__name__} needs a method {hook}: {gives}")
