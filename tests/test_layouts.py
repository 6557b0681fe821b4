"""The layouts as data: each is valid by its schema, explains its symbols, and speaks of fields that its method has."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from adapter_format.conditions import _OPERATORS
from adapter_format.config_fields import fields_of
from adapter_format.layouts import known_layouts, layout_names
from adapter_format.module_values import MATCHING
from adapter_format.packaged import load_schema
from adapter_format.shape_functions import FUNCTIONS

SCHEMA = load_schema("layout")
LAYOUTS = {name: load_schema(f"layouts/{name.lower()}") for name in layout_names()}
UNITS = {"modules"}
OF_NUMBERED_TENSORS = {"index"}
REDUCTIONS = ("total_over", "largest_over", "smallest_over", "number_over")


def symbols_in(expression: str) -> set[str]:
    """Every name in an expression that is no function."""
    nodes = list(ast.walk(ast.parse(expression, mode="eval")))
    called = {node.func.id for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    assert called <= {*FUNCTIONS, *REDUCTIONS}, expression
    return names - called - UNITS


def dimensions(shapes: Any) -> Iterator[str]:
    """The texts of all shapes of a kind, those for special cases among them."""
    for shape in shapes.values():
        for part in shape:
            yield from part["shape"] if isinstance(part, dict) else [part]


def symbols_of_shapes(shapes: Any) -> set[str]:
    """The symbols of all shapes of a kind."""
    texts = {text.removeprefix("*") for text in dimensions(shapes) if text != "*any"}
    return {symbol for text in texts for symbol in symbols_in(text)}


def symbols_used(layout: dict[str, Any]) -> set[str]:
    """Every symbol that a layout speaks of."""
    used = set(layout.get("values", {})) | symbols_in(layout.get("scaling", {}).get("divisor", "1"))
    for role in layout["roles"].values():
        used |= symbols_in(role.get("step", "1")) | {role["counted_as"] for _ in role if "counted_as" in role}
    for kind in layout["kinds"]:
        used |= symbols_of_shapes(kind["shapes"]) | symbols_of_shapes(kind.get("select", {}).get("role_shapes", {}))
        used |= {symbol for text in kind.get("relations", {}) for symbol in symbols_in(text)}
        used |= {*kind.get("indexed", ()), *kind.get("draws", {})}
    return used - OF_NUMBERED_TENSORS


def fields_used(layout: dict[str, Any]) -> set[str]:
    """Every config field that a layout names, without what lies inside of it."""
    named = [*layout.get("written_always", ()), *layout.get("retired_layouts", ())]
    targets = {name: field for name, field in layout.get("targets", {}).items() if name != "matching"}
    named += [field for name, field in targets.items() if (name, field) != ("tying", "always")]
    values = [*layout.get("values", {}).values(), layout.get("scaling", {}).get("numerator", {})]
    named += [value[name] for value in values for name in ("field", "pattern") if name in value]
    named += [layout[part]["field"] for part in ("bias", "initialisation") if part in layout]
    named += layout.get("initialisation", {}).get("also_changed_by", [])
    named += [field for name, field in layout.get("scaling", {}).items() if name == "square_root"]
    for role in layout["roles"].values():
        named += role.get("declared_by", {})
    for kind in layout["kinds"]:
        select = kind.get("select", {})
        named += select.get("config", {})
        named += [select[name] for name in ("path_contains_any", "path_ends_with_any") if name in select]
        for shape in kind["shapes"].values():
            named += [field for part in shape if isinstance(part, dict) for field in part.get("when", {})]
    return {name.partition(".")[0] for name in named}


def described(schema: Any, path: str = "") -> Iterator[str]:
    """The paths of all members of the schema that have no description."""
    for name, member in schema.get("properties", {}).items():
        if "description" not in member:
            yield f"{path}/{name}"
        yield from described(member, f"{path}/{name}")
    for name, definition in schema.get("$defs", {}).items():
        yield from described(definition, f"{path}/{name}")
    for nested in (schema.get("additionalProperties"), schema.get("items"), *schema.get("anyOf", ())):
        if isinstance(nested, dict):
            yield from described(nested, path)


def test_the_schema_is_a_schema_and_explains_every_member() -> None:
    Draft202012Validator.check_schema(SCHEMA)

    assert list(described(SCHEMA)) == []


def test_what_any_method_may_carry_is_valid() -> None:
    schema = load_schema("auxiliary")
    Draft202012Validator.check_schema(schema)

    assert list(described(schema)) == []
    assert list(Draft202012Validator(schema).iter_errors(load_schema("layouts/auxiliary"))) == []


def test_the_schema_knows_the_words_of_the_language() -> None:
    definitions = SCHEMA["$defs"]
    expression = definitions["expression"]["description"]

    assert [name for name in (*FUNCTIONS, *REDUCTIONS) if f"`{name}" not in expression] == []
    assert set(definitions["conditions"]["additionalProperties"]["properties"]) == set(_OPERATORS)
    assert set(definitions["value"]["properties"]["matching"]["enum"]) == set(MATCHING)


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_valid(name: str) -> None:
    errors = [
        f"{error.json_path}: {error.message}" for error in Draft202012Validator(SCHEMA).iter_errors(LAYOUTS[name])
    ]

    assert errors == []
    assert LAYOUTS[name]["peft_type"] == name
    assert LAYOUTS[name]["$schema"] == SCHEMA["$id"]


def test_a_member_that_is_misspelt_is_no_layout() -> None:
    validator = Draft202012Validator(SCHEMA)
    sound = LAYOUTS["LORA"]
    kind = {**sound["kinds"][-1], "relation": {}}
    role = {"suffix": "lora_A.weight", "purpose": "down projection", "declaredby": {}}

    assert validator.is_valid(sound)
    assert not validator.is_valid({**sound, "target": {}})
    assert not validator.is_valid({**sound, "kinds": [kind]})
    assert not validator.is_valid({**sound, "roles": {"lora_A": role}})


@pytest.mark.parametrize("name", LAYOUTS)
def test_symbols_are_explained_and_used(name: str) -> None:
    layout = LAYOUTS[name]

    assert symbols_used(layout) == set(layout["symbols"])
    assert set(layout["symbols"]).isdisjoint({*FUNCTIONS, *REDUCTIONS, *UNITS, *OF_NUMBERED_TENSORS})


@pytest.mark.parametrize("name", LAYOUTS)
def test_fields_exist(name: str) -> None:
    assert fields_used(LAYOUTS[name]) - set(fields_of(name)) == set()


@pytest.mark.parametrize("name", LAYOUTS)
def test_roles_stand_in_kinds_of_their_scope(name: str) -> None:
    layout = LAYOUTS[name]
    kinds = [(kind.get("scope", "module"), kind) for kind in layout["kinds"]]
    in_kinds = {(role, scope) for scope, kind in kinds for role in (*kind["shapes"], *kind.get("always", ()))}
    selecting = [kind.get("select", {}) for _, kind in kinds]
    selected = {role for select in selecting for group in select.get("any_role_of_each", ()) for role in group}
    selected |= {
        role for select in selecting for word in ("role_dimensions", "role_shapes") for role in select.get(word, ())
    }

    assert {(role, data.get("scope", "module")) for role, data in layout["roles"].items()} == in_kinds
    assert selected <= set(layout["roles"])


@pytest.mark.parametrize("name", LAYOUTS)
def test_names_of_kinds_and_suffixes_are_unique(name: str) -> None:
    kinds = [kind["name"] for kind in LAYOUTS[name]["kinds"]]
    spellings = [
        (suffix, role.get("scope", "module"))
        for role in LAYOUTS[name]["roles"].values()
        for suffix in (role["suffix"], *role.get("also_read", ()))
    ]

    assert len(set(kinds)) == len(kinds)
    assert len(set(spellings)) == len(spellings)


def test_every_method_of_the_newest_release_has_a_layout() -> None:
    methods = load_schema("peft_releases")["methods"]
    newest = {name for name, method in methods.items() if "until" not in method}

    assert sorted(newest - {layout.peft_type for layout in known_layouts()}) == []
