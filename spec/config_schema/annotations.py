"""From the annotation of a dataclass field to the JSON Schema of its values."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_SIMPLE = {"int": "integer", "float": "number", "str": "string", "dict": "object", "None": "null"}


def schema_of(annotation: str, enums: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Return the JSON Schema that an annotation stands for.

    A boolean may be null as well: PEFT only ever asks whether it is true. A union of an enumeration with `str` is the
    enumeration: the string is how JSON spells its values.

    Args:
        annotation: text of the annotation.
        enums: the values of each enumeration that it may name.

    Raises:
        LookupError: the annotation has a form that is not known here.
    """
    return joined(list(_branches(ast.parse(annotation, mode="eval").body, enums)))


def joined(branches: list[dict[str, Any]]) -> dict[str, Any]:
    """Join alternatives: what is only a type becomes one list of types."""
    values = [value for branch in branches for value in branch.get("enum", ())]
    types = _unique(name for branch in branches if set(branch) == {"type"} for name in branch["type"])
    if values:
        types = [name for name in types if name != "string"]
    rest = [branch for branch in branches if set(branch) != {"type"} and "enum" not in branch]
    if values and types in ([], ["null"]) and not rest:
        return {"enum": [*values, *([None] if types else [])]}
    parts: list[dict[str, Any]] = [{"enum": values}] if values else []
    simple: list[dict[str, Any]] = [{"type": types if len(types) > 1 else types[0]}] if types else []
    # What says most comes first, null alone last.
    found = [*simple, *parts, *rest] if types and types != ["null"] else [*parts, *rest, *simple]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _branches(node: ast.expr, enums: Mapping[str, Iterable[str]]) -> Iterator[dict[str, Any]]:
    text = ast.unparse(node)
    if isinstance(node, ast.BinOp):
        yield from _branches(node.left, enums)
        yield from _branches(node.right, enums)
    elif text == "bool":
        yield {"type": ["boolean", "null"]}
    elif text in _SIMPLE:
        yield {"type": [_SIMPLE[text]]}
    elif text in enums:
        yield {"enum": list(enums[text])}
    elif isinstance(node, ast.Subscript):
        yield from _parametrised(ast.unparse(node.value).rpartition(".")[2], node.slice, enums)
    else:
        raise LookupError(f"no schema for the annotation {text!r}")


def _parametrised(name: str, inside: ast.expr, enums: Mapping[str, Iterable[str]]) -> Iterator[dict[str, Any]]:
    parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
    if name in ("Optional", "Union"):
        for part in parts:
            yield from _branches(part, enums)
        if name == "Optional":
            yield {"type": ["null"]}
    elif name == "Literal":
        yield {"enum": [ast.literal_eval(part) for part in parts]}
    elif name == "list":
        yield {"type": "array", "items": joined(list(_branches(parts[0], enums)))}
    elif name == "dict":
        yield {"type": "object", "additionalProperties": joined(list(_branches(parts[1], enums)))}
    else:
        raise LookupError(f"no schema for the annotation {name}[...]")


def literal_values(annotation: str) -> list[str]:
    """Return the strings that the `Literal` parts of an annotation name."""
    return [
        part.value
        for node in ast.walk(ast.parse(annotation, mode="eval"))
        if isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Literal")
        for part in ast.walk(node.slice)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
