"""The tables of the specification, computed from the data that the code uses: schemas, layouts, dtypes and rules."""

from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING, Any

from adapter_format.config_fields import describes
from adapter_format.constraints import constraints_of
from adapter_format.dtypes import DTYPES
from adapter_format.layouts import Layout, auxiliary, layout_of
from adapter_format.packaged import load_schema
from adapter_format.rules.registry import all_rules
from adapter_format.shapes import format_shape
from adapter_format.size import PredictedSize, expected_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from adapter_format.rules.rule import Rule

METHOD = "LORA"


def layout() -> Layout:
    """Return the layout of the method that the specification describes."""
    found = layout_of(METHOD)
    if found is None:
        raise LookupError(METHOD)
    return found


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a Markdown table; cells are escaped here."""
    names = list(head)
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(cell(text) for text in row) + " |" for row in rows]
    return "\n".join(lines)


def cell(text: str) -> str:
    """Keep a text within one cell."""
    return text.replace("|", "\\|").replace("\n", " ")


def code(text: str) -> str:
    """Set a text as code."""
    return f"``{text}``" if "`" in text else f"`{text}`"


def as_json(value: Any) -> str:
    """Set a value as JSON code."""
    return code(json.dumps(value, ensure_ascii=False))


@functools.cache
def rules_by_clause() -> Mapping[str, tuple[Rule, ...]]:
    """Group the rules by the clause that they check."""
    found: dict[str, list[Rule]] = {}
    for rule in all_rules():
        found.setdefault(rule.clause, []).append(rule)
    return {clause: tuple(rules) for clause, rules in found.items()}


def rules_of(clause: str) -> str:
    """List the rules of a clause, each linked to its page."""
    rules = rules_by_clause().get(clause, ())
    return ", ".join(f"[{rule.id}](rules/{rule.id}.md) {rule.slug}" for rule in rules)


def dtypes() -> str:
    """Tabulate the element types of the container."""
    rows = (
        (code(dtype.name), str(dtype.bits), dtype.kind, code(dtype.array_name) if dtype.array_name else "-")
        for dtype in DTYPES.values()
    )
    return table(("dtype", "bits", "kind", "NumPy or `ml_dtypes`"), rows)


def role_suffixes() -> str:
    """Write the ABNF alternatives of the role suffixes, each with its role."""
    roles = [(suffix, role) for role in layout().roles.values() for suffix in (role.suffix, *role.also_read)]
    width = max(len(suffix) for suffix, _ in roles)
    lines = []
    for number, (suffix, role) in enumerate(roles):
        lead = "role-suffix = " if number == 0 else "            / "
        also = "; read as " if suffix in role.also_read else "; "
        lines.append(f'{lead}%s"{suffix}"{" " * (width - len(suffix))}  {also}{role.name}')
    lines.append(f'token-suffix = %s"{auxiliary().tokens_suffix}"')
    return "```abnf\n" + "\n".join(lines) + "\n```"


def symbols() -> str:
    """Tabulate the symbols of the shapes."""
    return table(("symbol", "meaning"), ((code(name), text) for name, text in layout().symbols.items()))


def roles() -> str:
    """Tabulate the roles: suffixes, purpose, when required, and what an untrained one holds."""
    rows = []
    for role in layout().roles.values():
        suffixes = code(role.suffix) + "".join(f", read also {code(other)}" for other in role.also_read)
        when = conditions(role.declared_by) if role.declared_by else "its kind has it"
        untrained = role.untrained or ("anything" if role.may_be_zero else "not zero")
        rows.append((code(role.name), suffixes, role.purpose, when, untrained))
    return table(("role", "suffix on disk", "what it is", "required when", "untrained"), rows)


def kinds() -> str:
    """Tabulate the kinds in their order: when each applies and what is added to the weight."""
    rows = (
        (str(number), code(kind.name), kind.title, selection(kind.select), code(kind.delta))
        for number, kind in enumerate(layout().kinds, 1)
    )
    return table(("", "kind", "base layer", "applies when", "what is added to the weight"), rows)


def shapes() -> str:
    """Tabulate the shape of every role in every kind."""
    rows = []
    for kind in layout().kinds:
        for name, shape in kind.shapes.items():
            role = layout().roles[name]
            required = "always" if not role.declared_by else conditions(role.declared_by)
            rows.append((code(kind.name), code(role.suffix), code(format_shape(shape)), required))
    return table(("kind", "role", "shape", "required when"), rows)


def selection(select: Mapping[str, Any]) -> str:
    """Say in words when a kind applies."""
    parts = []
    if select.get("target") == "parameter":
        parts.append("the module owns an entry of `target_parameters`, and `target_modules` does not name it")
    parts += ["it has " + " or ".join(map(code, group)) for group in select.get("any_role_of_each", ())]
    for role, dimensions in select.get("role_dimensions", {}).items():
        counts = ", ".join(map(str, dimensions[:-1])) + f" or {dimensions[-1]}"
        parts.append(f"{code(role)} has {counts} dimensions")
    if "path_contains_any" in select:
        parts.append(f"the module path contains an item of {code(select['path_contains_any'])}, anywhere")
    if "path_ends_with_any" in select:
        parts.append(f"the module path ends with an item of {code(select['path_ends_with_any'])}, or matches it")
    if "config" in select:
        parts.append(conditions(select["config"]))
    if "unless_fits" in select:
        parts.append(f"its shapes do not fit the kind {code(select['unless_fits'])}")
    if select.get("fits"):
        parts.append("its shapes fit")
    return "; ".join(parts) or "no kind above does"


def conditions(wanted: Mapping[str, Mapping[str, Any]]) -> str:
    """Say conditions on config fields in words."""
    parts = (
        _condition(field, operator, operand)
        for field, condition in wanted.items()
        for operator, operand in condition.items()
    )
    return " and ".join(parts)


def _condition(field: str, operator: str, operand: Any) -> str:
    name = code(field)
    match operator:
        case "set":
            return f"{name} is {'set' if operand else 'not set'}"
        case "given":
            return f"{name} is {'given' if operand else 'null'}"
        case "equals":
            return f"{name} is {as_json(operand)}"
        case "in":
            return f"{name} is " + " or ".join(map(as_json, operand))
        case "type":
            return f"{name} is of type {operand}"
        case "matches":
            return f"{name} matches {code(operand)}"
        case "names":
            return f"{name} names " + " or ".join(map(code, operand))
        case "lacks":
            return f"{name} does not name " + " or ".join(map(code, operand))
        case "overlaps":
            return f"{name} shares an item with {code(operand)}"
        case "multiple_of":
            return f"{name} is a multiple of {amount(operand)}"
        case "within":
            return f"every item of {name} is in {code(operand)}"
        case "above" | "at_least" | "at_most":
            return f"{name} is {operator.replace('_', ' ')} {amount(operand)}"
        case "other_length":
            return f"{name} has another length than {code(operand)}"
        case "items_of_other_length":
            return f"an item of {name} has another length than {code(operand)}"
        case _:
            raise LookupError(operator)


def amount(operand: Any) -> str:
    """Set a number, or the field or difference of fields that gives it."""
    return code(operand) if isinstance(operand, str) else str(operand)


def fields() -> str:
    """Tabulate the fields of a LoRA config, those of every method first."""
    definitions = load_schema("adapter_config")["$defs"]
    rows = [
        field_row(name, schema)
        for definition in ("common", METHOD)
        for name, schema in definitions[definition]["properties"].items()
    ]
    return table(("field", "type", "default", "since", "until", "meaning"), rows)


def method_fields() -> str:
    """Tabulate the fields of every method but the one that the main text describes."""
    definitions = load_schema("adapter_config")["$defs"]
    return "\n\n".join(_definition(name, "field") for name in definitions if describes(name) and name != METHOD)


def option_objects() -> str:
    """Tabulate the members of every object that a field may hold."""
    definitions = load_schema("adapter_config")["$defs"]
    options = (name for name in definitions if name not in ("common", "peft_types") and not describes(name))
    return "\n\n".join(_definition(name, "member") for name in options)


def _definition(name: str, what: str) -> str:
    definition = load_schema("adapter_config")["$defs"][name]
    rows = (field_row(member, schema) for member, schema in definition["properties"].items())
    head = (what, "type", "default", "since", "until", "meaning")
    return f"### {name}\n\n{definition['description']}\n\n{table(head, rows)}"


def field_row(name: str, schema: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one row of a field table."""
    default = as_json(schema["default"]) if "default" in schema else "(required)"
    since, until = schema.get("x-peft-since", "-"), schema.get("x-peft-until") or "-"
    return code(name), type_of(schema), default, since, until, schema["description"]


