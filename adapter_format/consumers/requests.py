"""Consumers as callers name them: `peft` for the newest release that is known here, or `peft==0.13.2`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from adapter_format.consumers import peft
from adapter_format.consumers.history import newest, releases
from adapter_format.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from adapter_format.consumers.held import Held
    from adapter_format.outcomes import Outcome


class Consumer(NamedTuple):
    """A program that loads adapters.

    Attributes:
        versions: its releases that are known here, in order.
        newest: the one that is meant when none is named.
        judge: tells what a release does with an adapter.
    """

    versions: Callable[[], tuple[str, ...]]
    newest: Callable[[], str]
    judge: Callable[[str, Held], Outcome]


CONSUMERS = {peft.NAME: Consumer(releases, newest, peft.outcome_in)}


class Request(NamedTuple):
    """One release of one consumer that a caller asks about."""

    name: str
    version: str

    def judge(self, held: Held) -> Outcome:
        """Tell what it does with an adapter."""
        return CONSUMERS[self.name].judge(self.version, held)


def read_requests(texts: Iterable[str]) -> tuple[Request, ...]:
    """Read `NAME` or `NAME==VERSION`, each once, in the order of the texts.

    Raises:
        UsageError: a name or a version is not known, or the text has another form.
    """
    return tuple(dict.fromkeys(read_request(text) for text in texts))


def read_request(text: str) -> Request:
    """Read one text as `read_requests` does."""
    name, sign, version = (part.strip() for part in text.partition("=="))
    consumer = CONSUMERS.get(name.lower())
    if consumer is None:
        if _OTHER_FORM.match(name):
            raise UsageError(f"A consumer is written NAME==VERSION, such as {_EXAMPLE}; found {text[:80]!r}.")
        known = ", ".join(CONSUMERS)
        raise UsageError(f"No consumer is called {name[:80]!r}; known here: {known}.")
    if not sign:
        return Request(name.lower(), consumer.newest())
    if not version:
        raise UsageError(f"A consumer is written NAME==VERSION, such as {_EXAMPLE}; found {text[:80]!r}.")
    if version not in consumer.versions():
        near = _nearest_version(version, consumer.versions())
        first, last = consumer.versions()[0], consumer.versions()[-1]
        hint = f"did you mean {near}?" if near else f"those known are from {first} to {last}."
        raise UsageError(f"{name} has no release {version[:80]!r} that is known here; {hint}")
    return Request(name.lower(), version)


_EXAMPLE = "peft==0.13.2"
_OTHER_FORM = re.compile(rf"(?i)(?:{'|'.join(CONSUMERS)})\s*(?:[<>=!~@-]|v?\d)|v?\d")
"""A known name with another sign than `==`, or a bare version."""


def _nearest_version(version: str, known: tuple[str, ...]) -> str | None:
    """Return the last release of the series that a version belongs to: of 0.13 and 0.13.9, 0.13.2."""
    plain = version.lower().removeprefix("v")
    if plain in known:
        return plain
    series = ".".join(plain.split(".")[:2]) + "."
    return next((one for one in reversed(known) if one.startswith(series)), None)
