"""Regular expressions from an untrusted file, matched in bounded time with the verdict of Python's `re`.

PEFT runs `target_modules`, `exclude_modules`, the keys of `rank_pattern` and `alpha_pattern`,
`layers_pattern` and the names in `modules_to_save` as regular expressions over module paths. Each of PEFT's
uses has its function here. Every match has one of three outcomes: it matches, it does not, or
PatternTooCostly is raised because that can't be known within the bounds. A pattern that `re` itself refuses
raises PatternError.

Three engines, tried in this order: a comparison of characters for patterns whose only special character is
the dot; `re` itself when its parse tree shows that backtracking stays small; an automaton that runs in linear
time.
"""

from __future__ import annotations

import re
import warnings
from _thread import allocate_lock
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from adapter_format.dotted_names import MAX_PATTERN, ends, index_behind, is_dotted, is_tail, same, starts
from adapter_format.errors import AdapterFormatError
from adapter_format.pattern_budget import MAX_STEPS, MAX_SUBJECT, Budget, PatternTooCostly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from adapter_format.automaton import Automaton

__all__ = [
    "MAX_PATTERN",
    "MAX_STEPS",
    "MAX_SUBJECT",
    "Budget",
    "Pattern",
    "PatternError",
    "PatternKeys",
    "PatternTooCostly",
    "compile_pattern",
    "dotted_key_matches",
    "found_anywhere",
    "fullmatch",
    "layer_index",
    "pattern_key_matches",
    "saved_module_matches",
]

_RE_STEPS: Final = 50_000
_STEPS_OF_RE_PER_STEP: Final = 20
_MAX_CLASS_COST: Final = 32_000
_MAX_REGEX_KEYS: Final = 2000

_WARNED_ABOUT: Final = r"\[\^?\[|--|&&|~~|\|\||\(\?[a-zA-Z(]"
_quiet = allocate_lock()


class PatternError(AdapterFormatError, ValueError):
    """Python's `re` refuses the pattern; the message says why in one sentence."""


class _Refusal(NamedTuple):
    too_costly: bool
    message: str
    position: int | None


class Pattern:
    """A compiled pattern; made by `compile_pattern`."""

    __slots__ = ("_automaton", "_cost", "_longest_for_re", "_regex", "_tree", "text")

    def __init__(self, text: str, tree: Any, regex: re.Pattern[str]) -> None:
        self.text = text
        self._tree = tree
        self._regex = regex
        self._automaton: Automaton | PatternTooCostly | None = None
        from adapter_format.backtracking import longest_within

        self._longest_for_re, steps = longest_within(tree, _RE_STEPS, MAX_SUBJECT)
        self._cost = 1 + steps // _STEPS_OF_RE_PER_STEP

    def fullmatch(self, text: str, budget: Budget | None = None) -> bool:
        """`re.fullmatch(pattern, text) is not None`; raises PatternTooCostly."""
        if self._fits_re(text, budget):
            return self._regex.fullmatch(text) is not None
        return _within(self.text, self._linear().fullmatch, text, budget)

    def match(self, text: str, budget: Budget | None = None) -> bool:
        """`re.match(pattern, text) is not None`; raises PatternTooCostly."""
        if self._fits_re(text, budget):
            return self._regex.match(text) is not None
        return _within(self.text, self._linear().match, text, budget)

    def captured(self, text: str, group: str, budget: Budget | None = None) -> tuple[str | None] | None:
        """What `group` holds after `re.match`, as a tuple of one, or None without a match.

        Raises PatternTooCostly, also for every pattern that `re` itself is not trusted with.
        """
        if not self._fits_re(text, budget):
            raise PatternTooCostly(
                f"the pattern {_shown(self.text)} may backtrack without end, and its group is needed"
            )
        found = self._regex.match(text)
        return None if found is None else (found.group(group),)

    def _fits_re(self, text: str, budget: Budget | None) -> bool:
        if len(text) > MAX_SUBJECT:
            raise PatternTooCostly(f"a name of {len(text)} characters is not matched; the limit is {MAX_SUBJECT}")
        if len(text) > self._longest_for_re:
            return False
        if budget is not None:
            budget.spend(self._cost)
        return True

    def _linear(self) -> Automaton:
        automaton = self._automaton
        if automaton is None:
            from adapter_format.automaton import Automaton

            try:
                automaton = Automaton(self._tree)
            except PatternTooCostly as error:
                automaton = error
            except RecursionError:
                automaton = PatternTooCostly("the pattern is nested too deeply")
            self._automaton = automaton
        if isinstance(automaton, PatternTooCostly):
            raise PatternTooCostly(f"{automaton} in {_shown(self.text)}")
        return automaton


def compile_pattern(text: str) -> Pattern:
    """Compile `text` as `re.compile` does, without its warnings.

    Raises PatternError when `re.compile` refuses the pattern, and PatternTooCostly when the pattern is
    too long or too deeply nested to be compiled in bounded time. Patterns are remembered.
    """
    return _compile_within(text, 0, text)


