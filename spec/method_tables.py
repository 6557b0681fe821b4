"""The page about the methods, computed from the layouts, PEFT's releases, the goldens and the oracle's records."""

from __future__ import annotations

import collections
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tables import as_json, cell, code, selection, table
from tables import conditions as condition_words
from tables import product as format_product

from adapter_format.config_fields import known_peft_types
from adapter_format.layouts import BARE, CATEGORY, MODEL, MODEL_PREFIX, MODULE, Layout, known_layouts
from adapter_format.shapes import format_shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from adapter_format.layouts import Kind, Role

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / "tests" / "golden"
MUTATIONS = ROOT / "tests" / "oracle" / "method_behaviour.json"
RULES = ROOT / "tests" / "oracle" / "behaviour.json"

_KEYS = {
    MODULE: "`{prefix}` *module* `.{suffix}`",
    MODEL: f"`{MODEL_PREFIX}{{suffix}}`",
    CATEGORY: f"`{MODEL_PREFIX}{{suffix}}`",
    BARE: "`{suffix}`",
}


def overview() -> str:
    """Tabulate every method: releases, tensors, goldens, damages, and how PEFT and this project agree on them."""
    rows = []
    goldens, former, damages = _goldens(), _former_goldens(), _damages()
    for layout in known_layouts():
        method = known_peft_types()[layout.peft_type]
        own = goldens.get(layout.peft_type, [])
        tried = damages.get(layout.peft_type, collections.Counter())
        agreed = sum(count for what, count in tried.items() if what == "agrees")
        total = sum(tried.values())
        rows.append(
            (
                f"[{layout.peft_type}](#{layout.peft_type.lower()})",
                f"{method.since} to {method.until or 'newest'}",
                ", ".join(code(role.suffix) for role in _first(layout)),
                _share(own),
                _share(former.get(layout.peft_type, [])),
                f"{total:,}" if total else "-",
                f"{100 * agreed / total:.1f} %" if total else "-",
            )
        )
    head = ("method", "PEFT", "tensors", "goldens", "of old releases", "damages", "agreement with PEFT")
    return table(head, rows)


def _share(verdicts: list[str]) -> str:
    return f"{sum(verdict == 'same' for verdict in verdicts)} of {len(verdicts)}" if verdicts else "-"


def _former_goldens() -> Mapping[str, list[str]]:
    """Return the verdicts of the newest PEFT on the goldens that old releases wrote."""
    found: dict[str, list[str]] = {}
    for golden in json.loads((GOLDEN / "releases" / "manifest.json").read_text(encoding="utf-8"))["goldens"]:
        newest = list(golden["loads_in"].values())[-1]
        found.setdefault(golden["peft_type"], []).append(newest["verdict"])
    return found


def _first(layout: Layout) -> list[Role]:
    roles = list(layout.roles.values())
    return roles[:4]


def _goldens() -> Mapping[str, list[str]]:
    """Return the verdicts of the newest PEFT on the goldens of each method."""
    found: dict[str, list[str]] = {}
    for collection in ("lora", "methods"):
        manifest = json.loads((GOLDEN / collection / "manifest.json").read_text(encoding="utf-8"))
        for golden in manifest["goldens"]:
            method = golden.get("peft_type", "LORA")
            found.setdefault(method, []).extend(adapter["reload"] for adapter in golden["adapters"])
    return found


def _damages() -> Mapping[str, collections.Counter[str]]:
    """Count, of each method, the damages that PEFT is harmed by or warns of where the rule is an error."""
    if not MUTATIONS.exists():
        return {}
    record = json.loads(MUTATIONS.read_text(encoding="utf-8"))["methods"]
    found: dict[str, collections.Counter[str]] = {}
    for method, goldens in record.items():
        counter = found[method] = collections.Counter()
        for rules in goldens.values():
            for behaviour in rules.values():
                wrong = behaviour.startswith("error") and behaviour.endswith("same")
                counter["differs" if wrong else "agrees"] += 1
    found["LORA"] = _lora_mutations()
    return found


