"""What a release of PEFT does with an adapter, from `schemas/consumers/peft.json` and the release history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.conditions import is_set
from adapter_format.config import CONFIG_NAME, WEIGHTS_NAME
from adapter_format.config_fields import fields_of, known_peft_types, value_since
from adapter_format.consumers.held import Held
from adapter_format.consumers.history import Span, fields_at, is_within, methods_at, newest, releases
from adapter_format.consumers.matching import Patterns, Sizes, layer_number, sizes
from adapter_format.consumers.signs import patterns_of, places_of
from adapter_format.findings import Location
from adapter_format.module_values import STEPS_FOR_ALL_PATHS
from adapter_format.outcomes import RIGHT, Outcome, Reason, Word, outcome_of
from adapter_format.packaged import load_schema
from adapter_format.pattern_budget import Budget
from adapter_format.patterns import PatternError, PatternTooCostly
from adapter_format.schema_words import pointer_of, short_value
from adapter_format.targets import target_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from adapter_format.tensors import TensorInfo

NAME = "peft"


def outcome(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo] | None, release: str) -> Outcome:
    """Tell what a release of PEFT does with an adapter.

    Args:
        config: its config.
        tensors: its stored tensors by key; None if they are not known, which leaves some questions open.
        release: one of `history.releases()`.
    """
    return outcome_in(release, Held(config, tensors))


def outcome_in(release: str, held: Held) -> Outcome:
    """Tell what a release of PEFT does with an adapter."""
    if held.method not in methods_at(release):
        return outcome_of(NAME, release, [_unknown_method(held, release)])
    reasons = [
        *_unknown_fields(held, release),
        *_unknown_values(held, release),
        *layout_reasons(held, release),
    ]
    return outcome_of(NAME, release, reasons)


def loading_ranges(held: Held) -> tuple[Span, ...] | None:
    """Return the ranges of releases that load an adapter right, in order; None if that can't be told of any."""
    outcomes = [(release, outcome_in(release, held).outcome) for release in releases()]
    ranges: list[Span] = []
    last_was_right = False
    for release, word in outcomes:
        right = word in RIGHT
        if right and last_was_right:
            ranges[-1] = Span(ranges[-1].first, release)
        elif right:
            ranges.append(Span(release, release))
        last_was_right = right
    if not ranges and any(word == "unknown" for _, word in outcomes):
        return None
    return tuple(ranges)


def loading_range(config: Mapping[str, Any], tensors: Mapping[str, TensorInfo] | None) -> Span | None:
    """Return the oldest and newest of the latest releases in a row that load an adapter right; None if none does."""
    ranges = loading_ranges(Held(config, tensors))
    return ranges[-1] if ranges else None


def _facts() -> dict[str, Any]:
    return load_schema("consumers/peft")


def _unknown_method(held: Held, release: str) -> Reason:
    if held.config.get("peft_type") is None:
        text = f"PEFT {release} stops: the field `peft_type`, which names the method, is missing."
        return Reason("rejects", "method", text, Location(CONFIG_NAME, pointer=""), _MEND_NO_METHOD)
    name = short_value(held.config.get("peft_type")).strip('"')
    known = known_peft_types().get(held.method)
    if known is None:
        text = f"PEFT {release} does not know the method `{name}`, as no release does."
    elif known.until is not None:
        text = f"PEFT {release} does not know the method `{name}`, which PEFT {known.since} to {known.until} have."
    else:
        text = f"PEFT {release} does not know the method `{name}`, which came with PEFT {known.since}."
    mend = _facts()["retired"].get(held.method, "")
    return Reason("rejects", "method", text, Location(CONFIG_NAME, pointer="/peft_type"), mend)


_MEND_NO_METHOD = "Add `peft_type` with the method that the adapter was trained with."


_NOBODYS = "no release knows it"


class UnknownField(NamedTuple):
    """A field that a release does not know.

    Attributes:
        name: the field.
        since: words on when it came, to go on with a comma; empty if no release knows it, or it is gone.
        effect: what becomes of an adapter whose reader does not look at it; `ok` if nothing does.
        why: the reason, as words that go on from a colon.
    """

    name: str
    since: str
    effect: Word
    why: str


def unknown_fields(held: Held, release: str) -> Iterator[UnknownField]:
    """Yield the fields of a config that a release does not know."""
    known_here, known = fields_at(held.method, release), fields_of(held.method)
    for name, value in held.config.items():
        if name in known_here:
            continue
        field = known.get(name)
        since = f", which came with PEFT {field.since}" if field is not None and field.until is None else ""
        if field is None:
            yield UnknownField(name, since, "drops", _NOBODYS)
        elif means_default(value, field.default):
            yield UnknownField(name, since, "ok", "its value is the default")
        else:
            yield UnknownField(name, since, *_effect(name, held))


