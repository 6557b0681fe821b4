"""Config fields that a method does not have: misspelt, of another method, or of nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adapter_format.config_fields import methods_with, nearest_field

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence


class Unknown(NamedTuple):
    """One cause of unknown fields.

    Attributes:
        names: the fields.
        message: one sentence.
        mend: what to do, or None where no more can be said than for any unknown field.
        displaces: whether a field that the config lacks was meant, so that its default is used in its place.
    """

    names: Sequence[str]
    message: str
    mend: str | None
    displaces: bool


def explain(names: Sequence[str], config: Container[str], method: str, spelled: str) -> Iterator[Unknown]:
    """Say why a method does not have some fields; those of the method that the keys are of have one cause.

    Args:
        names: the unknown fields.
        config: all fields that were given.
        method: the method that the config names.
        spelled: the method that other keys are spelled as; "" if there are none.
    """
    owners = {name: methods_with(name) for name in names}
    meant = [name for name in names if spelled in owners[name]]
    if meant:
        shown = ", ".join(f"`{name}`" for name in meant)
        what = (
            f"the fields {shown}, which {method} does not have, are"
            if meant[1:]
            else f"{shown}, which {method} does not have, is"
        )
        text = f"Keys are spelled as {spelled} spells them, and {what} of {spelled} as well."
        yield Unknown(
            meant, text, f"Set `peft_type` to {spelled} if that is the method, or remove what it adds.", False
        )
    for name in names:
        if name not in meant:
            near = nearest_field(name, method)
            displaces = near is not None and near not in config
            # The field of another method is likely to be no misspelling, unless it stands in the place of one.
            told = near is not None and (displaces or not owners[name])
            mend = f"Did you mean `{near}`? Spell it so, or remove the field." if told else None
            yield Unknown([name], _sentence(name, method, owners[name]), mend, displaces)


def _sentence(name: str, method: str, owners: Sequence[str]) -> str:
    if not owners:
        return f"No release of PEFT knows the field `{_shortened(name)}`; it is dropped."
    more = f" and {len(owners) - 1} other methods have it" if owners[1:] else " has it"
    return f"{method} has no field `{name}`, {owners[0]}{more}; it is dropped."


def _shortened(name: str) -> str:
    return repr(name).strip("'") if len(name) < 50 else repr(name[:50]).strip("'") + "..."
