"""Fit a config to an older release of a consumer: drop what it does not know, where nothing changes by that."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adapter_format.consumers.peft import outcome_in, unknown_fields
from adapter_format.repair.config_text import without_fields

if TYPE_CHECKING:
    from adapter_format.consumers.held import Held
    from adapter_format.consumers.requests import Request
    from adapter_format.outcomes import Reason


class Retargeting(NamedTuple):
    """What fitting a config to a release comes to.

    Attributes:
        dropped: the fields that would go, with the reason why nothing changes by that.
        obstacles: what can't be mended so: the release would still refuse the adapter, or read it wrong.
        text: the new text of the config; the old one if nothing would go.
    """

    dropped: dict[str, str]
    obstacles: tuple[Reason, ...]
    text: str


def retarget(held: Held, text: str, request: Request) -> Retargeting:
    """Compute how a config would be fitted to a release.

    Dropped are fields that the release does not know and that hold their defaults, and the number of the release that
    wrote the file. A field whose value counts is an obstacle, never dropped.

    Args:
        held: the adapter.
        text: the text of its config, from which `held.config` was read.
        request: the release.
    """
    dropped = {field.name: field.why for field in unknown_fields(held, request.version) if field.effect == "ok"}
    obstacles = tuple(
        reason
        for reason in outcome_in(request.version, held).reasons
        if reason.outcome in ("wrong", "rejects") and not reason.field
    )
    return Retargeting(dropped, obstacles, without_fields(text, frozenset(dropped)))