def type_of(schema: Mapping[str, Any]) -> str:
    """Say in words which values a schema allows."""
    if "x-expected" in schema:
        return str(schema["x-expected"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2] + " object"
    if "anyOf" in schema:
        return " or ".join(type_of(branch) for branch in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(as_json(value) for value in schema["enum"])
    named = schema.get("type", "any")
    text = " or ".join([named] if isinstance(named, str) else named)
    if "items" in schema:
        bounds = f"{schema['minItems']} or more " if "minItems" in schema and "maxItems" not in schema else ""
        bounds = f"{schema['minItems']} " if schema.get("minItems", -1) == schema.get("maxItems") else bounds
        text = f"array of {bounds}{type_of(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        text = f"object of {type_of(schema['additionalProperties'])}"
    if schema.get("minLength"):
        text = f"non-empty {text}"
    for keyword, sign in (("minimum", ">="), ("exclusiveMinimum", ">"), ("maximum", "<="), ("exclusiveMaximum", "<")):
        if keyword in schema:
            text += f" {sign} {schema[keyword]}"
    return f"{text} {code(schema['pattern'])}" if "pattern" in schema else text


def constraints() -> str:
    """Tabulate the fields that exclude or need each other."""
    rows = []
    for constraint in constraints_of(METHOD):
        verb = "excludes" if constraint.kind == "excludes" else "needs"
        said = f"{conditions(constraint.when)} **{verb}** {conditions(constraint.other)}"
        peft = constraint.peft + (", other outputs" if constraint.differs else "")
        rows.append((constraint.id, said, constraint.why, peft))
    return table(("constraint", "condition", "why", "PEFT 0.21.2"), rows)


def methods() -> str:
    """Tabulate the values of `peft_type` that a release of PEFT knew."""
    known = load_schema("adapter_config")["$defs"]["peft_types"]["x-data"]
    rows = ((code(name), method["since"], method["until"] or "-") for name, method in known.items())
    return table(("`peft_type`", "since", "until"), rows)


def wrapper_parts() -> str:
    """List the path parts of wrappers."""
    declared = auxiliary()
    return ", ".join(map(code, (*declared.wrapper_parts, *declared.outer_wrapper_parts)))


def size_table() -> str:
    """Tabulate the elements of every kind as products, from the shapes."""
    rows = []
    for kind in layout().kinds:
        factors = [
            product(format_shape(shape)) for name, shape in kind.shapes.items() if not layout().roles[name].declared_by
        ]
        extra = [
            f"{product(format_shape(shape))} ({code(layout().roles[name].suffix)})"
            for name, shape in kind.shapes.items()
            if layout().roles[name].declared_by
        ]
        rows.append((code(kind.name), " + ".join(factors), "; ".join(extra) or "-"))
    return table(("kind", "elements of the factors", "elements of further roles, where present"), rows)


def product(shape: str) -> str:
    """Turn a shape such as `[r, c_in, *kernel]` into the product of its sizes."""
    sizes = [size for size in shape.strip("[]").split(", ") if size not in ("1", "*1")]
    if sizes == ["*any"]:
        return "all that is stored"
    words = ["prod(kernel)" if size == "*kernel" else size.replace("*", " · ") for size in sizes]
    return " · ".join(words)


WIDTH, LAYERS, FEED_FORWARD = 4096, 32, 11008
PARAMETERS_OF_7B = 6_738_415_616
"""Parameters of LLaMA 7B: vocabulary 32,000, width 4,096, feed-forward 11,008, 32 layers, untied head."""


def size_example() -> str:
    """Work the size formula out for a 7B model, in three rows that people quote."""
    attention = [(WIDTH, WIDTH)] * 4 * LAYERS
    linear = attention + ([(WIDTH, FEED_FORWARD)] * 2 + [(FEED_FORWARD, WIDTH)]) * LAYERS
    rows = [
        _size_row("r 16 on q, k, v, o", expected_size(attention, r=16, dtype="F16")),
        _size_row("r 8 on all seven linear layers", expected_size(linear, r=8, dtype="F16")),
        _size_row("r 16 on all seven linear layers", expected_size(linear, r=16, dtype="F16")),
    ]
    return table(("adapter", "parameters", "bytes in F16", "base is larger by"), rows)


def _size_row(name: str, size: PredictedSize) -> tuple[str, ...]:
    ratio = PARAMETERS_OF_7B * 2 / size.bytes
    return name, f"{size.parameters:,}", f"{size.bytes:,} ({size.bytes / 1e6:.2f} MB)", f"{ratio:.0f} times"