def _lora_mutations() -> collections.Counter[str]:
    """Count the mutations of the rules themselves, which are made on LoRA."""
    from adapter_format.rules.registry import find_rule

    record = json.loads(RULES.read_text(encoding="utf-8"))["rules"]
    counter: collections.Counter[str] = collections.Counter()
    for rule, mutations in record.items():
        for found in mutations.values():
            harmed = found["behaviour"] == "raises" or found["outputs"] == "differ"
            counter["differs" if find_rule(rule).severity == "error" and not harmed else "agrees"] += 1
    return counter


def chapters() -> str:
    """Write a section for each method."""
    return "\n\n".join("\n\n".join(_chapter(layout)) for layout in known_layouts())


def _chapter(layout: Layout) -> Iterator[str]:
    method = known_peft_types()[layout.peft_type]
    until = f" to {method.until}; later releases do not know it" if method.until else ""
    yield f"### {layout.peft_type}"
    yield f"{layout.title}, PEFT {method.since}{until}. {_targets(layout)} {_biases(layout)}{_scale(layout)}".rstrip()
    roles = (_role(layout, role) for role in layout.roles.values())
    yield table(("tensor", "key", "what it is", "required when", "holds"), roles)
    yield table(("kind", "applies when", "tensor and shape", "effect"), map(_kind(layout), layout.kinds))
    relations = {text: sentence for kind in layout.kinds for text, sentence in kind.relations.items()}
    if relations:
        yield "Between the sizes hold, as far as they are known:"
        yield "\n".join(f"- {code(text)}: {sentence}." for text, sentence in relations.items())
    yield table(("symbol", "meaning", "config"), (_symbol(layout, *entry) for entry in layout.symbols.items()))
    yield f"Elements of one module or set: {_size(layout)}."


def _targets(layout: Layout) -> str:
    if not layout.targets:
        return "It adapts no modules by name."
    return f"The config names the adapted modules in {code(layout.targets['modules'])}."


def _biases(layout: Layout) -> str:
    modes = layout.bias.get("modes", {})
    if not modes:
        return ""
    adapted = next((value for value, what in modes.items() if what == "adapted"), None)
    of_adapted = f", {as_json(adapted)} those of adapted modules" if adapted else ""
    return f'{code(layout.bias["field"])} "all" stores the biases of the base{of_adapted}. '


def _scale(layout: Layout) -> str:
    if not layout.scaling:
        return ""
    field = code(layout.scaling["numerator"]["field"])
    divisor = layout.scaling.get("divisor", "1")
    scale = field if divisor == "1" else f"{field} / ({code(divisor)})"
    root = layout.scaling.get("square_root")
    return f"The scale s is {scale}{f', or divided by the square root with {code(root)}' if root else ''}."


def _role(layout: Layout, role: Role) -> tuple[str, ...]:
    key = _KEYS[role.scope].format(prefix=layout.prefix, suffix=role.suffix)
    when = condition_words(role.declared_by) if role.declared_by else "its kind has it"
    if role.former:
        when = f"never; PEFT {role.former} wrote it, later releases read past it"
    if role.dtypes:
        holds = " or ".join(role.dtypes)
    else:
        holds = {"zeros": "zeros if untrained"}.get(
            role.untrained, "anything" if role.may_be_zero else "not only zeros"
        )
    return code(role.name), key, role.purpose, when, holds


def _kind(layout: Layout) -> Any:
    def row(kind: Kind) -> tuple[str, ...]:
        shapes = []
        for name, shape in kind.shapes.items():
            cases = kind.cases.get(name, (({}, shape),))
            for conditions, found in cases:
                when = f" when {condition_words(conditions)}" if conditions else ""
                shapes.append(f"{code(layout.roles[name].suffix)} {code(format_shape(found))}{when}")
        return code(kind.name), selection(kind.select), "; ".join(shapes), code(kind.delta) if kind.delta else "-"

    return row


def _symbol(layout: Layout, symbol: str, meaning: str) -> tuple[str, ...]:
    value = layout.values.get(symbol)
    if value is None:
        return code(symbol), meaning, "-"
    table_of = f", {code(value.pattern)}" if value.pattern else ""
    return code(symbol), meaning, f"{code(value.field)}{table_of}"


def _size(layout: Layout) -> str:
    parts = []
    for kind in layout.kinds:
        products = [format_product(format_shape(shape)) for shape in kind.shapes.values()]
        parts.append(f"{code(kind.name)} {cell(' + '.join(product or '1' for product in products))}")
    return "; ".join(parts)
