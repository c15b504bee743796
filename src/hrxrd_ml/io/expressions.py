"""Expressions in text from files: a grammar of their own, so that such a text computes a number and does nothing else.

lmfit evaluates ``expr`` with asteval, an interpreter of Python with NumPy and files in it. What a user types in Python
goes there as it is. Text that comes from a file goes there only if this grammar knows it:

    number = literal | pi | e | parameter | (number) | function(number, …)
           | number + - * / ** number | + - number | number < <= > >= == != number …
           | number and or number | not number | number if number else number

It is a part of Python's own, with the same meaning: a comparison is 1 or 0, what is not 0 is true. All is computed in
floats, so that no power builds an integer of a billion digits; length and depth of a text are bounded.
"""

import ast
import math
import re
import unicodedata
import warnings
from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING

import numpy as np

from hrxrd_ml.errors import ParameterError, in_short

if TYPE_CHECKING:
    from lmfit import Parameters

MAX_LENGTH = 1000
"""Longest text of an expression [characters]."""

MAX_DEPTH = 100
"""Deepest nesting of operations in one expression; a sum of n terms is nested n deep."""

LARGEST = 1e300
"""Largest number that may be written in one."""

FUNCTIONS: Mapping[str, int] = dict.fromkeys(
    (
        "abs", "fabs", "sign", "floor", "ceil", "sqrt", "exp", "exp2", "expm1", "log", "ln", "log2", "log10", "log1p",
        "sin", "cos", "tan", "asin", "acos", "atan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
        "asinh", "acosh", "atanh", "arcsinh", "arccosh", "arctanh", "degrees", "radians", "deg2rad", "rad2deg",
        "erf", "erfc",
    ), 1,
) | {"atan2": 2, "arctan2": 2, "hypot": 2, "pow": 2, "min": 0, "max": 0}  # fmt: skip
"""Functions by name, as lmfit knows them, with the number of their arguments; 0: two or more."""

CONSTANTS = ("pi", "e")

_ALLOWED = (
    "an expression in a file knows names of parameters, numbers, + - * / **, comparisons, and, or, not, x if a else b, "
    f"{', '.join(CONSTANTS)} and mathematical functions such as sqrt, exp, log, sin, min, max"
)
_SIGNS = re.compile(r"[\w \t.,()<>=!+*/-]*")
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
_COMPARISONS = (ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq, ast.NotEq)


def read_expression(text: str, names: Collection[str] | None = None) -> str:
    """Return an expression for lmfit: the text itself, or the same in floats where it computes with integers alone.

    Parameters
    ----------
    text
        What a file holds.
    names
        Parameters that it may name; any name passes if None. A parameter that is named as a function or a constant
        hides it, as in lmfit.

    Raises
    ------
    ParameterError
        If the grammar does not know the text.

    Notes
    -----
    ``2*L1`` stays as it is, ``10**-3 * L1`` becomes ``10.0 ** -3.0 * L1``.
    """
    return _Reading(text, names).text


