"""3xx: the regexes of the config: valid, bounded, matching, and independent of their order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter_format.config import CONFIG_NAME
from adapter_format.findings import Finding, Location
from adapter_format.layouts import auxiliary
from adapter_format.module_values import EXACT, MATCHING
from adapter_format.modules import regex_fields
from adapter_format.pattern_budget import Budget
from adapter_format.patterns import PatternError, PatternTooCostly, compile_pattern
from adapter_format.rules.edits import SetConfig, mutation
from adapter_format.rules.rule import Rule
from adapter_format.rules.targeting import saved_paths
from adapter_format.semantics import alpha_value
from adapter_format.targets import ENDINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from adapter_format.anatomy import Anatomy
    from adapter_format.checkpoint import Checkpoint
    from adapter_format.layouts import Value

PATTERN_UNMATCHED = Rule(
    "AF324", "pattern-matches-nothing", "warning", "CFG-10", "A rank or alpha pattern matches no stored module",
    "The entry has no effect; usually it is misspelt and the module gets another rank or scale than was meant.",
    "Correct the pattern, or remove it.", "warns",
    (mutation("patterns", SetConfig("/alpha_pattern/k_proj", 32)),),
    quotes=("did not match any",), pains=("P25",),
)  # fmt: skip
PATTERN_INVALID = Rule(
    "AF325", "pattern-not-a-regex", "error", "CFG-10", "A pattern is not a regex",
    "PEFT matches it with Python's `re` and stops.",
    "Correct the expression.", "raises",
    (mutation("patterns", SetConfig("/rank_pattern", {"q_proj": 2, "(": 4})),
     mutation("plain", SetConfig("/target_modules", "*.q_proj"), name="target"),
     mutation("layers", SetConfig("/layers_pattern", ["("]), name="layers")),
    quotes=("re.error", "missing ), unterminated subpattern", "nothing to repeat"), pains=("P14",),
)  # fmt: skip
PATTERN_TOO_COSTLY = Rule(
    "AF326", "pattern-too-costly", "error", "CFG-10", "A pattern whose matching may never end",
    "PEFT runs the expression over every module name; a hostile one keeps a process busy for ever.",
    "Write a list of names, or a simpler expression.", "unknown", (),
    note="Bounded here: the modules concerned are not checked against it, and `unchecked` says so.",
)  # fmt: skip
PATTERN_ORDER = Rule(
    "AF327", "pattern-order", "warning", "CFG-10", "Overlapping patterns whose order decides",
    "The first match wins, but PEFT's own writer sorts the entries: an adapter trained with another order is reloaded "
    "with another rank or scale.",
    "Write patterns that do not overlap, such as full module paths.", "silent-wrong",
    (mutation("plain", SetConfig("/alpha_pattern", {"layers.0.self_attn.q_proj": 16, "q_proj": 32}), SetConfig("/lora_alpha", 8)),),
    pains=("P05", "P25"),
    undecided="in which order overlapping patterns stood in training",
    note="Most often the stored order is the one of training: a warning.",
)  # fmt: skip

RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))

_STEPS_FOR_ALL_PAIRS = 4_000_000
_STEPS_OF_A_PAIR = 20


def check_patterns(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge every regex of the config: valid, bounded, matching, and independent of order."""
    config, layout, anatomy = checkpoint.config, checkpoint.layout, checkpoint.anatomy
    if config is None or layout is None:
        return
    paths = list(anatomy.modules) if anatomy is not None else []
    regexes = () if layout.targets.get("matching") == ENDINGS else ("modules", "excluded")
    for field in (layout.targets[name] for name in regexes if name in layout.targets):
        value = config.get(field)
        if isinstance(value, str) and value.lower() != "all-linear":
            yield from _check_pattern(value, Location(CONFIG_NAME, pointer=f"/{field}"), paths)
    for field in dict.fromkeys(regex_fields(layout)):
        value = config.get(field)
        if isinstance(value, str):
            yield from _check_pattern(value, Location(CONFIG_NAME, pointer=f"/{field}"), paths)
    listed = [layout.targets[name] for name in ("layers_pattern",) if name in layout.targets]
    for field in (*listed, auxiliary().saved_modules_field):
        value = config.get(field)
        for index, item in enumerate(value if isinstance(value, list) else [value]):
            if isinstance(item, str):
                pointer = f"/{field}/{index}" if isinstance(value, list) else f"/{field}"
                yield from _check_pattern(item, Location(CONFIG_NAME, pointer=pointer))
    alpha = alpha_value(layout)
    for value in (*layout.values.values(), *((alpha,) if alpha is not None else ())):
        patterns = config.get(value.pattern) if value.pattern else None
        if isinstance(patterns, dict):
            saved = saved_paths(anatomy) if anatomy is not None else []
            yield from _check_pattern_table(value, patterns, paths, saved, has_parameters=_has_parameters(anatomy))


