"""What a program that loads adapters does with one, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapter_format.findings import Location

Word = Literal["ok", "warns", "drops", "unknown", "wrong", "rejects"]
WORDS: tuple[Word, ...] = ("ok", "warns", "drops", "unknown", "wrong", "rejects")
"""From best to worst. `drops`: loads the same, but loses something that it was told; `wrong`: loads it, computes
something else than was saved."""

RIGHT: frozenset[Word] = frozenset(("ok", "warns", "drops"))
"""The outcomes after which the model computes what was saved."""

Kind = Literal["method", "field", "value", "layout", "defect"]


class Reason(NamedTuple):
    """One thing that makes an outcome what it is.

    Attributes:
        outcome: what it comes to by itself.
        kind: what the program does not know, or reads otherwise: a method, a field, a value or a layout; or `defect`,
            for what is wrong with the adapter whoever reads it.
        message: one sentence.
        location: where in the adapter it is.
        mend: what to do, one sentence; empty if there is nothing but another release.
        field: the field that could be dropped without a change of the result; empty for anything else.
        suspicion: how much an outcome that is not known deserves to be told; empty for not at all.
    """

    outcome: Word
    kind: Kind
    message: str
    location: Location
    mend: str = ""
    field: str = ""
    suspicion: Literal["", "info", "warning"] = ""


class Outcome(NamedTuple):
    """What one release of one program does with an adapter.

    Attributes:
        name: the program.
        version: its release.
        outcome: the worst of the reasons, or `ok`.
        reasons: the worst first.
    """

    name: str
    version: str
    outcome: Word
    reasons: tuple[Reason, ...] = ()


def outcome_of(name: str, version: str, reasons: Iterable[Reason]) -> Outcome:
    """Put reasons together to an outcome."""
    ordered = tuple(sorted(reasons, key=lambda reason: -WORDS.index(reason.outcome)))
    return Outcome(name, version, ordered[0].outcome if ordered else "ok", ordered)
