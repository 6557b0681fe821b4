"""The releases of PEFT: which methods and fields each knows, and which of them can have written a config."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.packaged import load_schema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_NEVER_WRITTEN = frozenset({"runtime_config"})


class Span(NamedTuple):
    """Releases from the first to the last, both included."""

    first: str
    last: str


def span_words(spans: Iterable[Span]) -> str:
    """Say ranges of releases in words."""
    return ", ".join(span.first if span.first == span.last else f"{span.first} to {span.last}" for span in spans)


def releases() -> tuple[str, ...]:
    """Return every release of PEFT that is known here, in order."""
    return tuple(_history()["releases"])


def newest() -> str:
    """Return the newest release that is known here."""
    found: str = load_schema("adapter_config")["x-peft-newest"]
    return found


def _history() -> dict[str, Any]:
    return load_schema("peft_releases")


@functools.cache
def _number(release: str) -> tuple[int, ...]:
    return tuple(map(int, release.split(".")))


def is_within(release: str, limits: Mapping[str, str]) -> bool:
    """Whether a release lies from `since` to `until` of `limits`; without one of them there is no such limit."""
    number = _number(release)
    return ("since" not in limits or _number(limits["since"]) <= number) and (
        "until" not in limits or number <= _number(limits["until"])
    )


def methods_at(release: str) -> frozenset[str]:
    """Return the values of `peft_type` that a release knows."""
    return frozenset(name for name, method in _history()["methods"].items() if is_within(release, method))


@functools.cache
def fields_at(method: str, release: str) -> frozenset[str]:
    """Return the fields that a release knows of a method; none if it does not know the method."""
    history = _history()
    entry = history["methods"].get(method)
    if entry is None or not is_within(release, entry):
        return frozenset()
    known = {**history["common"], **entry["fields"]}
    return frozenset(name for name, field in known.items() if is_within(release, field))


def written_by(config: Mapping[str, Any]) -> Span | None:
    """Tell which releases can have written a config.

    Every release writes all fields that it knows and no other, and since 0.18 its own number too.

    Returns:
        The first and the last release that can be meant, or None if none writes such a config: another program did,
        or somebody edited it.
    """
    stamp = config.get("peft_version")
    if isinstance(stamp, str):
        release = stamp.partition("@")[0].partition(".dev")[0]
        return Span(release, release) if release in releases() else None
    method = config.get("peft_type")
    if not isinstance(method, str):
        return None
    # What no release knows was added by somebody, and tells nothing of the release.
    ever = frozenset().union(*(fields_at(method, release) for release in releases()))
    held = ever & set(config) - _NEVER_WRITTEN
    found = [release for release in releases() if held and fields_at(method, release) - _NEVER_WRITTEN == held]
    return Span(found[0], found[-1]) if found else None
