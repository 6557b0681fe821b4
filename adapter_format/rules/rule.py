"""What a rule is. Each is declared once, beside its check; everything else that speaks of it is computed from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from adapter_format.findings import Finding, Location, PeftBehaviour, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from adapter_format.rules.edits import Mutation


class Rule(NamedTuple):
    """One checkable statement of the specification.

    Attributes:
        id: `AF` and three digits, never reused.
        slug: name in kebab case.
        severity: follows from what PEFT does with the defect (see the specification, Conformance).
        clause: the clause of the specification that it checks.
        title: the defect in a few words.
        why: what goes wrong for whom.
        mend: what to do about it.
        peft: what the newest PEFT does with its first mutation, measured by the oracle.
        mutations: minimal pairs that break exactly this rule.
        quotes: texts that loaders print for it.
        pains: entries of the project's list of user pains.
        level: `header` or `data`.
        note: what else a reader should know: other loaders, releases, limits.
        undecided: what only the base or the training run could tell about it; goes into the report's `unchecked`.
        fixable: whether `fix` can make the mend.
    """

    id: str
    slug: str
    severity: Severity
    clause: str
    title: str
    why: str
    mend: str
    peft: PeftBehaviour
    mutations: tuple[Mutation, ...]
    quotes: tuple[str, ...] = ()
    pains: tuple[str, ...] = ()
    level: str = "header"
    note: str = ""
    undecided: str = ""
    fixable: bool = False

    def finding(
        self, message: str, places: Iterable[Location], *, mend: str | None = None, severity: Severity | None = None
    ) -> Finding:
        """Make a finding of this rule; `places` must not be empty."""
        where = tuple(places)
        return Finding(
            self.id,
            self.slug,
            severity or self.severity,
            message,
            mend or self.mend,
            where,
            len(where),
            self.peft,
            self.fixable,
        )
