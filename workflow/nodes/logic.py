"""Nodes of plain values: numbers, texts, arithmetic, choices."""

from __future__ import annotations

import ast
import json
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import InputError
from ..context import Context
from ..node import Node, node, outputs
from ..sockets import ANY, Socket, decimal, flag, integer, link, text

_WIDE = 2**63 - 1


def _primitive(name: str, display: str, kind: str, socket: Socket) -> Node:
    def function(context: Context, value: Any) -> Any:
        return value

    function.__doc__, function.__qualname__ = f"A value of the type {kind}.", name
    return node(name, needed={"value": socket}, outputs=outputs(kind), display=display, category="utils/primitive")(
        function
    )


primitive_int = _primitive("PrimitiveInt", "Int", "INT", integer(0, -_WIDE, _WIDE, control_after_generate=True))
primitive_float = _primitive("PrimitiveFloat", "Float", "FLOAT", decimal(0.0, -_WIDE, _WIDE))
primitive_string = _primitive("PrimitiveString", "String", "STRING", text())
primitive_lines = _primitive("PrimitiveStringMultiline", "String (Multiline)", "STRING", text(multiline=True))
primitive_boolean = _primitive("PrimitiveBoolean", "Boolean", "BOOLEAN", flag())


@node(
    "ComfySwitchNode",
    needed={"switch": flag()},
    optional={"on_false": link(ANY, lazy=True), "on_true": link(ANY, lazy=True)},
    outputs=outputs((ANY, "output")),
    display="Switch",
    category="utils/logic",
    lazy=frozenset({"on_false", "on_true"}),
    wants=lambda switch, **there: ["on_true" if switch else "on_false"],
)
def switch(context: Context, switch: bool, on_false: Any = None, on_true: Any = None) -> Any:
    """One of two inputs; the other is not computed."""
    chosen = on_true if switch else on_false
    if chosen is None:
        raise InputError(f"the switch is {switch}, and nothing is connected there; connect on_true and on_false")
    return chosen


@node(
    "StringConcatenate",
    needed={"string_a": text(multiline=True), "string_b": text(multiline=True), "delimiter": text("")},
    outputs=outputs("STRING"),
    display="Concatenate",
    category="utils/string",
)
def string_concatenate(context: Context, string_a: str, string_b: str, delimiter: str) -> str:
    """Two texts with a third between them."""
    return delimiter.join((string_a, string_b))


@node(
    "StringReplace",
    needed={"string": text(multiline=True), "find": text(multiline=True), "replace": text(multiline=True)},
    outputs=outputs("STRING"),
    display="Replace",
    category="utils/string",
)
def string_replace(context: Context, string: str, find: str, replace: str) -> str:
    """A text with a part replaced, wherever it stands."""
    return string.replace(find, replace)


@node(
    "StringTrim",
    needed={"string": text(multiline=True)},
    outputs=outputs("STRING"),
    display="Trim",
    category="utils/string",
)
def string_trim(context: Context, string: str) -> str:
    """A text without blanks around it."""
    return string.strip()


@node(
    "StringLength",
    needed={"string": text(multiline=True)},
    outputs=outputs(("INT", "length")),
    display="Length",
    category="utils/string",
)
def string_length(context: Context, string: str) -> int:
    """How many characters a text has."""
    return len(string)


_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.USub: operator.neg,
    ast.UAdd: operator.pos, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
    ast.Eq: operator.eq, ast.NotEq: operator.ne,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "min": min, "max": max, "round": round, "floor": math.floor, "ceil": math.ceil, "sqrt": math.sqrt,
    "int": int, "float": float,
}  # fmt: skip
_LONG, _LARGE = 500, 1e12


def computed(expression: str, names: Mapping[str, float]) -> float:
    """The value of an arithmetic expression; raises `InputError` for anything else."""

    def value(part: ast.AST) -> Any:
        match part:
            case ast.Expression(body=body):
                return value(body)
            case ast.Constant(value=number) if isinstance(number, (int, float)):
                return number
            case ast.Name(id=name) if name in names:
                return names[name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                a, b = value(left), value(right)
                if isinstance(op, ast.Pow) and (abs(b) > 64 or abs(a) > _LARGE):
                    raise InputError(f"the power in {expression!r} is too large")
                return _OPERATORS[type(op)](a, b)
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(operand))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](value(left), value(right))
            case ast.IfExp(test=test, body=body, orelse=orelse):
                return value(body) if value(test) else value(orelse)
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
                return _FUNCTIONS[name](*map(value, args))
        raise InputError(f"{expression!r} is no arithmetic of numbers and {', '.join(names) or 'no names'}")

    if len(expression) > _LONG:
        raise InputError(f"the expression has {len(expression)} characters; at most {_LONG} are read")
    try:
        return float(value(ast.parse(expression.strip(), mode="eval")))
    except (SyntaxError, ValueError, ArithmeticError, TypeError, RecursionError) as exc:
        raise InputError(f"{expression!r} cannot be computed ({exc}); correct it") from exc


@node(
    "ComfyMathExpression",
    needed={"expression": text("a + b", multiline=True)},
    optional={name: link("FLOAT,INT") for name in ("values.a", "values.b", "values.c", "values.d")},
    outputs=outputs("FLOAT", "INT"),
    display="Math Expression",
    category="utils/math",
)
def math_expression(context: Context, expression: str, **values: float) -> tuple[float, int]:
    """An arithmetic expression of its inputs."""
    made = computed(expression, {name.rpartition(".")[2]: value for name, value in values.items()})
    return made, int(made)


@node(
    "PreviewAny",
    needed={"source": link(ANY)},
    display="Preview as Text",
    category="utils",
    sink=True,
)
def preview_any(context: Context, source: Any) -> Mapping[str, Any]:
    """A value as a text."""
    if isinstance(source, (str, int, float, bool)):
        return {"text": [str(source)]}
    try:
        return {"text": [json.dumps(source, indent=4)]}
    except (TypeError, ValueError):
        return {"text": [str(source)]}
