"""8xx: what a program that was asked about does with the adapter; and what the newest PEFT no longer reads."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from adapter_format.config import CONFIG_NAME
from adapter_format.consumers.held import held_in
from adapter_format.consumers.history import newest, span_words
from adapter_format.consumers.peft import (
    checked_elsewhere,
    has_other_layout,
    loading_ranges,
    reasons_of_newest,
)
from adapter_format.outcomes import Reason, outcome_of
from adapter_format.rules.edits import (
    DropConfig,
    DropTensors,
    RenameTensors,
    ReshapeTensors,
    SetConfig,
    WriteFile,
    mutation,
)
from adapter_format.rules.rule import Rule
from adapter_format.schema_words import short_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

    from adapter_format.checkpoint import Checkpoint
    from adapter_format.consumers.history import Span
    from adapter_format.findings import Finding, PeftBehaviour, Report, Severity
    from adapter_format.outcomes import Kind, Outcome, Word


def _config(**fields: Any) -> WriteFile:
    return WriteFile(CONFIG_NAME, json.dumps(fields, indent=2, sort_keys=True).encode())


_COMMON = {
    "auto_mapping": None, "base_model_name_or_path": "example/tiny-llama", "inference_mode": True,
    "modules_to_save": None, "revision": None, "target_modules": ["q_proj", "v_proj"], "task_type": None,
}  # fmt: skip
_BONE = {
    **_COMMON, "peft_type": "BONE", "r": 4, "bias": "none", "exclude_modules": None, "init_weights": True,
    "layers_pattern": None, "layers_to_transform": None,
}  # fmt: skip
_C3A = {**_COMMON, "peft_type": "C3A", "block_size": 4}

METHOD_RETIRED = Rule(
    "AF228", "method-retired", "error", "REL-1", "A method that the newest PEFT no longer has",
    "PEFT looks the name up in a table and stops with a KeyError; releases that have the method load the file.",
    "Load it with one of the releases named, or convert it.", "raises",
    (mutation("plain", _config(**_BONE), DropTensors("lora_A"), RenameTensors(r"lora_B\.weight", "bone_block"),
              ReshapeTensors("bone_block", (4, 8))),),
    quotes=("KeyError: 'BONE'",), pains=("P28",),
)  # fmt: skip
MEANING_CHANGED = Rule(
    "AF229", "meaning-changed", "error", "REL-1", "The newest PEFT reads the file otherwise than the release that wrote it",
    "Layouts and formulas changed between releases: the newest refuses the file, or loads it and computes something else.",
    "Load it with one of the releases named, or train it again.", "silent-wrong",
    # The fields that PEFT 0.7 writes, no more and no fewer.
    (mutation("plain", SetConfig("/rank_pattern", {".*q_proj": 4}), SetConfig("/alpha_pattern", {"q_proj": 16}),
              DropConfig("/use_dora"), DropConfig("/use_rslora"), SetConfig("/layers_pattern", None),
              SetConfig("/layers_to_transform", None), SetConfig("/loftq_config", {}),
              SetConfig("/megatron_config", None), SetConfig("/megatron_core", "megatron.core")),),
    quotes=("OFT has been updated since PEFT 0.14.0",
            "AdaLoRA does not work when `total_step` is None, supply a value > 0."), pains=("P28",),
    note="Only where keys or config show the release that wrote the file: each writes all fields that it knows and no other.",
)  # fmt: skip
CONSUMER_LACKS_METHOD = Rule(
    "AF801", "consumer-lacks-method", "error", "REL-2", "A consumer does not know the method",
    "The release that was asked about came before the method, or after its end.",
    "Use a release that has the method.", "silent-wrong",
    (mutation("plain", _config(**_C3A), DropTensors("lora_B"), RenameTensors(r"lora_A\.weight", "c3a_kernel"),
              ReshapeTensors("c3a_kernel", (2, 2, 4)), consumers=("peft==0.13.2",)),),
    quotes=("KeyError: 'C3A'",), pains=("P06", "P28"),
)  # fmt: skip
CONSUMER_LACKS_FIELD = Rule(
    "AF802", "consumer-lacks-field", "error", "REL-3", "A consumer does not know a field",
    "It stops at the field, or goes on without it and computes something else. PEFT writes every field that it knows, also "
    "those that hold defaults, and PEFT 0.6 to 0.13 stops at each field that it does not know.",
    "Remove fields that hold their defaults; with others, use a release that knows them.", "silent-ok",
    (mutation("plain", SetConfig("/lora_bias", False), consumers=("peft==0.13.2",)),
     mutation("plain", SetConfig("/use_rslora", True), name="ignored", consumers=("peft==0.5.0",))),
    quotes=("got an unexpected keyword argument", "Unexpected keyword arguments"), pains=("P06", "P28"),
    fixable=True,
    note="`adapter-format fix --target` drops the fields that hold their defaults.",
)  # fmt: skip
CONSUMER_LACKS_VALUE = Rule(
    "AF803", "consumer-lacks-value", "error", "REL-4", "A consumer does not know the value of a field",
    "It stops at the value, or takes it for another.", "Use a release that knows the value.", "silent-ok",
    (mutation("plain", SetConfig("/init_lora_weights", "orthogonal"), consumers=("peft==0.15.2",)),),
    quotes=("Unknown initialization init_lora_weights='orthogonal'",), pains=("P28",),
)  # fmt: skip
CONSUMER_READS_OTHERWISE = Rule(
    "AF804", "consumer-reads-otherwise", "error", "REL-5", "A consumer reads the adapter otherwise than it was written",
    "It knows every field, but takes tensors or fields for something else than the release that wrote the file, or wants "
    "them in another shape.",
    "Use a release that loads it right; `adapter-format inspect` names them.", "silent-wrong",
    (mutation("plain", SetConfig("/alpha_pattern", {"^model.*q_proj": 16}), consumers=("peft==0.14.0",)),),
    pains=("P28",),
)  # fmt: skip

RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))

_BY_KIND: Mapping[Kind, Rule] = {
    "method": CONSUMER_LACKS_METHOD,
    "field": CONSUMER_LACKS_FIELD,
    "value": CONSUMER_LACKS_VALUE,
    "layout": CONSUMER_READS_OTHERWISE,
}
CONSUMER_RULES = frozenset(rule.id for rule in _BY_KIND.values())
"""The rules about a consumer that was asked about: what the newest PEFT does is beside their point."""

_HARM: frozenset[Word] = frozenset(("wrong", "rejects"))
_SHOWN = 6


def check_newest(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Find what the newest PEFT can't read, though an older release can."""
    held = held_in(checkpoint)
    if held is None:
        return
    for reason in reasons_of_newest(held):
        severity: Severity | None = None if reason.outcome in _HARM else reason.suspicion or None
        if reason.outcome not in _HARM and severity is None:
            continue
        rule = METHOD_RETIRED if reason.kind == "method" else MEANING_CHANGED
        text = f"{reason.message} {_who_can(loading_ranges(held))}"
        peft = _BEHAVIOURS.get(reason.outcome, "unknown")
        yield rule.finding(text, [reason.location], mend=reason.mend or None, severity=severity)._replace(peft=peft)


