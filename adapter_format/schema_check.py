"""The config against its JSON Schema: an exact fast verdict, and the full list of errors when it is no.

The fast check compiles the part of JSON Schema 2020-12 that the packaged schemas use into closures. It agrees
with the `jsonschema` library on every document (a Hypothesis law), and spares a valid config its import.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.config_fields import describes
from adapter_format.packaged import load_schema
from adapter_format.schema_words import pointer_of, short_value, words_for

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError

Check = Callable[[Any], bool]
Schema = Mapping[str, Any]

# "then" is read together with "if".
_ANNOTATIONS = frozenset(("$schema", "$id", "$defs", "$comment", "title", "description", "default", "then"))


class Violation(NamedTuple):
    """One place where a config is not what the schema says.

    Attributes:
        pointer: JSON pointer to the value; of the containing object if a member is missing.
        field: name of the field of the config that the place is in; empty for the config as a whole.
        found: the value, as short JSON.
        expected: what the schema wants there, as words that go on from "expected".
        keyword: the JSON Schema keyword that the value breaks.
    """

    pointer: str
    field: str
    found: str
    expected: str
    keyword: str

    @property
    def message(self) -> str:
        """What was found and what was expected, as one sentence in ASCII."""
        if self.keyword == "required":
            return f"The config lacks {self.expected}."
        place = short_value(self.pointer[1:]).strip('"')
        return f"`{place}` is {self.found}, expected {self.expected}."


def is_valid(document: Mapping[str, Any], peft_type: str | None = None) -> bool:
    """Whether a config is what the schema says, without the jsonschema library.

    Args:
        document: the config.
        peft_type: judge it as a config of this method; by default, of the method that it names itself.
    """
    return _config_check(peft_type)(document if isinstance(document, dict) else dict(document))


@functools.cache
def _config_check(peft_type: str | None) -> Check:
    schema = load_schema("adapter_config")
    if peft_type is None or not describes(peft_type):
        return compile_schema(schema)
    return _every((compile_schema(schema, "common"), compile_schema(schema, peft_type)))


def compile_schema(schema: Schema, definition: str | None = None) -> Check:
    """Compile a JSON Schema to a function that says whether a document is valid.

    Args:
        schema: the whole schema; `$ref` may point to its `$defs`.
        definition: the name under `$defs` to check against, instead of the schema as a whole.

    Returns:
        A function of the document (made of dict, list, str, int, float, bool and None) to True or False.

    Raises:
        ValueError: the schema uses a keyword or a form that is not implemented here.
    """
    return _compile(schema["$defs"][definition] if definition is not None else schema, schema, ())


def violations(document: Mapping[str, Any]) -> Iterator[Violation]:
    """Yield every violation of the config schema, in the order of the library that finds them.

    A value that may be several things yields the errors inside it (such as one wrong item of a list) if there
    are any, else one error for the value as a whole.
    """
    from jsonschema import Draft202012Validator

    schema = load_schema("adapter_config")

    def spread(error: ValidationError) -> Iterator[ValidationError]:
        inside = _inside(error)
        for inner in inside:
            yield from spread(inner)
        if not inside:
            yield error

    validator = Draft202012Validator(schema)
    for outer in validator.iter_errors(dict(document)):
        for error in spread(outer):
            path = list(error.absolute_path)
            broken = error.schema if isinstance(error.schema, Mapping) else {}
            yield Violation(
                pointer_of(path),
                str(path[0]) if path else "",
                short_value(error.instance),
                words_for(error.validator, broken, error.instance, schema),
                _keyword(error),
            )


def _keyword(error: ValidationError) -> str:
    """Return the keyword that a value breaks; "type" if it has none of several types that it may have."""
    context = error.context or []
    by_type = context and all(inner.validator == "type" for inner in context)
    return "type" if by_type else str(error.validator)


def _inside(error: ValidationError) -> list[ValidationError]:
    """Return the errors of the one alternative that the value was meant to be, if that can be told."""
    context = error.context or []
    deeper = [inner for inner in context if len(inner.absolute_path) > len(error.absolute_path)]
    of_right_type = [inner for inner in context if inner.validator != "type"]
    alternatives = {inner.relative_schema_path[0] for inner in of_right_type}
    return deeper or (of_right_type if len(alternatives) == 1 else [])


def float_integers(document: Mapping[str, Any]) -> Iterator[Violation]:
    """Yield every integer that is written with a fraction or an exponent, such as `8.0`.

    JSON Schema cannot tell 8.0 from 8, but Python can: PEFT raises on such a rank.
    """
    schema = load_schema("adapter_config")
    method = document.get("peft_type")
    for name in ("common", method) if isinstance(method, str) and describes(method) else ("common",):
        for path in _float_integers(document, schema["$defs"][name], schema):
            found: Any = document
            for part in path:
                found = found[part]
            wanted = "an integer without a fraction"
            yield Violation(pointer_of(path), str(path[0]), short_value(found), wanted, "type")


def _float_integers(value: Any, schema: Schema, root: Schema) -> Iterator[tuple[str | int, ...]]:
    if isinstance(value, float) and value.is_integer() and "integer" in _types(schema):
        yield ()
    for part, inner in _members(value, schema):
        for path in _float_integers(value[part], inner, root):
            yield (part, *path)
    for branch in schema.get("anyOf", ()):
        yield from _float_integers(value, branch, root)
    if "$ref" in schema:
        yield from _float_integers(value, _resolve(schema["$ref"], root), root)


def _members(value: Any, schema: Schema) -> Iterator[tuple[str | int, Schema]]:
    if isinstance(value, Mapping):
        properties = schema.get("properties", {})
        rest = schema.get("additionalProperties")
        for name in value:
            if name in properties:
                yield name, properties[name]
            elif isinstance(rest, Mapping):
                yield name, rest
    elif isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        for index in range(len(value)):
            yield index, schema["items"]


def _types(schema: Schema) -> tuple[str, ...]:
    found = schema.get("type", ())
    return (found,) if isinstance(found, str) else tuple(found)


def _resolve(reference: str, root: Schema) -> Schema:
    prefix, name = reference[:8], reference[8:]
    if prefix != "#/$defs/" or name not in root.get("$defs", {}):
        raise ValueError(f"$ref {reference!r} does not name a member of $defs")
    resolved: Schema = root["$defs"][name]
    return resolved


def _compile(schema: Schema | bool, root: Schema, seen: tuple[str, ...]) -> Check:
    if isinstance(schema, bool):
        return _anything if schema else _nothing
    checks: list[Check] = []
    for keyword, operand in schema.items():
        if keyword in _ANNOTATIONS or keyword.startswith("x-"):
            continue
        if keyword in _SIMPLE:
            checks.append(_SIMPLE[keyword](operand))
        elif keyword == "$ref":
            if operand in seen:
                raise ValueError(f"{operand} refers to itself")
            checks.append(_compile(_resolve(operand, root), root, (*seen, operand)))
        elif keyword in ("allOf", "anyOf"):
            branches = tuple(_compile(branch, root, seen) for branch in operand)
            checks.append(_every(branches) if keyword == "allOf" else _some(branches))
        elif keyword == "if":
            then = _compile(schema.get("then", True), root, seen)
            checks.append(_condition(_compile(operand, root, seen), then))
        elif keyword == "items":
            checks.append(_items(_compile(operand, root, seen)))
        elif keyword == "properties":
            members = {name: _compile(member, root, seen) for name, member in operand.items()}
            rest = schema.get("additionalProperties", True)
            checks.append(_object(members, None if rest is True else _compile(rest, root, seen)))
        elif keyword == "additionalProperties":
            if "properties" not in schema and operand is not True:
                checks.append(_object({}, _compile(operand, root, seen)))
        else:
            raise ValueError(f"the JSON Schema keyword {keyword!r} is not implemented")
    return checks[0] if len(checks) == 1 else _every(tuple(checks))


def _anything(_: Any) -> bool:
    return True


def _nothing(_: Any) -> bool:
    return False


def _every(checks: tuple[Check, ...]) -> Check:
    if len(checks) == 2:
        first, second = checks
        return lambda value: first(value) and second(value)

    return lambda value: all(check(value) for check in checks)


def _some(checks: tuple[Check, ...]) -> Check:
    if len(checks) == 2:
        first, second = checks
        return lambda value: first(value) or second(value)
    return lambda value: any(check(value) for check in checks)


def _condition(when: Check, then: Check) -> Check:
    return lambda value: then(value) if when(value) else True


def _items(check: Check) -> Check:
    def items(value: Any) -> bool:
        if isinstance(value, list):
            for item in value:
                if not check(item):
                    return False
        return True

    return items


def _object(members: Mapping[str, Check], rest: Check | None) -> Check:
    find = members.get

    def properties(value: Any) -> bool:
        if isinstance(value, dict):
            for name, member in value.items():
                check = find(name, rest)
                if check is not None and not check(member):
                    return False
        return True

    return properties


def _is_integer(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, float) and value.is_integer())


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_TYPES: dict[str, Check] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: value is True or value is False,
    "null": lambda value: value is None,
    "integer": _is_integer,
    "number": _is_number,
}


def _type(names: str | list[str]) -> Check:
    wanted = [names] if isinstance(names, str) else names
    unknown = set(wanted) - set(_TYPES)
    if unknown:
        raise ValueError(f"the JSON Schema type {unknown.pop()!r} does not exist")
    checks = tuple(_TYPES[name] for name in wanted)
    return checks[0] if len(checks) == 1 else _some(checks)


def _enum(values: list[Any]) -> Check:
    allowed = frozenset(_identity(value) for value in values)

    def enum(value: Any) -> bool:
        return isinstance(value, (str, int, float, type(None))) and _identity(value) in allowed

    return enum


def _identity(value: Any) -> tuple[bool, str | float | None]:
    """Return what makes two JSON scalars equal: 1 and 1.0 are, 1 and true are not."""
    if not isinstance(value, (str, int, float, type(None))):
        raise ValueError(f"enum and const are implemented for scalars only, not for {value!r}")
    return isinstance(value, bool), value


def _pattern(pattern: str) -> Check:
    search = re.compile(pattern).search
    return lambda value: not isinstance(value, str) or search(value) is not None


def _required(names: list[str]) -> Check:
    return lambda value: not isinstance(value, dict) or all(name in value for name in names)


# The comparisons are written as refusals so that NaN passes, as it does in the jsonschema library.
_SIMPLE: dict[str, Callable[[Any], Check]] = {
    "type": _type,
    "enum": _enum,
    "const": lambda operand: _enum([operand]),
    "required": _required,
    "pattern": _pattern,
    "minLength": lambda least: lambda value: not isinstance(value, str) or len(value) >= least,
    "minItems": lambda least: lambda value: not isinstance(value, list) or len(value) >= least,
    "maxItems": lambda most: lambda value: not isinstance(value, list) or len(value) <= most,
    "minimum": lambda least: lambda value: not (_is_number(value) and value < least),
    "maximum": lambda most: lambda value: not (_is_number(value) and value > most),
    "exclusiveMinimum": lambda least: lambda value: not (_is_number(value) and value <= least),
    "exclusiveMaximum": lambda most: lambda value: not (_is_number(value) and value >= most),
}