def read_expressions(texts: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Return `read_expression` of several parameters, in such an order that each comes after those in its expression.

    Raises
    ------
    ParameterError
        If the grammar does not know a text, or a parameter depends on itself; the message begins with its name.
    """
    read = {}
    for name, text in texts.items():
        try:
            read[name] = _Reading(text, names)
        except ParameterError as error:
            raise ParameterError(f"{name}: {error}") from None
    try:
        order = tuple(TopologicalSorter({name: own.used for name, own in read.items()}).static_order())
    except CycleError as error:
        first, *others = dict.fromkeys(error.args[1])
        through = f", through {in_short(', '.join(others))}" if others else ""
        raise ParameterError(f"{first}: the expression depends on {first} itself{through}") from None
    return {name: read[name].text for name in order if name in read}


def evaluate(expression: str, params: "Parameters") -> float:
    """Return what lmfit makes of an expression at the values of parameters, before any bounds.

    Raises
    ------
    ParameterError
        If that is no finite number.
    """
    try:
        with np.errstate(all="ignore"):
            value = float(params._asteval.eval(expression, raise_errors=True))
    except Exception as error:  # an expression can go wrong in any way
        what = f"{type(error).__name__}: {str(error).rpartition(': ')[2]}"
    else:
        what = f"it is {value:g}"
        if math.isfinite(value):
            return value
    raise ParameterError(
        f"the expression {in_short(expression, 80)!r} cannot be evaluated with the values of the other parameters: "
        f"{in_short(what)}; change it, or those"
    )


class _Reading:
    """One text on its way through the grammar.

    Attributes
    ----------
    text
        The expression for lmfit.
    used
        Parameters in it.
    """

    def __init__(self, text: str, names: Collection[str] | None) -> None:
        self.used: set[str] = set()
        self._source, self._names = text, names
        self._integers = False  # whether an operation has integers on both sides, or may have
        tree, integer = self._number(self._parsed(), MAX_DEPTH)
        self.text = ast.unparse(tree) if integer or self._integers else text.strip()
        if len(self.text) > MAX_LENGTH:  # what is returned can be read again
            raise self._fail(f"in floats it has {len(self.text)} characters and may have {MAX_LENGTH}")

    def _fail(self, what: str) -> ParameterError:
        return ParameterError(f"the expression {in_short(self._source, 80)!r} is not understood: {what}; {_ALLOWED}")

    def _parsed(self) -> ast.expr:
        if not isinstance(self._source, str):
            raise self._fail("it is no text")
        if len(self._source) > MAX_LENGTH:
            raise self._fail(f"it has {len(self._source)} characters and may have {MAX_LENGTH}")
        text = self._source.strip()
        if unknown := _SIGNS.sub("", text, count=1):
            raise self._fail(f"the sign {unknown[0]!r}")
        if unicodedata.normalize("NFKC", text) != text:  # Python would take such a letter for another one
            raise self._fail("a letter in it has a simpler form")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # such as of a number that runs into a word
                return ast.parse(text, mode="eval").body
        except (SyntaxError, ValueError) as error:
            raise self._fail(error.msg if isinstance(error, SyntaxError) else str(error)) from None
        except (RecursionError, MemoryError):
            raise self._fail("it is nested too deeply") from None

    def _number(self, node: ast.expr, depth: int) -> tuple[ast.expr, bool]:
        """Return the same in floats, and whether Python's own value is an integer, or may be."""
        if depth == 0:
            raise self._fail(f"it is nested deeper than {MAX_DEPTH}")

        def inner(*nodes: ast.expr) -> tuple[list[ast.expr], list[bool]]:
            read = [self._number(part, depth - 1) for part in nodes]
            return [part for part, _ in read], [integer for _, integer in read]

        match node:
            case ast.Constant(value=int() | float() as value) if not isinstance(value, bool):
                if value > LARGEST:
                    raise self._fail(f"a number in it is above {LARGEST:g}")
                return ast.Constant(float(value)), isinstance(value, int)
            case ast.Name(id=name):
                if self._names is None or name in self._names:
                    self.used.add(name)
                elif name not in CONSTANTS:
                    raise self._fail(f"there is no parameter {in_short(name, 40)!r}")
                return node, False
            case ast.UnaryOp(op=ast.UAdd() | ast.USub() as sign, operand=operand):
                (part,), (integer,) = inner(operand)
                return ast.UnaryOp(sign, part), integer
            case ast.BinOp(left=one, op=operator, right=two) if isinstance(operator, _OPERATORS):
                (left, right), integers = inner(one, two)
                integer = all(integers) and not isinstance(operator, ast.Div)
                self._integers |= integer
                return ast.BinOp(left, operator, right), integer
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                self._check_call(name, len(args))
                parts, integers = inner(*args)
                return ast.Call(node.func, parts, []), any(integers)
            case ast.BoolOp(op=word, values=values):
                parts, integers = inner(*values)
                return ast.BoolOp(word, parts), any(integers)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                parts, integers = inner(test, body, orelse)
                return ast.IfExp(*parts), any(integers[1:])
            case ast.Compare(left=one, ops=ops, comparators=others) if all(isinstance(op, _COMPARISONS) for op in ops):
                (left, *rest), _ = inner(one, *others)
                return ast.IfExp(ast.Compare(left, ops, rest), ast.Constant(1.0), ast.Constant(0.0)), True
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                (part,), _ = inner(operand)
                return ast.IfExp(part, ast.Constant(0.0), ast.Constant(1.0)), True
        raise self._fail(in_short(ast.get_source_segment(self._source.strip(), node) or type(node).__name__, 40))

    def _check_call(self, name: str, given: int) -> None:
        if name not in FUNCTIONS:
            raise self._fail(f"there is no function {in_short(name, 40)!r} among {', '.join(FUNCTIONS)}")
        if self._names is not None and name in self._names:
            raise self._fail(f"{name} is a parameter here, no function")
        wanted = FUNCTIONS[name]
        if given != wanted if wanted else given < 2:
            raise self._fail(f"number of arguments of {name}: {given}; it takes {wanted or 'two or more'}")