def _unknown_fields(held: Held, release: str) -> Iterator[Reason]:
    does = next(entry["does"] for entry in _facts()["unknown_fields"]["regimes"] if is_within(release, entry))
    for name, since, effect, why in unknown_fields(held, release):
        shown = short_value(name).strip('"')
        place = Location(CONFIG_NAME, pointer=pointer_of([name]))
        droppable = name if effect == "ok" else ""
        if does == "raises":
            mend = f"Remove it: {why}." if droppable or why == _NOBODYS else ""
            yield Reason(
                "rejects", "field", f"PEFT {release} stops at the field `{shown}`{since}.", place, mend, droppable
            )
        elif effect != "ok":
            yield Reason(effect, "field", f"PEFT {release} {does} the field `{shown}`{since}: {why}.", place)
        elif does == "drops":
            text = f"PEFT {release} drops the field `{shown}`{since}, with a warning: {why}."
            yield Reason("warns", "field", text, place, "", droppable)


def _effect(name: str, held: Held) -> tuple[Word, str]:
    for entry in _facts()["unknown_fields"]["effects"]:
        concerned = name in entry["fields"] and held.method in entry.get("methods", (held.method,))
        if concerned and held.meets(entry.get("when", {})):
            return entry["outcome"], entry["why"]
    return "wrong", "what it says is part of what the adapter computes"


def means_default(value: object, default: object) -> bool:
    """Whether a value means the same as the default: equal, or both nothing, such as null and false."""
    if isinstance(value, bool) is isinstance(default, bool) and value == default:
        return True
    return not is_set(value) and not is_set(default)


def _unknown_values(held: Held, release: str) -> Iterator[Reason]:
    for name in fields_at(held.method, release) & held.config.keys():
        value = held.config[name]
        since = value_since(name, held.method, value)
        if since is None or is_within(release, {"since": since}):
            continue
        place = Location(CONFIG_NAME, pointer=pointer_of([name]))
        text = f"PEFT {release} does not know the value {short_value(value)} of `{name}`, which came with PEFT {since}"
        for entry in _facts()["values"]:
            if entry["field"] == name and is_within(release, entry) and held.meets(entry.get("when", {})):
                yield Reason(entry["outcome"], "value", f"{text}: {entry['why']}.", place)
                break
        else:
            yield Reason("unknown", "value", f"{text}.", place)


def layout_reasons(held: Held, release: str) -> Iterator[Reason]:
    """Yield what a release reads otherwise than the one that wrote the adapter."""
    yield from _changes(held, release)
    yield from _container(held, release)
    yield from _patterns(held, release)
    yield from _layers(held, release)


def _changes(held: Held, release: str, *, all_of_them: bool = True) -> Iterator[Reason]:
    for change in _facts()["changes"]:
        if held.method not in change["methods"] or not is_within(release, change["read"]):
            continue
        if "checked_by" in change and not all_of_them:
            continue
        places = places_of(change, held)
        if places and _was_written_within(change.get("written"), held):
            kind = change.get("kind", "layout")
            mend, suspicion = change.get("mend", ""), change.get("suspicion", "")
            yield Reason(change["outcome"], kind, change["why"], places[0], mend, suspicion=suspicion)


def _was_written_within(limits: Mapping[str, str] | None, held: Held) -> bool:
    return limits is None or (is_within(held.writer.first, limits) and is_within(held.writer.last, limits))


def _container(held: Held, release: str) -> Iterator[Reason]:
    reads = next(entry["reads"] for entry in _facts()["containers"] if is_within(release, entry))
    if held.containers and held.containers.isdisjoint(reads):
        text = f"PEFT {release} reads `adapter_model.bin` only."
        yield Reason("rejects", "layout", text, Location(WEIGHTS_NAME))


_OTHER_SIZES: tuple[tuple[str, Word], ...] = (("rank", "rejects"), ("alpha", "wrong"))
"""What PEFT makes of a module whose rank, or whose alpha, it finds to be another, in the order of `Sizes`."""