def fullmatch(pattern: str, path: str, budget: Budget | None = None) -> bool:
    """Whether a string `target_modules` or `exclude_modules` hits the module at `path`.

    PEFT: `re.fullmatch(pattern, path)` (`check_target_module_exists`). Raises PatternError, PatternTooCostly.
    """
    if is_dotted(pattern):
        return len(pattern) == len(path) and same(pattern, path)
    return compile_pattern(pattern).fullmatch(path, budget)


def pattern_key_matches(pattern: str, path: str, budget: Budget | None = None) -> bool:
    r"""Whether a key of `rank_pattern` or `alpha_pattern` hits the module at `path`.

    PEFT 0.15.0 and later: `re.match(rf"(.*\.)?({pattern})$", path)` (`get_pattern_key`). Raises PatternError,
    PatternTooCostly.
    """
    if is_dotted(pattern):
        return is_tail(pattern, path)
    return _compile_pattern_key(pattern).match(path, budget)


def dotted_key_matches(pattern: str, path: str, budget: Budget | None = None) -> bool:
    r"""Whether a key of a table that wants a dot in front of it hits the module at `path`.

    PEFT: `re.match(rf".*\.{pattern}$", path)` (in the models that cut weights into blocks or spectra). Raises
    PatternError, PatternTooCostly.
    """
    if is_dotted(pattern) and len(path) <= MAX_SUBJECT:
        return is_tail(pattern, path, behind_dot=True)
    return _compile_dotted_key(pattern).match(path, budget)


def found_anywhere(pattern: str, path: str, budget: Budget | None = None) -> bool:
    """Whether a pattern is found anywhere in `path`.

    PEFT: `re.search(pattern, path)`. Raises PatternError, PatternTooCostly.
    """
    if is_dotted(pattern) and "." not in pattern and len(path) <= MAX_SUBJECT:
        if budget is not None:
            budget.spend(1)
        return pattern in path
    before = r"(?s:.*?)(?:"
    return _compile_within(rf"{before}{pattern})", len(before), pattern).match(path, budget)


def saved_module_matches(name: str, path: str, budget: Budget | None = None) -> bool:
    r"""Whether an entry of `modules_to_save` takes the module at `path` out of what is adapted.

    PEFT 0.16.0 and later: `re.match(rf"(^|.*\.){name}($|\..*)", path)` (`check_target_module_exists`). Raises
    PatternError, PatternTooCostly.
    """
    if is_dotted(name):
        size = len(name)
        return any(
            same(name, path[start : start + size])
            for start in starts(path)
            if path[start + size : start + size + 1] in (".", "") or path[start + size :] == "\n"
        )
    before = r"(^|.*\.)"
    return _compile_within(rf"{before}{name}($|\..*)", len(before), name).match(path, budget)


def layer_index(path: str, layers_pattern: str | None, budget: Budget | None = None) -> int | None:
    r"""The number of the layer that holds the module at `path`, for `layers_to_transform`; None without one.

    `layers_pattern` is one entry of the field; of several, PEFT takes the first that matches. None or ""
    stand for a missing field. PEFT 0.20.0 and later: `re.match(r".*?\.[^.]*\.(?P<idx>\d+)\.", path)`, or
    with a pattern `re.match(rf"(?:^|.*?\.){layers_pattern}\.(?P<idx>\d+)\.", path)`; earlier releases take
    the last number instead of the first. Raises PatternError, also for a pattern that matches without a
    number (PEFT raises TypeError then), and PatternTooCostly.
    """
    if not layers_pattern:
        return _first_index(path)
    if is_dotted(layers_pattern) and "." not in layers_pattern and "\n" not in path and len(path) <= MAX_SUBJECT:
        if budget is not None:
            budget.spend(1)
        return index_behind(layers_pattern, path)
    before = r"(?:^|.*?\.)"
    pattern = _compile_within(rf"{before}{layers_pattern}\.(?P<idx>\d+)\.", len(before), layers_pattern)
    captured = pattern.captured(path, "idx", budget)
    if captured is None:
        return None
    (digits,) = captured
    if digits is None:
        raise PatternError(f"the layers pattern {_shown(layers_pattern)} matches without a layer number")
    return int(digits)


