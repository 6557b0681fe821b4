"""The small expression language of the layouts: integers, names of symbols, arithmetic, comparisons and choices.

An expression is spelled as in Python and consists of nothing but numbers, strings, `None`, names, `+ - * / // %`,
comparisons, `and`, `or`, `not`, `a if c else b` and calls of the named functions. `/` divides without remainder, or the
expression has no value. Besides computing a value from symbols, an expression can be solved for its one unknown symbol,
so that the same texts serve for checking stored shapes, for reading features out of them and for predicting sizes.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import ast
    from collections.abc import Callable, Mapping


class UnknownSymbolError(Exception):
    """A symbol of the expression has no value yet."""


class NoValueError(Exception):
    """The expression has no value for these symbols: a division leaves a rest, or is one by zero."""


class Function(NamedTuple):
    """A named function that expressions may call.

    Attributes:
        compute: the function of integers.
        invert: the argument that gives a value, for a function of one argument; None if it has no inverse.
    """

    compute: Callable[..., Any]
    invert: Callable[[int], int | None] | None = None


class Scope(NamedTuple):
    """Where an expression finds the values of its names.

    Attributes:
        symbols: known values.
        functions: what may be called.
        over: gives the values that an expression has in each of several units, for the functions that count, add or
            compare them; it raises UnknownSymbolError where one of them is not known.
        rename: the name under which a symbol is known, such as one that belongs to a numbered tensor.
    """

    symbols: Mapping[str, Any]
    functions: Mapping[str, Function]
    over: Callable[[str, str], list[Any]] | None = None
    rename: Callable[[str], str] = str

    def value(self, name: str) -> Any:
        """Return the value of a name; UnknownSymbolError if it has none."""
        try:
            return self.symbols[self.rename(name)]
        except KeyError:
            raise UnknownSymbolError(name) from None


class Solution(NamedTuple):
    """What solving for one unknown symbol found.

    Attributes:
        symbol: the symbol; "" if nothing could be said.
        value: its value.
    """

    symbol: str
    value: int


UNSOLVED = Solution("", 0)

_REDUCTIONS: dict[str, Callable[[list[Any]], Any]] = {"total": sum, "largest": max, "smallest": min, "number": len}
"""What `total_over(modules, d_in)` and the like do with the values of all units."""


@functools.cache
def _parsed(text: str) -> ast.expr:
    import ast

    return ast.parse(text, mode="eval").body


@functools.cache
def names_in(text: str) -> frozenset[str]:
    """Return the symbols that an expression speaks of, without functions and what these go over."""
    if text.isidentifier():
        return frozenset([text])
    if text.isdigit():
        return frozenset()
    return frozenset(_names(_parsed(text)))


def _names(node: ast.expr) -> set[str]:
    import ast

    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Call):
        if _reduction(node) is not None:
            return set()
        return {name for argument in node.args for name in _names(argument)}
    return {name for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr) for name in _names(child)}


def _reduction(node: ast.Call) -> str | None:
    import ast

    name = node.func.id if isinstance(node.func, ast.Name) else ""
    head, over, _ = name.partition("_over")
    return head if over and head in _REDUCTIONS else None


@functools.cache
def sides(text: str) -> tuple[str, str] | None:
    """Return the two sides of an equation; None for any other expression."""
    import ast

    match _parsed(text):
        case ast.Compare(left, [ast.Eq()], [right]):
            return ast.unparse(left), ast.unparse(right)
    return None


def evaluate(text: str, scope: Scope) -> Any:
    """Compute an expression.

    Args:
        text: the expression.
        scope: where names get their values.

    Raises:
        UnknownSymbolError: a symbol that it needs has no value.
        NoValueError: it has none for these symbols.
    """
    if text.isdigit():
        return int(text)
    if text.isidentifier() and text not in ("None", "True", "False"):
        return scope.value(text)
    return _evaluate(_parsed(text), scope)


def _evaluate(node: ast.expr, scope: Scope) -> Any:
    import ast

    match node:
        case ast.Constant(value):
            return value
        case ast.Name(name):
            return scope.value(name)
        case ast.BinOp(left, operation, right):
            return _arithmetic(operation, _evaluate(left, scope), _evaluate(right, scope))
        case ast.UnaryOp(ast.Not(), operand):
            return not _evaluate(operand, scope)
        case ast.UnaryOp(ast.USub(), operand):
            return -_evaluate(operand, scope)
        case ast.BoolOp(ast.And(), values):
            return all(_evaluate(value, scope) for value in values)
        case ast.BoolOp(_, values):
            return any(_evaluate(value, scope) for value in values)
        case ast.Compare(left, [operation], [right]):
            return _guarded(_COMPARISONS[type(operation).__name__], _evaluate(left, scope), _evaluate(right, scope))
        case ast.IfExp(test, body, orelse):
            return _evaluate(body if _evaluate(test, scope) else orelse, scope)
        case ast.Call(ast.Name(name), arguments):
            reduction = _reduction(node)
            if reduction is not None:
                return _reduce(reduction, node, scope)
            return _guarded(scope.functions[name].compute, *(_evaluate(argument, scope) for argument in arguments))
    raise ValueError(f"{ast.unparse(node)!r} is not in the language of layouts")


def _guarded(compute: Callable[..., Any], *values: Any) -> Any:
    """Call with values that may come from a hostile config: where they are of no use, nothing is known."""
    try:
        return compute(*values)
    except (TypeError, ValueError, OverflowError):
        raise UnknownSymbolError(repr(values)[:80]) from None


def _reduce(reduction: str, node: ast.Call, scope: Scope) -> Any:
    if scope.over is None:
        raise UnknownSymbolError(reduction)
    units, what = _gone_over(node)
    found = scope.over(units, what)
    if not found and reduction not in ("total", "number"):
        raise UnknownSymbolError(units)
    return _guarded(_REDUCTIONS[reduction], found)


@functools.cache
def _gone_over(node: ast.Call) -> tuple[str, str]:
    """Return which units a function goes over, and the expression whose values it takes."""
    import ast

    units, *what = map(ast.unparse, node.args)
    return units, what[0] if what else "1"


_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
    "Is": operator.is_,
    "IsNot": operator.is_not,
}


def _arithmetic(operation: ast.operator, left: Any, right: Any) -> Any:
    name = type(operation).__name__
    if not isinstance(left, (int, float)) or not isinstance(right, (int, float)):
        raise UnknownSymbolError(name)
    if name == "Div":
        if not right or (isinstance(left, int) and isinstance(right, int) and left % right):
            raise NoValueError(f"{left}/{right}")
        exact = isinstance(left, int) and isinstance(right, int)
        return _guarded(operator.floordiv if exact else operator.truediv, left, right)
    if name in ("FloorDiv", "Mod") and not right:
        raise NoValueError(f"{left} by 0")
    return _guarded(_OPERATIONS[name], left, right)


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mult": operator.mul,
    "FloorDiv": operator.floordiv,
    "Mod": operator.mod,
}


def solve(text: str, value: int, scope: Scope) -> Solution:
    """Find the one unknown symbol of an expression that has to have a value.

    Args:
        text: the expression.
        value: what it has to be.
        scope: where the other names get their values.

    Returns:
        The solution, or `UNSOLVED` if more than one symbol is unknown or the expression has no inverse in it.

    Raises:
        NoValueError: no integer solves it; the text says which values would do.
    """
    if text.isidentifier():
        return Solution(text, value)
    return _solve(_parsed(text), value, scope)


def _solve(node: ast.expr, value: Any, scope: Scope) -> Solution:
    import ast

    match node:
        case ast.Name(name):
            return Solution(name, value)
        case ast.BinOp(left, operation, right):
            left_value, right_value = _if_known(left, scope), _if_known(right, scope)
            try:
                if right_value is not None and left_value is None:
                    return _solve(left, _left_operand(operation, value, right_value), scope)
                if left_value is not None and right_value is None:
                    return _solve(right, _right_operand(operation, value, left_value), scope)
            except UnknownSymbolError:
                return UNSOLVED
        case ast.Call(ast.Name(name), [argument]) if _reduction(node) is None:
            invert = scope.functions[name].invert
            if invert is not None:
                found = invert(value)
                if found is None:
                    raise NoValueError(f"a value of {ast.unparse(node)}")
                return _solve(argument, found, scope)
        case ast.IfExp(test, body, orelse):
            chosen = _if_known(test, scope)
            if chosen is not None:
                return _solve(body if chosen else orelse, value, scope)
            return _solve_choice(test, (body, orelse), value, scope)
    return UNSOLVED


def _solve_choice(test: ast.expr, branches: tuple[ast.expr, ast.expr], value: Any, scope: Scope) -> Solution:
    """Find a symbol that decides itself which branch is taken: `size if size else d_in/number`."""
    for branch, wanted in zip(branches, (True, False), strict=True):
        if _if_known(branch, scope) is not None:
            continue
        try:
            found = _solve(branch, value, scope)
        except NoValueError:
            continue
        if found.symbol:
            assumed = scope._replace(symbols={**scope.symbols, scope.rename(found.symbol): found.value})
            taken = _if_known(test, assumed)
            if taken is not None and bool(taken) is wanted:
                return found
    return UNSOLVED


def _if_known(node: ast.expr, scope: Scope) -> Any:
    try:
        return _evaluate(node, scope)
    except UnknownSymbolError:
        return None


def _left_operand(operation: ast.operator, value: Any, right: Any) -> Any:
    match type(operation).__name__:
        case "Add":
            return value - right
        case "Sub":
            return value + right
        case "Mult":
            if not right or value % right:
                raise NoValueError(f"a multiple of {right}")
            return value // right
        case "Div":
            return value * right
    raise UnknownSymbolError(value)


def _right_operand(operation: ast.operator, value: Any, left: Any) -> Any:
    match type(operation).__name__:
        case "Add":
            return value - left
        case "Sub":
            return left - value
        case "Mult":
            if not left or value % left:
                raise NoValueError(f"a multiple of {left}")
            return value // left
        case "Div":
            if not value or left % value:
                raise NoValueError(f"a divisor of {left}")
            return left // value
    raise UnknownSymbolError(value)