_BEHAVIOURS: Mapping[Word, PeftBehaviour] = {"rejects": "raises", "wrong": "silent-wrong"}


def _who_can(ranges: tuple[Span, ...] | None) -> str:
    if ranges is None:
        return "Which release loads it right can't be told from the adapter alone."
    if not ranges:
        return "No release is known that loads it right."
    return f"It loads right in PEFT {span_words(ranges)}."


def without_consequences(findings: list[Finding], checkpoint: Checkpoint) -> list[Finding]:
    """Leave out what rules for the layout of today find in a layout of before: it would lead astray."""
    held = held_in(checkpoint)
    if held is None or all(finding.rule != MEANING_CHANGED.id for finding in findings) or not has_other_layout(held):
        return findings
    return [finding for finding in findings if not finding.rule.startswith(_OF_THE_LAYOUT)]


_OF_THE_LAYOUT = ("AF217", "AF218", "AF3", "AF4")


def is_sound_but_for_its_age(report: Report) -> bool:
    """Whether all errors of an adapter can come from its being older than what the newest PEFT reads.

    Of a layout that the newest no longer has, the rules about keys know nothing: their errors follow from its age.
    """
    errors = {finding.rule for finding in report.findings if finding.severity == "error"}
    return not errors - checked_elsewhere() or not errors.isdisjoint({METHOD_RETIRED.id, MEANING_CHANGED.id})