def _patterns(held: Held, release: str) -> Iterator[Reason]:
    """Compare ranks and alphas as the writer found them with those that a release finds."""
    patterns = patterns_of(held)
    if patterns is None or not (patterns.ranks or patterns.alphas):
        return
    regimes = _facts()["pattern_regimes"][held.method]["regimes"]
    reader = next(entry for entry in regimes if is_within(release, entry))
    writer = next(entry for entry in regimes if is_within(held.writer.last, entry))
    if reader == writer:
        return
    places = [
        Location(CONFIG_NAME, pointer=f"/{name}")
        for name in ("rank_pattern", "alpha_pattern")
        if is_set(held.config.get(name))
    ]
    meant, found = (_sizes(held, patterns, regime["choice"], regime["matching"]) for regime in (writer, reader))
    if not held.paths or meant is None or found is None:
        text = f"{reader['why']}; whether that changes anything depends on the modules."
        yield Reason("unknown", "layout", text, places[0])
        return
    for index, (what, word) in enumerate(_OTHER_SIZES):
        other = [path for path in meant if meant[path][index] != found[path][index]]
        if other:
            path = other[0]
            text = (
                f"{reader['why']}: the {what} of `{path}` is then {short_value(found[path][index])}, "
                f"not {short_value(meant[path][index])}."
            )
            yield Reason(word, "layout", text, places[-index])


def _sizes(held: Held, patterns: Patterns, choice: str, matching: str) -> dict[str, Sizes] | None:
    return held.once(("sizes", choice, matching), lambda: sizes(patterns, held.paths, choice, matching))


def _layers(held: Held, release: str) -> Iterator[Reason]:
    """Find modules that hold tensors, but that a release does not count to the layers to transform."""
    regime = _layer_regime(release)
    field = held.layout.targets.get("layers", "") if held.layout is not None else ""
    if regime is None or field not in fields_at(held.method, release):
        return
    lost = _lost_modules(held, regime["counts"])
    if lost:
        key = next((key for key in held.tensors or () if key.startswith(f"{held.prefix}{lost[0]}.")), None)
        text = f"{regime['why']}: `{lost[0]}` is in none of those that `{field}` names."
        yield Reason("wrong", "layout", text, Location(WEIGHTS_NAME, tensor=key))


def _layer_regime(release: str) -> dict[str, Any] | None:
    return next((entry for entry in _facts()["layer_regimes"] if is_within(release, entry)), None)


_MOST_LAYER_NAMES = 64
"""Names of lists of layers that are followed; a model has one or two."""


def _lost_modules(held: Held, counts: str) -> list[str]:
    """Return the modules that lie in no layer to transform, as one way of counting them has it."""
    settings = target_settings(held.layout, held.config) if held.layout is not None else {}
    wanted, targets, names = (settings.get(name) for name in ("layers", "modules", "layers_pattern"))
    numbers = [wanted] if isinstance(wanted, int) else wanted
    if not isinstance(numbers, list) or not numbers or not isinstance(targets, list):
        return []
    several = names if isinstance(names, list) else [names]
    listed = tuple(name for name in several if isinstance(name, str))
    if len(listed) > _MOST_LAYER_NAMES:
        return []
    budget, named = Budget(STEPS_FOR_ALL_PATHS), frozenset(name for name in targets if isinstance(name, str))
    try:
        return [
            path
            for path in held.modules
            if path not in named and layer_number(path, listed, counts, budget) not in numbers
        ]
    except (PatternError, PatternTooCostly):
        return []  # the pattern itself is a finding, AF325 or AF326


def checked_elsewhere() -> frozenset[str]:
    """Return the ids of rules that find changes between releases by themselves."""
    return frozenset(change["checked_by"] for change in _facts()["changes"] if "checked_by" in change)


def has_other_layout(held: Held) -> bool:
    """Whether keys and shapes are those of an older release, which the layout of today knows nothing of."""
    return any(
        change.get("other_layout") and held.method in change["methods"] and bool(places_of(change, held))
        for change in _facts()["changes"]
    )


def reasons_of_newest(held: Held) -> Iterator[Reason]:
    """Yield what the newest release can't read any more, or reads otherwise than the one that wrote the adapter.

    What a rule of its own checks, and what the config alone says wrong, is left to those rules.
    """
    known = known_peft_types().get(held.method)
    if known is not None and known.until is not None:
        yield _unknown_method(held, newest())
    elif known is not None:
        yield from (reason for reason in _changes(held, newest(), all_of_them=False) if reason.kind == "layout")
        yield from _patterns(held, newest())
        if is_set(held.config.get("layers_to_transform")):
            written = _layer_regime(held.writer.last)
            if written is not None and not _lost_modules(held, written["counts"]):
                yield from _layers(held, newest())
