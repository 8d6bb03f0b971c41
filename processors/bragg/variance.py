"""Variance of a pixel as a formula of its counts, such as `5*I+8`: read as a tree, never given to eval as it came."""

import ast

import numexpr
import numpy as np

from stream.errors import InbeamError
from stream.events import Array

_FUNCTIONS = frozenset({"sqrt", "log", "log10", "exp", "abs"})
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.UAdd, ast.USub)
_NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Load, ast.Constant, *_OPERATORS)
MAX_LENGTH = 200
"""Characters of a formula: enough for any polynomial, too few to be a nuisance."""


class Variance:
    """A checked formula in I, the raw counts of a pixel. Raises InbeamError if it holds anything but arithmetic."""

    def __init__(self, formula: str) -> None:
        self.formula = formula
        self._text = _checked(formula)
        try:
            self(np.ones(1, np.float32))
        except Exception as error:
            raise InbeamError(f"the error model {formula!r} cannot be evaluated: {error}") from error

    def __call__(self, counts: Array) -> Array:
        """Variance float32 of the same shape as `counts`."""
        with np.errstate(all="ignore"):
            found = numexpr.evaluate(self._text, local_dict={"I": counts.astype(np.float32)}, global_dict={})
        return np.array(np.broadcast_to(found, counts.shape), dtype=np.float32)


def _checked(formula: str) -> str:
    """The formula written anew from its own tree, once every node of it is known to be harmless."""
    advice = "use +, -, *, /, **, numbers, I and " + ", ".join(sorted(_FUNCTIONS))
    if len(formula) > MAX_LENGTH:
        raise InbeamError(f"the error model has {len(formula)} characters, {MAX_LENGTH} are allowed: {advice}")
    try:
        tree = ast.parse(formula.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InbeamError(f"the error model {formula!r} is not a formula of I: {advice}") from error
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    seen = False
    for node in ast.walk(tree):
        if not isinstance(node, _NODES):
            raise InbeamError(f"the error model {formula!r} holds {type(node).__name__}: {advice}")
        if isinstance(node, ast.Name):
            if id(node) in called:
                if node.id not in _FUNCTIONS:
                    raise InbeamError(f"the error model {formula!r} calls {node.id}: {advice}")
            elif node.id != "I":
                raise InbeamError(f"the error model {formula!r} uses {node.id}: {advice}")
            else:
                seen = True
        if isinstance(node, ast.Call) and (node.keywords or not isinstance(node.func, ast.Name)):
            raise InbeamError(f"the error model {formula!r} has an odd call: {advice}")
        if isinstance(node, ast.Constant) and (
            isinstance(node.value, bool) or not isinstance(node.value, (int, float)) or abs(node.value) > 1e30
        ):
            raise InbeamError(f"the error model {formula!r} holds {node.value!r}: {advice}")
    if not seen:
        raise InbeamError(f"the error model {formula!r} does not use I, the counts of a pixel: {advice}")
    return ast.unparse(_Floats().visit(tree))


class _Floats(ast.NodeTransformer):
    """Integers become floats: 9**9**9 overflows at once instead of filling the memory with digits."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        return ast.copy_location(ast.Constant(float(node.value)), node)  # type: ignore[arg-type]
