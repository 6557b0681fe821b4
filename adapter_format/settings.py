"""What a caller says of an adapter that is not there yet: its method and its settings, refused if they can't be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter_format.config_fields import fields_of, nearest_field, nearest_method
from adapter_format.errors import UsageError
from adapter_format.layouts import layout_names, layout_of
from adapter_format.schema_check import float_integers, is_valid, violations

if TYPE_CHECKING:
    from collections.abc import Mapping

    from adapter_format.layouts import Layout


def layout_named(method: str) -> Layout:
    """Return the layout of a method that a caller names.

    Raises:
        UsageError: there is none; the message names the method that is meant, if it is near.
    """
    layout = layout_of(method)
    if layout is None:
        near = nearest_method(method, layout_names())
        hint = f"; did you mean {near!r}?" if near else "."
        raise UsageError(f"No layout is known for the method {method[:80]!r}{hint}")
    return layout


def check_settings(layout: Layout, settings: Mapping[str, Any]) -> None:
    """Check the names and the values of config fields that a caller sets.

    Raises:
        UsageError: the method has no such field, or the value is none that the schema allows.
    """
    known = fields_of(layout.peft_type)
    for name in settings:
        if name not in known:
            near = nearest_field(name, layout.peft_type)
            hint = f"did you mean `{near}`?" if near else "see `adapter-format schema adapter_config`."
            raise UsageError(f"{layout.title} has no config field {name[:80]!r}; {hint}")
    config = {**settings, "peft_type": layout.peft_type}
    broken = next(float_integers(config), None)
    if broken is None and not is_valid(config):
        broken = next(violations(config), None)
    if broken is not None:
        raise UsageError(broken.message)
