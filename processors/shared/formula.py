"""Formulas that users write: read as a tree of known nodes and written anew, never given to eval as they came."""

import ast
from collections.abc import Collection, Mapping

import numexpr
import numpy as np

from stream.events import Array

OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.UAdd, ast.USub)
NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Load, ast.Constant, *OPERATORS)
MAX_LENGTH = 200
"""Characters of a formula: enough for any polynomial, too few to be a nuisance."""


class Formula:
    """Arithmetic on arrays of one shape, by numexpr. Raises ValueError if the text holds anything else.

    allowed: names of arrays; None: any, see `names`. functions: those of numexpr that may be called.
    """

    def __init__(self, text: str, *, allowed: Collection[str] | None = None, functions: Collection[str] = ()) -> None:
        self._allowed, self._functions = allowed, functions
        words = ["names of channels"] if allowed is None else sorted(allowed)
        advice = f"use +, -, *, /, **, numbers, {', '.join([*words, *sorted(functions)])}"
        if len(text) > MAX_LENGTH:
            raise ValueError(f"has {len(text)} characters, {MAX_LENGTH} are allowed: {advice}")
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"is no formula: {advice}") from error
        called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        for node in ast.walk(tree):
            if odd := self._odd(node, id(node) in called):
                raise ValueError(f"{odd}: {advice}")
        used = (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in called)
        self.names = tuple(dict.fromkeys(used))
        """The arrays that it needs."""
        if not self.names:
            raise ValueError(f"is the same for every pixel: {advice}")
        self._renamed = {name: f"array_{number}" for number, name in enumerate(self.names)}
        self._written = ast.unparse(_Rewritten(self._renamed, called).visit(tree))
        try:
            self(dict.fromkeys(self.names, np.ones(1, np.float32)))
        except Exception as error:
            raise ValueError(f"cannot be evaluated: {error}") from error

    def __call__(self, values: Mapping[str, Array]) -> Array:
        """A new float32 array, of the shape of those given, which are taken as float32; NaN or inf where it has no
        value."""
        arrays = {self._renamed[name]: np.asarray(values[name], np.float32) for name in self.names}
        shape = next(iter(arrays.values())).shape
        with np.errstate(all="ignore"):
            found = numexpr.evaluate(self._written, local_dict=arrays, global_dict={})
            return np.array(np.broadcast_to(found, shape), dtype=np.float32)

    def _odd(self, node: ast.AST, called: bool) -> str:
        """What is wrong with one node of the tree, or ""."""
        if not isinstance(node, NODES):
            return f"holds {type(node).__name__}"
        if isinstance(node, ast.Name):
            if called:
                return "" if node.id in self._functions else f"calls {node.id}"
            return "" if self._allowed is None or node.id in self._allowed else f"uses {node.id}"
        if isinstance(node, ast.Call) and (node.keywords or not isinstance(node.func, ast.Name)):
            return "has an odd call"
        if isinstance(node, ast.Constant):
            number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
            return "" if number and abs(node.value) <= 1e30 else f"holds {node.value!r}"  # type: ignore[arg-type]
        return ""


class _Rewritten(ast.NodeTransformer):
    """Integers become floats: 9**9**9 overflows at once instead of filling the memory with digits. Names become ours:
    no array can be taken for a function."""

    def __init__(self, renamed: Mapping[str, str], called: Collection[int]) -> None:
        self._renamed, self._called = renamed, called

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.copy_location(ast.Constant(float(node.value)), node)  # type: ignore[arg-type]

    def visit_Name(self, node: ast.Name) -> ast.Name:
        if id(node) in self._called:
            return node
        return ast.copy_location(ast.Name(self._renamed[node.id], node.ctx), node)
