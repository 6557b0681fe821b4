"""The one family of errors that this package raises on purpose."""

from __future__ import annotations


class AdapterFormatError(Exception):
    """Root of every error that Adapter Format raises; its text is one clear sentence for the user."""


class UsageError(AdapterFormatError):
    """The call itself was wrong: an argument, an option, a path that does not exist."""


class UnreadableAdapterError(AdapterFormatError):
    """The adapter can't be read: a part is missing or so damaged that no value would be right."""


class RefusedError(AdapterFormatError):
    """What was asked would write a checkpoint that `validate` calls an error.

    Attributes:
        findings: the error-level findings, most important first.
    """

    def __init__(self, message: str, findings: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.findings = findings
