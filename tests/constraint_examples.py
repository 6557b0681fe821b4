"""The examples of `tests/data/method_constraint_examples.json`: one for every constraint of every method but LoRA.

`adapters` holds the fields of a small adapter of each method. An example adds `valid` to them, and breaks its
constraint with `broken`. One of `shared` serves all methods that have the constraint, unless `for` names the method.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from adapter_format.constraints import Constraint, constraints_of

_DATA: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "method_constraint_examples.json").read_text(encoding="utf-8")
)

ADAPTERS: dict[str, dict[str, Any]] = _DATA["adapters"]
METHODS = tuple(ADAPTERS)
EXPERT = "<lora>"
"""Stands in a config for the folder of a LoRA adapter: X-LoRA mixes those."""
SHARED: dict[str, Any] = _DATA["shared"]
OWN: dict[str, dict[str, Any]] = _DATA["own"]


class Example(NamedTuple):
    """A constraint with an adapter that keeps it, and what breaks it.

    Attributes:
        how: `edited`: the config is changed after saving; `written`: an adapter is made so; `unmeasured`.
        removed: fields taken out of the config, beside the changes of `broken`.
        also: ids of constraints that the valid adapter breaks all the same.
    """

    peft_type: str
    constraint: Constraint
    base: str
    how: str
    valid: dict[str, Any]
    broken: dict[str, Any]
    removed: list[str]
    also: list[str]

    @property
    def name(self) -> str:
        return f"{self.peft_type}-{self.constraint.id}"


def examples() -> Iterator[Example]:
    """Yield the example of every constraint; KeyError if a constraint has none."""
    for peft_type in METHODS:
        for constraint in constraints_of(peft_type):
            own = OWN.get(peft_type, {})
            data = own[constraint.id] if constraint.id in own else SHARED[constraint.id]
            data = {**data, **data.get("for", {}).get(peft_type, {})}
            yield Example(
                peft_type,
                constraint,
                data.get("base", "tiny_llama"),
                data.get("how", "edited"),
                {**ADAPTERS[peft_type], **data["valid"]},
                data["broken"],
                data.get("removed", []),
                data.get("also", []),
            )
