"""A regular expression run as an automaton, in time linear in the text.

`re` backtracks, so a hostile pattern can keep it busy for ever. This module takes the tree that `re`'s own
parser makes and runs it as a nondeterministic automaton whose sets of states are remembered (a deterministic
one, built as it is needed). It says only whether a text matches; it has no groups. Look-ahead and look-behind
run as automata of their own. Constructs that need memory of what was matched (back-references, conditional,
atomic and possessive groups) are refused.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from adapter_format.pattern_budget import MAX_SUBJECT, Budget, PatternTooCostly
from adapter_format.regex_parser import codes, compiler, parser

__all__ = ["MAX_NODES", "Automaton"]

MAX_NODES: Final = 10_000
"""Largest automaton that is built for one pattern."""
_MAX_REMEMBERED: Final = 50_000
_MAX_LOOKS: Final = 32
_MAX_TESTS: Final = 200

_LITERAL, _TEST, _SPLIT, _AT, _LOOK, _ACCEPT = range(6)
_END, _LAST_NEWLINE = "", "\n$"
_START, _NEWLINE, _ASCII_WORD, _WORD, _OTHER = range(5)
_TYPE_FLAGS = int(re.ASCII | re.LOCALE | re.UNICODE)


class _Look(NamedTuple):
    entry: int
    behind: int  # width of a look-behind, -1 for a look-ahead
    wanted: bool


class _State:
    """A set of nodes and the kind of the character before; remembers where each next character leads."""

    __slots__ = ("before", "kernel", "looks", "moves")

    def __init__(self, kernel: tuple[int, ...], before: int, looks: tuple[int, ...]) -> None:
        self.kernel = kernel
        self.before = before
        self.looks = looks
        self.moves: dict[Any, tuple[_State | None, bool, int]] = {}


def _kind(character: str) -> int:
    if character == "\n":
        return _NEWLINE
    if character == "_" or character.isalnum():
        return _ASCII_WORD if character.isascii() else _WORD
    return _OTHER


class Automaton:
    """The automaton of one parsed pattern (`re`'s own parse tree).

    Raises PatternTooCostly when the pattern needs more than MAX_NODES nodes or has a construct that no
    automaton can express.
    """

    __slots__ = (
        "_empty_inside",
        "_entry",
        "_has_positions",
        "_looks",
        "_looks_of_items",
        "_nodes",
        "_remembered",
        "_states",
        "_tests",
        "_tests_of_items",
    )

    def __init__(self, tree: Any) -> None:
        self._nodes: list[tuple[int, Any, Any]] = []
        self._looks: list[_Look] = []
        self._tests: dict[tuple[Any, str, int], Any] = {}
        # A repeated part is built many times from the same tree, which outlives the building.
        self._tests_of_items: dict[tuple[Any, int, int], Any] = {}
        self._looks_of_items: dict[tuple[Any, int, int], int] = {}
        self._states: dict[tuple[tuple[int, ...], int], _State] = {}
        self._remembered = 0
        self._has_positions = False
        self._empty_inside = False
        self._entry = self._sequence(tree, int(tree.state.flags), self._add(_ACCEPT, None, None))
        self._tests_of_items.clear()
        self._looks_of_items.clear()

    def fullmatch(self, text: str, budget: Budget) -> bool:
        """Whether the whole of `text` matches, as `re.fullmatch` says; raises PatternTooCostly."""
        return self._run(text, 0, self._entry, len(text), budget, {})

    def match(self, text: str, budget: Budget) -> bool:
        """Whether `text` begins with a match, as `re.match` says; raises PatternTooCostly."""
        return self._run(text, 0, self._entry, -1, budget, {})

    # Building. Nodes are made from the end of the pattern to its start, so that each knows its successor.

    def _add(self, what: int, argument: Any, successor: Any) -> int:
        if len(self._nodes) >= MAX_NODES:
            raise PatternTooCostly(f"the pattern needs an automaton of more than {MAX_NODES} nodes")
        self._nodes.append((what, argument, successor))
        return len(self._nodes) - 1

    def _sequence(self, tree: Any, flags: int, successor: int) -> int:
        for op, value in reversed(tree.data):
            successor = self._item(op, value, flags, successor)
        return successor

    def _item(self, op: Any, value: Any, flags: int, successor: int) -> int:
        if op is codes.LITERAL and not flags & re.IGNORECASE:
            return self._add(_LITERAL, chr(value), successor)
        if op in (codes.LITERAL, codes.NOT_LITERAL, codes.ANY, codes.IN):
            return self._add(_TEST, self._test(op, value, flags), successor)
        if op is codes.AT:
            return self._position(value, flags, successor)
        if op is codes.BRANCH:
            return self._add(_SPLIT, None, tuple(self._sequence(way, flags, successor) for way in value[1]))
        if op is codes.SUBPATTERN:
            _, added, removed, inner = value
            if added & _TYPE_FLAGS:
                flags &= ~_TYPE_FLAGS
            return self._sequence(inner, (flags | added) & ~removed, successor)
        if op in (codes.MAX_REPEAT, codes.MIN_REPEAT):
            least, most, inner = value
            return self._repeat(least, most, inner, flags, successor)
        if op in (codes.ASSERT, codes.ASSERT_NOT):
            return self._add(_LOOK, self._assertion(op, value, flags), successor)
        if op is codes.FAILURE:
            return self._add(_SPLIT, None, ())
        raise PatternTooCostly(f"the pattern has a construct that can't be matched in bounded time ({op})")

    def _repeat(self, least: int, most: int, inner: Any, flags: int, successor: int) -> int:
        if most > MAX_SUBJECT:
            # No text has room for more rounds that take a character; rounds that take none change nothing.
            loop = self._add(_SPLIT, None, ())
            self._nodes[loop] = (_SPLIT, None, (self._sequence(inner, flags, loop), successor))
            entry = loop
        else:
            entry = successor
            for _ in range(most - least):
                once = self._sequence(inner, flags, entry)
                if once == entry:
                    break
                entry = self._add(_SPLIT, None, (once, successor))
        for _ in range(least):
            once = self._sequence(inner, flags, entry)
            if once == entry:
                break
            entry = once
        return entry

    def _assertion(self, op: Any, value: Any, flags: int) -> int:
        """The number of a look-ahead or look-behind; the copies of a repeated one share it."""
        same = (op, id(value), flags)
        number = self._looks_of_items.get(same)
        if number is None:
            direction, inner = value
            entry = self._sequence(inner, flags, self._add(_ACCEPT, None, None))
            number = self._looks_of_items[same] = len(self._looks)
            if number == _MAX_LOOKS:
                raise PatternTooCostly(f"the pattern looks ahead or behind in more than {_MAX_LOOKS} places")
            width = int(inner.getwidth()[0]) if direction < 0 else -1
            self._looks.append(_Look(entry, width, op is codes.ASSERT))
        return number

    def _test(self, op: Any, value: Any, flags: int) -> Any:
        """A function that says whether one character fits: `re` itself, compiled for this one item."""
        same = (op, id(value), flags)
        test = self._tests_of_items.get(same)
        if test is None:
            key = (op, str(value), flags)
            test = self._tests.get(key)
            if test is None:
                if len(self._tests) == _MAX_TESTS:
                    raise PatternTooCostly(f"the pattern has more than {_MAX_TESTS} classes of characters")
                state = parser.State()
                state.flags = flags
                test = compiler.compile(parser.SubPattern(state, [(op, value)])).fullmatch
                self._tests[key] = test
            self._tests_of_items[same] = test
        return test

    def _position(self, value: Any, flags: int, successor: int) -> int:
        self._has_positions = True
        if value is codes.AT_NON_BOUNDARY:
            # Python 3.14 changed the answer for the empty text.
            self._empty_inside = re.match(r"\B", "") is not None
        if flags & re.MULTILINE:
            value = codes.AT_MULTILINE.get(value, value)
        return self._add(_AT, (value, bool(flags & re.ASCII)), successor)

    # Running.

    def _state(self, kernel: tuple[int, ...], before: int) -> _State:
        if not self._has_positions:
            before = _OTHER
        state = self._states.get((kernel, before))
        if state is None:
            if self._remembered > _MAX_REMEMBERED:
                self._states = {}
                self._remembered = 0
            looks: tuple[int, ...] = ()
            if self._looks:
                reached = self._closure(kernel, _OTHER, _END, None)
                looks = tuple(sorted({self._nodes[n][1] for n in reached if self._nodes[n][0] == _LOOK}))
            state = self._states[kernel, before] = _State(kernel, before, looks)
            self._remembered += len(kernel) + 10
        return state

    def _closure(self, kernel: tuple[int, ...], before: int, after: str, held: dict[int, bool] | None) -> list[int]:
        """All nodes reached without taking a character; with `held` None, as if every assertion held."""
        nodes = self._nodes
        todo = list(kernel)
        seen = set(todo)
        reached = []
        while todo:
            node = todo.pop()
            reached.append(node)
            what, argument, successor = nodes[node]
            if what == _SPLIT:
                for way in successor:
                    if way not in seen:
                        seen.add(way)
                        todo.append(way)
                continue
            if what == _AT:
                if held is not None and not self._holds(argument, before, after):
                    continue
            elif what == _LOOK:
                if held is not None and not held[argument]:
                    continue
            else:
                continue
            if successor not in seen:
                seen.add(successor)
                todo.append(successor)
        return reached

    def _holds(self, position: tuple[Any, bool], before: int, after: str) -> bool:
        at, ascii_only = position
        if at in (codes.AT_BEGINNING, codes.AT_BEGINNING_STRING):
            return before == _START
        if at is codes.AT_BEGINNING_LINE:
            return before in (_START, _NEWLINE)
        if at is codes.AT_END:
            return after in (_END, _LAST_NEWLINE)
        if at is codes.AT_END_LINE:
            return after == _END or after[0] == "\n"
        if at is codes.AT_END_STRING:
            return after == _END
        word = (_ASCII_WORD,) if ascii_only else (_ASCII_WORD, _WORD)
        changes = (before in word) != (after != _END and _kind(after[0]) in word)
        if at is codes.AT_BOUNDARY:
            return changes
        if before == _START and after == _END:
            return self._empty_inside
        return not changes

    def _move(self, state: _State, after: str, held: dict[int, bool]) -> tuple[_State | None, bool, int]:
        """Where the next character leads: the state after it, whether a match ends before it, the cost."""
        reached = self._closure(state.kernel, state.before, after, held)
        accepted = False
        kernel = set()
        for node in reached:
            what, argument, successor = self._nodes[node]
            if what == _ACCEPT:
                accepted = True
            elif after == _END:
                continue
            elif (what == _LITERAL and argument == after[0]) or (what == _TEST and argument(after[0])):
                kernel.add(successor)
        following = self._state(tuple(sorted(kernel)), _kind(after[0])) if kernel else None
        return following, accepted, len(reached) + 4

    def _run(self, text: str, start: int, entry: int, stop: int, budget: Budget, known: dict[Any, bool]) -> bool:
        """Run from `start`; the match must end at `stop`, or anywhere when that is -1."""
        end = len(text)
        state = self._state((entry,), _kind(text[start - 1]) if start else _START)
        for position in range(start, end + 1):
            after = _END if position == end else text[position]
            if after == "\n" and position == end - 1:
                after = _LAST_NEWLINE
            key: Any = after
            held: dict[int, bool] = {}
            if state.looks:
                held = {look: self._look(text, position, look, budget, known) for look in state.looks}
                key = (after, tuple(held.values()))
            move = state.moves.get(key)
            if move is None:
                move = state.moves[key] = self._move(state, after, held)
                self._remembered += 10
            following, accepted, cost = move
            budget.spend(cost)
            if accepted and stop in (-1, position):
                return True
            if following is None or position == stop:
                return False
            state = following
        return False

    def _look(self, text: str, position: int, look: int, budget: Budget, known: dict[Any, bool]) -> bool:
        answer = known.get((look, position))
        if answer is None:
            entry, behind, wanted = self._looks[look]
            if behind < 0:
                found = self._run(text, position, entry, -1, budget, known)
            else:
                found = position >= behind and self._run(text, position - behind, entry, position, budget, known)
            answer = known[look, position] = found == wanted
        return answer
