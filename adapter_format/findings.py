"""Findings and the report that carries them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from adapter_format.outcomes import Outcome

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")

PeftBehaviour = Literal["raises", "warns", "silent-wrong", "silent-ok", "unknown"]
Level = Literal["header", "data"]


class Location(NamedTuple):
    """Where a finding is.

    Attributes:
        file: path relative to the adapter, or None for the directory as a whole.
        tensor: key on disk.
        pointer: JSON pointer (RFC 6901) into the JSON of `file`.
        offset: absolute byte offset in `file`.
        line: line in a text file, counted from 1.
    """

    file: str | None = None
    tensor: str | None = None
    pointer: str | None = None
    offset: int | None = None
    line: int | None = None


class Finding(NamedTuple):
    """One violation of a rule; one cause that hits many places is one finding with all of them.

    Attributes:
        rule: id such as `AF301`.
        name: slug such as `key-prefix-missing`.
        severity: `error`, `warning` or `info`.
        message: one sentence: what was found and what was expected.
        mend: one sentence: what to do.
        places: every place, in file order; never empty.
        occurrences: how often the cause was met; several places may concern one (`count` in JSON).
        peft: what the newest PEFT does with it, as measured.
        fixable: whether `fix` can mend it.
    """

    rule: str
    name: str
    severity: Severity
    message: str
    mend: str
    places: tuple[Location, ...]
    occurrences: int
    peft: PeftBehaviour
    fixable: bool = False

    @property
    def location(self) -> Location:
        """The first place."""
        return self.places[0]


class Unchecked(NamedTuple):
    """Something that this run did not look at, and how to have it checked."""

    what: str
    why: str


class Summary(NamedTuple):
    """Figures of one adapter; None where damage makes a figure meaningless.

    Attributes:
        tensors: number of stored tensors.
        parameters: number of stored elements.
        bytes: bytes of tensor data.
        expected_bytes: bytes that the size formula predicts for the adapter tensors and their declared companions.
        ranks: the distinct ranks, ascending.
        dtypes: the distinct element types, most bytes first.
        modules: number of adapted modules.
        fingerprint: `sha256:` of config bytes and weights header: identical headers, identical fingerprint.
    """

    tensors: int | None = None
    parameters: int | None = None
    bytes: int | None = None
    expected_bytes: int | None = None
    ranks: tuple[int, ...] = ()
    dtypes: tuple[str, ...] = ()
    modules: int | None = None
    fingerprint: str | None = None


class Report(NamedTuple):
    """The verdict on one adapter.

    Attributes:
        path: the path as the caller gave it.
        peft_type: the method the config names, or None.
        level: `header`, or `data` when tensor values were read as well.
        findings: silent errors first, then by severity and rule id.
        unchecked: what this run did not look at.
        summary: figures of the adapter.
        consumers: what each program that was asked about does with it, in the order in which they were named.
    """

    path: str
    peft_type: str | None
    level: Level
    findings: tuple[Finding, ...] = ()
    unchecked: tuple[Unchecked, ...] = ()
    summary: Summary = Summary()
    consumers: tuple[Outcome, ...] = ()

    @property
    def ok(self) -> bool:
        """True when no finding is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def number(self, severity: Severity) -> int:
        """Number of findings of one severity."""
        return sum(finding.severity == severity for finding in self.findings)