def consumer_findings(outcomes: Iterable[Outcome]) -> Iterator[Finding]:
    """Yield what consumers that were asked about refuse or read wrong, one finding for each of them and each cause."""
    for outcome in outcomes:
        by_kind: dict[Kind, list[Reason]] = {}
        for reason in outcome.reasons:
            if reason.outcome in _HARM:
                by_kind.setdefault(reason.kind, []).append(reason)
        for kind, reasons in by_kind.items():
            yield _finding(outcome, _BY_KIND[kind], reasons)


def with_defects(outcomes: Iterable[Outcome], findings: Iterable[Finding]) -> tuple[Outcome, ...]:
    """Add to the outcomes what the adapter's defects do, which was measured with the newest release only."""
    about_releases = {METHOD_RETIRED.id, MEANING_CHANGED.id, *checked_elsewhere()}
    errors = [finding for finding in findings if finding.severity == "error" and finding.rule not in about_releases]
    return tuple(_with_defects(outcome, errors) for outcome in outcomes) if errors else tuple(outcomes)


def _with_defects(outcome: Outcome, errors: list[Finding]) -> Outcome:
    if outcome.version == newest():
        reasons = [
            Reason(
                "rejects" if error.peft == "raises" else "wrong",
                "defect",
                f"{error.rule}: {error.message}",
                error.location,
            )
            for error in errors
        ]
    else:
        names = ", ".join(dict.fromkeys(error.rule for error in errors))
        text = f"The adapter has defects ({names}), whose effect is known for PEFT {newest()} only."
        reasons = [Reason("unknown", "defect", text, errors[0].location)]
    return outcome_of(outcome.name, outcome.version, [*outcome.reasons, *reasons])


def _finding(outcome: Outcome, rule: Rule, reasons: list[Reason]) -> Finding:
    droppable = bool(reasons) and all(reason.field for reason in reasons)
    text = reasons[0].message
    if len(reasons) > 1:
        text = (
            f"{text} It does not know {_names(reasons[1:])} either."
            if rule is CONSUMER_LACKS_FIELD
            else " ".join(reason.message for reason in reasons)
        )
    mend = reasons[0].mend or None
    if rule is CONSUMER_LACKS_FIELD and droppable:
        what = "it; it does not change" if len(reasons) == 1 else "them; none changes"
        mend = (
            f"`adapter-format fix --target {outcome.name}=={outcome.version}` drops {what} what the adapter computes."
        )
    elif rule is CONSUMER_LACKS_FIELD:
        mend = _mend_of_fields(reasons)
    found = rule.finding(text, [reason.location for reason in reasons], mend=mend)
    return found._replace(fixable=droppable)


def _mend_of_fields(reasons: list[Reason]) -> str:
    """Say what to do with each of several fields: one may go, another counts and needs a release that knows it."""
    counting = [reason for reason in reasons if not reason.mend]
    nobodys = [reason for reason in reasons if reason.mend and not reason.field]
    harmless = [reason for reason in reasons if reason.field]
    parts = (
        (counting, "Use a release that knows {}."),
        (nobodys, "Remove {}, which no release knows."),
        (harmless, "{} may be removed without harm."),
    )
    return " ".join(text.format(_names(group)) for group, text in parts if group)


def _names(reasons: list[Reason]) -> str:
    names = [_shown((reason.location.pointer or "")[1:]) for reason in reasons[:_SHOWN]]
    more = len(reasons) - len(names)
    return " and ".join(filter(None, [", ".join(names), f"{more} more" if more else ""]))


def _shown(name: str) -> str:
    return "`" + short_value(name).strip('"') + "`"


CHECKS = (check_newest,)