def _has_parameters(anatomy: Anatomy | None) -> bool:
    return anatomy is not None and anatomy.targets is not None and bool(anatomy.targets.parameters)


def _check_pattern(pattern: str, place: Location, paths: Iterable[str] = ()) -> Iterator[Finding]:
    budget = Budget(_STEPS_FOR_ALL_PAIRS)
    try:
        compiled = compile_pattern(pattern)
        for path in paths:
            compiled.fullmatch(path, budget)
    except PatternError as error:
        yield PATTERN_INVALID.finding(f"The pattern {error}.", [place])
    except PatternTooCostly as error:
        yield PATTERN_TOO_COSTLY.finding(
            f"The pattern {pattern[:80]!r} can't be matched in bounded time: {error}.", [place]
        )


def _check_key(pattern: str, matches: Callable[[str, str, Budget | None], bool], place: Location) -> Iterator[Finding]:
    """Judge one key of a table, put together with what PEFT writes around it."""
    try:
        matches(pattern, "", None)
    except PatternError as error:
        yield PATTERN_INVALID.finding(f"The pattern {error}.", [place])
    except PatternTooCostly as error:
        text = f"The pattern {pattern[:80]!r} can't be matched in bounded time: {error}."
        yield PATTERN_TOO_COSTLY.finding(text, [place])


def _check_pattern_table(
    value: Value, patterns: Mapping[str, Any], paths: list[str], saved: list[str], *, has_parameters: bool
) -> Iterator[Finding]:
    field, matches = value.pattern, MATCHING[value.matching]
    if value.matching == EXACT:
        yield from _check_exact_table(value, patterns, paths)
        return
    sound: list[str] = []
    for pattern in patterns:
        broken = list(_check_key(pattern, matches, Location(CONFIG_NAME, pointer=f"/{field}/{_escape(pattern)}")))
        yield from broken
        if not broken:
            sound.append(pattern)
    if not sound or not paths:
        return
    hits: dict[str, list[str]] = {path: [] for path in paths}
    used: set[str] = set()
    budget = Budget(_STEPS_FOR_ALL_PAIRS)
    try:
        for pattern in sound:
            # A whole path is taken for itself alone: adapters with an entry a module have thousands of pairs.
            for path in [pattern] if pattern in hits else paths:
                budget.spend(_STEPS_OF_A_PAIR)
                if pattern == path or matches(pattern, path, budget):
                    hits[path].append(pattern)
                    used.add(pattern)
            if pattern not in used and any(matches(pattern, path, budget) for path in saved):
                used.add(pattern)
    except (PatternError, PatternTooCostly) as error:
        place = Location(CONFIG_NAME, pointer=f"/{field}")
        yield PATTERN_TOO_COSTLY.finding(f"A pattern of `{field}` can't be matched in bounded time: {error}.", [place])
        return
    unused = [pattern for pattern in sound if pattern not in used]
    if unused and not has_parameters:
        where = [Location(CONFIG_NAME, pointer=f"/{field}/{_escape(pattern)}") for pattern in unused]
        text = f"`{field}`: no stored module matches {unused[0][:80]!r} ({len(unused)} of {len(patterns)} entries match none)."
        yield PATTERN_UNMATCHED.finding(text, where)
    contested = {tuple(found) for found in hits.values() if len({repr(patterns[pattern]) for pattern in found}) > 1}
    if contested:
        first, second = next(iter(sorted(contested)))[:2]
        count = sum(len({repr(patterns[pattern]) for pattern in found}) > 1 for found in hits.values())
        text = f"`{field}`: {first[:60]!r} and {second[:60]!r} both match (in {count} of {len(paths)} modules) and give different values; the first in order wins."
        yield PATTERN_ORDER.finding(text, [Location(CONFIG_NAME, pointer=f"/{field}/{_escape(first)}")])


def _check_exact_table(value: Value, patterns: Mapping[str, Any], paths: list[str]) -> Iterator[Finding]:
    """Find entries of a table, whose keys are no patterns, that belong to no stored module."""
    known = {(value.key or "{path}").replace("{path}", path) for path in paths}
    unused = [pattern for pattern in patterns if pattern not in known] if known else []
    if unused:
        where = [Location(CONFIG_NAME, pointer=f"/{value.pattern}/{_escape(pattern)}") for pattern in unused]
        text = f"`{value.pattern}`: {unused[0][:80]!r} is no stored module ({len(unused)} of {len(patterns)} entries are none)."
        yield PATTERN_UNMATCHED.finding(text, where)


def _escape(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")


CHECKS = (check_patterns,)
