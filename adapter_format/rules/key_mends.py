"""What to do about misspelt keys and what PEFT does with them, where the keys in question make a difference."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter_format import keys as spelling
from adapter_format.layouts import MODEL_PREFIX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from adapter_format.anatomy import Misspelling
    from adapter_format.findings import PeftBehaviour

_MOST_FRONTS = 3
_RENAME = "Rename the keys; the tensor bytes stay as they are."


def mend_of(fault: str, found: Sequence[Misspelling]) -> str | None:
    """Say how the keys of a finding become right; None where the rule's own words say it."""
    if fault == spelling.ADAPTER_NAME and any(_is_renamed(item) for item in found):
        return "Rename the keys, or save with `adapter_format.extract_adapter`."
    if fault not in (spelling.PREFIX_MISSING, spelling.PREFIX_DOUBLED):
        return None
    examples: dict[tuple[str, str], str] = {}
    for item in found:
        examples.setdefault(_fronts(item), item.key)
    if len(examples) > _MOST_FRONTS:
        return _RENAME
    several = len(examples) > 1
    steps = [_step(*fronts, f"keys like {key!r}" if several else "each key") for fronts, key in examples.items()]
    return f"{'; '.join(steps)}; the tensor bytes stay as they are."


def behaviour_of(fault: str, found: Sequence[Misspelling]) -> PeftBehaviour | None:
    """Say what the newest PEFT does with the keys of a finding; None where it is what the rule says."""
    if any(not item.canonical.startswith(MODEL_PREFIX) for item in found):
        return "unknown"  # of a prompt under a prefix, some methods read it and some raise
    return "warns" if fault == spelling.ADAPTER_NAME and any(_is_renamed(item) for item in found) else None


def _is_renamed(misspelling: Misspelling) -> bool:
    """Whether another name belongs in the place of the one that was left in a key."""
    return misspelling.key.count(".") == misspelling.canonical.count(".")


def _fronts(misspelling: Misspelling) -> tuple[str, str]:
    """Return in what a key and its right spelling differ in front of what they share."""
    key, right = misspelling.key.split("."), misspelling.canonical.split(".")
    while key and right and key[-1] == right[-1]:
        key.pop()
        right.pop()
    return ".".join([*key, ""]), ".".join([*right, ""])


def _step(stored: str, right: str, where: str) -> str:
    if not stored:
        return f"Put `{right}` in front of {where}"
    return f"Replace `{stored}` by `{right}` in {where}" if right else f"Remove `{stored}` from the front of {where}"