class PatternKeys:
    """The keys of a `rank_pattern` or an `alpha_pattern`, in their order, for looking up many module paths.

    Gives what `pattern_key_matches` gives for one key after the other, but finds dotted names by a
    dictionary, so that n keys and n paths take about n steps.
    Raises PatternError and PatternTooCostly for the first key that is to blame.
    """

    __slots__ = ("_behind_dot", "_dotted", "_regexes", "keys")

    def __init__(self, keys: Iterable[str], *, behind_dot: bool = False) -> None:
        """Prepare keys for `pattern_key_matches`, or for `dotted_key_matches` if they are to stand behind a dot."""
        self.keys = tuple(keys)
        self._behind_dot = behind_dot
        compile_key = _compile_dotted_key if behind_dot else _compile_pattern_key
        self._regexes: list[tuple[int, Pattern]] = []
        # By length, by the places of the dots, by the name: a dot in a key stands for any character.
        self._dotted: dict[int, dict[tuple[int, ...], dict[str, int]]] = {}
        for rank, key in enumerate(self.keys):
            if is_dotted(key):
                dots = tuple(place for place, character in enumerate(key) if character == ".")
                self._dotted.setdefault(len(key), {}).setdefault(dots, {}).setdefault(key, rank)
            elif len(self._regexes) < _MAX_REGEX_KEYS:
                self._regexes.append((rank, compile_key(key)))
            else:
                raise PatternTooCostly(f"more than {_MAX_REGEX_KEYS} keys are regular expressions")

    def first(self, path: str, budget: Budget | None = None) -> str | None:
        """The first key that hits the module at `path`, the one that PEFT uses; raises PatternTooCostly."""
        best = len(self.keys)
        for start, end in product(starts(path), ends(path)):
            groups = self._dotted.get(end - start)
            if not groups or (self._behind_dot and start == 0):
                continue
            if budget is not None:
                budget.spend(len(groups))
            tail = path[start:end]
            for dots, ranks in groups.items():
                if "\n" in tail and any(tail[place] == "\n" for place in dots):
                    continue
                characters = list(tail)
                for place in dots:
                    characters[place] = "."
                best = min(best, ranks.get("".join(characters), best))
        for rank, pattern in self._regexes:
            if rank > best:
                break
            if pattern.match(path, budget):
                best = rank
                break
        return self.keys[best] if best < len(self.keys) else None


def _first_index(path: str) -> int | None:
    r"""The group of `.*?\.[^.]*\.(\d+)\.`, which `re` would need cubic time for."""
    parts = path.split(".")
    for place in range(2, len(parts) - 1):
        if "\n" in parts[place - 2]:
            return None
        if parts[place].isdecimal():
            if len(path) > MAX_SUBJECT:
                raise PatternTooCostly(f"a name of {len(path)} characters is not matched; the limit is {MAX_SUBJECT}")
            return int(parts[place])
    return None


def _within(pattern: str, run: Callable[[str, Budget], bool], text: str, budget: Budget | None) -> bool:
    """Run within MAX_STEPS, and within what is left of `budget`, which pays for it."""
    allowed = MAX_STEPS if budget is None else max(0, min(MAX_STEPS, budget.left))
    own = Budget(allowed)
    try:
        return run(text, own)
    except PatternTooCostly:
        raise PatternTooCostly(f"matching {_shown(pattern)} takes more steps than are allowed") from None
    finally:
        if budget is not None:
            budget.left -= allowed - max(own.left, 0)


def _compile_pattern_key(key: str) -> Pattern:
    before = r"(.*\.)?("
    return _compile_within(rf"{before}{key})$", len(before), key)


def _compile_dotted_key(key: str) -> Pattern:
    before = r".*\."
    return _compile_within(rf"{before}{key}$", len(before), key)


def _compile_within(text: str, shift: int, shown: str) -> Pattern:
    """Compile `text`, in which `shown`, the pattern of the file, begins at `shift`."""
    if len(text) > MAX_PATTERN:
        raise PatternTooCostly(f"a pattern of {len(shown)} characters is not compiled; the limit is {MAX_PATTERN}")
    outcome = _outcome(text)
    if isinstance(outcome, Pattern):
        return outcome
    if outcome.too_costly:
        raise PatternTooCostly(f"{outcome.message} in {_shown(shown)}")
    if shift:
        # What is wrong with the pattern on its own is told more plainly than what is wrong with PEFT's.
        compile_pattern(shown)
    place = ""
    if outcome.position is not None and 0 <= outcome.position - shift <= len(shown):
        place = f" at position {outcome.position - shift}"
    raise PatternError(f"{_shown(shown)} is not a regular expression: {outcome.message}{place}")


@lru_cache(maxsize=512)
def _outcome(text: str) -> Pattern | _Refusal:
    # A refusal is remembered too, or a costly pattern would be tried again for every path.
    try:
        if re.search(_WARNED_ABOUT, text) is None:
            return _compiled(text)
        with _quiet, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _compiled(text)
    except PatternTooCostly as error:
        return _Refusal(True, str(error), None)
    except re.error as error:
        return _Refusal(False, error.msg, error.pos)
    except RecursionError:
        return _Refusal(True, "the pattern is nested too deeply", None)
    except (ValueError, OverflowError) as error:
        return _Refusal(False, str(error), None)


def _compiled(text: str) -> Pattern:
    from adapter_format.backtracking import class_cost
    from adapter_format.regex_parser import compiler, parser

    tree = parser.parse(text, 0)
    if class_cost(tree) > _MAX_CLASS_COST:
        raise PatternTooCostly("too many large classes of characters")
    return Pattern(text, tree, compiler.compile(tree))


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 80 else f"{text[:60]!r}... ({len(text)} characters)"
