"""Evaluate Python literals as fairseq's options spell them: `[(512, 3)] * 20`, `(0.9, 0.98)`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from typing import Any

_OPERATORS = {ast.Add: operator.add, ast.Mult: operator.mul, ast.Sub: operator.sub}


def value_of(text: str, names: Mapping[str, Any] | None = None) -> Any:
    """The value of an expression made of literals, sums, differences and products.

    It replaces `eval` for text from elsewhere; `names` is ignored. Raises ValueError for anything else,
    such as a call or a name.
    """
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError, ValueError):
        raise ValueError(f"`{text}` is not a literal of Python") from None


def _value(node: ast.expr) -> Any:
    match node:
        case ast.BinOp(left, operation, right) if type(operation) in _OPERATORS:
            return _OPERATORS[type(operation)](_value(left), _value(right))
        case ast.List(elements):
            return [_value(each) for each in elements]
        case ast.Tuple(elements):
            return tuple(_value(each) for each in elements)
        case _:
            return ast.literal_eval(node)
