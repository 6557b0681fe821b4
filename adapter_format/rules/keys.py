"""3xx: keys. Which tensors are there, how they are called, and whether the config asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter_format import anatomy as parts
from adapter_format import keys as spelling
from adapter_format.config import WEIGHTS_NAME
from adapter_format.findings import Finding, Location
from adapter_format.keys import is_of_embedding_with_weight, key_of
from adapter_format.layouts import BARE, CATEGORY, MODEL_PREFIX, MODULE, auxiliary, index_of, instance_of, role_name
from adapter_format.rules.edits import (
    CopyTensor,
    DropConfig,
    DropTensors,
    RenameTensors,
    SetConfig,
    mutation,
)
from adapter_format.rules.key_mends import behaviour_of, mend_of
from adapter_format.rules.rule import Rule
from adapter_format.shape_functions import category

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from adapter_format.anatomy import Anatomy, Companion
    from adapter_format.checkpoint import Checkpoint
    from adapter_format.findings import Severity
    from adapter_format.layouts import Role
    from adapter_format.modules import Module

MISSING_KEYS = "Found missing adapter keys while loading the checkpoint"
UNSUPPORTED_WEIGHT = "is unsupported LoRA weight"

KEY_PREFIX_MISSING = Rule(
    "AF301", "key-prefix-missing", "error", "KEY-1", "Keys without the prefix `base_model.model.`",
    "PEFT finds none of the tensors, keeps its initial values and answers as the base model does, with one warning.",
    "Put `base_model.model.` in front of each key; the tensor bytes stay as they are.", "warns",
    (mutation("plain", RenameTensors(r"^base_model\.model\.", "")),),
    quotes=(MISSING_KEYS,), pains=("P01",),
    note="Transformers' own loader reads such a file; PEFT and the servers that follow it do not. One part too few or too "
    "many behind the prefix can't be told without the base model.",
)  # fmt: skip
KEY_PREFIX_DOUBLED = Rule(
    "AF302", "key-prefix-doubled", "error", "KEY-1", "The prefix stands twice in the keys",
    "A wrapped model was wrapped again before saving; PEFT finds none of the tensors and answers as the base model does.",
    "Remove one `base_model.model.` from each key.", "warns",
    (mutation("plain", RenameTensors("^", "base_model.model.")),), quotes=(MISSING_KEYS,), pains=("P01",),
)  # fmt: skip
KEY_WRAPPER = Rule(
    "AF303", "key-wrapper", "error", "KEY-2", "A training wrapper's name in the keys",
    "`torch.compile`, data parallel and FSDP wrappers put their own part into every path; a loader without the same "
    "wrapper finds none of the tensors.",
    "Remove the wrapper's part from each key, or save the unwrapped model.", "warns",
    (mutation("plain", RenameTensors("^", "_orig_mod.")),
     mutation("plain", RenameTensors(r"^base_model\.model\.", "base_model.model._orig_mod."), name="inside"),
     mutation("plain", RenameTensors("^", "module."), name="module"),
     mutation("plain", RenameTensors(r"\.self_attn\.", "._fsdp_wrapped_module.self_attn."), name="fsdp"),
     mutation("plain", RenameTensors("^", "thinker."), name="outside the prefix")),
    quotes=(MISSING_KEYS,), pains=("P01",),
)  # fmt: skip
ADAPTER_NAME_IN_KEY = Rule(
    "AF304", "adapter-name-in-key", "error", "KEY-3", "The adapter's name was left in the keys",
    "The name exists in memory only. PEFT 0.4 to 0.20 and Transformers find none of the tensors; PEFT 0.21 finds them "
    "only when it loads the adapter under that very name.",
    "Remove the name from each key, or save with `adapter_format.extract_adapter`.", "silent-ok",
    (mutation("plain", RenameTensors(r"(lora_[AB])\.weight$", r"\1.default.weight")),),
    quotes=(MISSING_KEYS,), pains=("P01", "P26"),
    note="The reference behaviour is measured under the name `default`; under another name the adapter is a no-op.",
)  # fmt: skip
PARTNER_MISSING = Rule(
    "AF305", "role-partner-missing", "error", "KEY-5", "A module has one of its factors but not the other",
    "The missing factor keeps its initial value: the module computes something else than was trained, or nothing.",
    "Save the adapter again with all its tensors.", "warns",
    (mutation("plain", DropTensors(r"layers\.1\.self_attn\.q_proj\.lora_B")),
     mutation("plain", DropTensors(r"layers\.1\.self_attn\.q_proj\.lora_A"), name="A")),
    quotes=(MISSING_KEYS,), pains=("P13",),
)  # fmt: skip
ROLE_UNDECLARED = Rule(
    "AF306", "role-undeclared", "error", "KEY-6", "Tensors that the config does not declare",
    "PEFT builds its layers from the config and drops these tensors without a word, so that another function is computed.",
    "Switch the field on that the adapter was trained with.", "silent-wrong",
    (mutation("dora", SetConfig("/use_dora", False)), mutation("dora", DropConfig("/use_dora"), name="absent")),
    pains=("P27",),
)  # fmt: skip
ROLE_MISSING = Rule(
    "AF307", "role-missing", "error", "KEY-6", "The config declares tensors that are not there",
    "PEFT keeps the initial values of the missing tensors and computes something else than was trained.",
    "Switch the field off if it was not used, otherwise save again with all tensors.", "warns",
    (mutation("plain", SetConfig("/use_dora", True)),
     mutation("dora", DropTensors(r"layers\.1\.self_attn\.q_proj\.lora_magnitude"), name="one module"),
     mutation("lora-bias", DropTensors(r"lora_B\.bias$"), name="lora_bias")),
    quotes=(MISSING_KEYS,), pains=("P27",),
)  # fmt: skip
NO_ADAPTER_TENSORS = Rule(
    "AF321", "no-adapter-tensors", "error", "KEY-5", "The file holds no tensor of the method",
    "There is nothing to apply: PEFT answers as the base model does.",
    "Save again; after an FSDP or ZeRO run, gather the full state first.", "warns",
    (mutation("plain", DropTensors(".")),), quotes=(MISSING_KEYS,), pains=("P02", "P13"),
)  # fmt: skip
EMBEDDING_KEY_SUFFIX = Rule(
    "AF322", "embedding-key-suffix", "error", "KEY-4", "`.weight` behind an embedding's factors",
    "The factors of an embedding are parameters, not modules; PEFT does not find them under the longer name.",
    "Remove `.weight` from the keys.", "warns",
    (mutation("embedding", RenameTensors(r"(lora_embedding_[AB])$", r"\1.weight")),), quotes=(MISSING_KEYS,),
)  # fmt: skip
ROLE_MISSPELT = Rule(
    "AF334", "role-misspelt", "error", "KEY-4", "A role's name is misspelt at the end of a key",
    "PEFT finds no such tensor, and the factor keeps its initial value; the trained numbers are there, under a wrong name.",
    "Rename the keys; the tensor bytes stay as they are.", "warns",
    (mutation("plain", RenameTensors(r"lora_A\.weight$", "lora_a.weight")),
     mutation("plain", RenameTensors(r"lora_A\.weight$", "lora_A"), name="bare")),
    quotes=(MISSING_KEYS,), pains=("P01",),
)  # fmt: skip
DUPLICATE_ROLE = Rule(
    "AF330", "duplicate-role", "error", "KEY-4", "Two keys fill the same place",
    "Two spellings of one tensor are stored; which one is loaded depends on the reader.",
    "Remove the one that is not meant.", "silent-wrong",
    (mutation("dora", CopyTensor("base_model.model.model.layers.1.self_attn.q_proj.lora_magnitude_vector",
                                 "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector.weight")),),
)  # fmt: skip

RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))

_SPELLING_RULES = {
    spelling.PREFIX_MISSING: (KEY_PREFIX_MISSING, "do not start with {prefixes}"),
    spelling.PREFIX_DOUBLED: (KEY_PREFIX_DOUBLED, "have too much in front of them, where {prefixes} should stand"),
    spelling.WRAPPER: (KEY_WRAPPER, "carry the name of a wrapper"),
    spelling.SUFFIX: (ROLE_MISSPELT, "misspell the name of a role"),
    spelling.NAME_MISSING: (ROLE_MISSPELT, "lack the part `default` that PEFT stores in them"),
    spelling.ADAPTER_NAME: (ADAPTER_NAME_IN_KEY, "still carry the adapter's name"),
}


def places(keys: Iterable[str]) -> list[Location]:
    """Turn keys into places in the weights file."""
    return [Location(WEIGHTS_NAME, key) for key in keys]


def tensors_of(count: int) -> str:
    """Say `1 tensor` or `n tensors`."""
    return f"{count:,} tensor" if count == 1 else f"{count:,} tensors"


def check_spelling(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge keys that had to be read with a fault on the way."""
    anatomy, header = checkpoint.anatomy, checkpoint.header
    if anatomy is None or header is None:
        return
    by_fault: dict[str, list[parts.Misspelling]] = {}
    for misspelling in anatomy.misspellings:
        by_fault.setdefault(misspelling.fault, []).append(misspelling)
    total = len(header.tensors)
    for fault, found in by_fault.items():
        rule, what = _SPELLING_RULES[fault]
        first = found[0]
        as_stored = total - len(found)
        who = "PEFT before 0.21, like Transformers, matches" if fault == spelling.ADAPTER_NAME else "PEFT matches"
        text = (
            f"{len(found)} of {total} keys {what.format(prefixes=_prefixes(anatomy, found))}; as stored, {who} {as_stored} of {total} keys. "
            f"{first.key!r} should be {first.canonical!r}."
        )
        # A base may have an attribute of that name itself: inside the prefix, the folder alone can't tell.
        attributes = tuple(f"{anatomy.layout.prefix}{part}." for part in auxiliary().outer_wrapper_parts)
        unsure = fault == spelling.WRAPPER and all(item.key.startswith(attributes) for item in found)
        finding = rule.finding(
            text, places(item.key for item in found), severity="warning" if unsure else None, mend=mend_of(fault, found)
        )
        yield finding._replace(peft=behaviour_of(fault, found) or finding.peft)
    suffixed = [c for c in anatomy.companions if is_of_embedding_with_weight(anatomy.layout, c.path)]
    if suffixed:
        text = (
            f"`.weight` stands behind an embedding's factors ({tensors_of(len(suffixed))}); PEFT does not find them so."
        )
        yield EMBEDDING_KEY_SUFFIX.finding(text, places(c.info.name for c in suffixed))
    if anatomy.duplicates:
        text = f"{anatomy.duplicates[0]!r} fills a place that another key fills already ({tensors_of(len(anatomy.duplicates))})."
        yield DUPLICATE_ROLE.finding(text, places(anatomy.duplicates))


def _prefixes(anatomy: Anatomy, found: list[parts.Misspelling]) -> str:
    """Name the prefixes that misspelt keys are to have."""
    known = (anatomy.layout.prefix, MODEL_PREFIX)
    right = (next((one for one in known if one and item.canonical.startswith(one)), "") for item in found)
    return " or ".join(f"`{one}`" if one else "nothing" for one in dict.fromkeys(right))


def check_roles(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge completeness: every unit has the roles that its kind and the config call for, and no others."""
    anatomy, config = checkpoint.anatomy, checkpoint.config
    if anatomy is None:
        return
    if not anatomy.modules and (not anatomy.shared or anatomy.layout.needs_modules):
        live = live_prompt(anatomy)
        if live:
            yield NO_ADAPTER_TENSORS.finding(
                f"{live[0].info.name!r} is of a live model; the file lacks what PEFT makes of it when it saves, "
                f"{' and '.join(f'`{role.suffix}`' for role in anatomy.layout.roles.values())}.",
                places(c.info.name for c in live),
                mend="Save with PEFT, or store the tensors with `adapter_format.save`.",
            )._replace(peft="raises")
            return
        foreign = (parts.OTHER_METHOD, parts.OTHER_WRITER)
        if not any(
            c.what in foreign or is_of_embedding_with_weight(anatomy.layout, c.path) for c in anatomy.companions
        ):
            beside = len(anatomy.companions)
            kept = (
                f"; its {tensors_of(beside)} {'is a companion' if beside == 1 else 'are companions'}" if beside else ""
            )
            kept = "; those of single modules are missing" if anatomy.shared else kept
            text = f"The file holds no tensor of {anatomy.layout.title}{kept}."
            yield NO_ADAPTER_TENSORS.finding(text, [Location(WEIGHTS_NAME)])
        return
    declared = parts.declared_roles(anatomy, config or {})
    lacking: dict[str, list[Module]] = {}
    surplus: dict[str, list[Module]] = {}
    for group in anatomy.alike:
        unit, stored = group[0], parts.stored_roles(group[0])
        for role in unit.kind.shapes:
            definition = anatomy.layout.roles[role]
            if definition.missing == "unknown" or not parts.has_role(unit, role, declared):
                continue
            absent = role not in stored or _missing_numbers(anatomy, unit, role)
            count = unit.symbols.get(definition.counted_as)
            # Where shapes contradict each other, how many there are to be may not be known.
            if absent and count != 0 and not (count is None and definition.counted_as and unit.faults):
                lacking.setdefault(role, []).extend(group)
        for role in stored:
            if not parts.has_role(unit, role, declared):
                surplus.setdefault(role, []).extend(group)
    for role, units in lacking.items():
        conditional = anatomy.layout.roles[role].declared_by and role not in units[0].kind.always
        if not conditional or config is not None:
            yield _lacking(anatomy, role, units) if not conditional else _declared_but_lacking(anatomy, role, units)
    yield from _missing_shared(anatomy, declared, known=config is not None)
    if config is not None:
        yield from _all_undeclared(anatomy, surplus)


def live_prompt(anatomy: Anatomy) -> list[Companion]:
    """Return the tensors of a live model's prompt that stand in the place of those that PEFT makes when it saves."""
    if anatomy.shared or any(role.scope != BARE or role.memory for role in anatomy.layout.roles.values()):
        return []
    encoder = auxiliary().prompt_encoder_part
    return [c for c in anatomy.companions_that_are(parts.BASE_WEIGHT) if encoder in c.path.split(".")[:-1]]


def _missing_numbers(anatomy: Anatomy, unit: Module, role: str) -> bool:
    """Whether there are holes among the numbered tensors of a role."""
    counted_as = anatomy.layout.roles[role].counted_as
    if not counted_as:
        return False
    places_taken = {
        unit.symbols.get(instance_of("index", index_of(name)), -1) for name in unit.roles if role_name(name) == role
    }
    return -1 not in places_taken and len(places_taken) != unit.symbols.get(counted_as)


def _severity(anatomy: Anatomy, role: str) -> Severity | None:
    return None if anatomy.layout.roles[role].missing == "harms" else "warning"


def _lacking(anatomy: Anatomy, role: str, units: list[Module]) -> Finding:
    definition = anatomy.layout.roles[role]
    keys = places(next(iter(unit.roles.values())).name for unit in units)
    first = f", first {_called(units[0])}" if units[0].kind.scope in (MODULE, CATEGORY) else f" ({definition.purpose})"
    having = _of_all(anatomy, units)
    none = "not every" if role in parts.stored_roles(units[0]) else "no"
    text = f"{having[:1].upper()}{having[1:]} {none} `{definition.suffix}`{first}."
    return PARTNER_MISSING.finding(text, keys, severity=_severity(anatomy, role))


def _declared_but_lacking(anatomy: Anatomy, role: str, units: list[Module]) -> Finding:
    definition = anatomy.layout.roles[role]
    field = next(iter(definition.declared_by))
    text = f"`{field}` calls for `{definition.suffix}` ({definition.purpose}), but {_of_all(anatomy, units)} none."
    keys = places(next(iter(unit.roles.values())).name for unit in units)
    found = ROLE_MISSING.finding(text, keys, severity=_severity(anatomy, role))
    return found._replace(peft="raises") if definition.refused == "alone" else found


def _all_undeclared(anatomy: Anatomy, surplus: Mapping[str, list[Module]]) -> Iterator[Finding]:
    """Report tensors that are not called for; those that a switch would have read in place of new ones as one finding."""
    by_switch: dict[str, list[Role]] = {}
    for role in anatomy.layout.roles.values():
        units = surplus.get(role.name, [])
        if units and role.switch and role.name in units[0].kind.shapes:
            by_switch.setdefault(role.switch, []).append(role)
        elif units and role.undeclared != "read":
            yield _undeclared(anatomy, role.name, units)
    for switch, roles in by_switch.items():
        keys = [
            info.name
            for role in roles
            for unit in surplus[role.name]
            for name, info in unit.roles.items()
            if role_name(name) == role.name
        ]
        what = ", ".join(f"`{role.suffix}` ({role.purpose})" for role in roles)
        text = f"The file holds {what}, but `{switch}` in the config does not call for them: PEFT computes its own."
        needed = [role for role in anatomy.layout.roles.values() if role.switch == switch and role.refused]
        mend = f"Set `{switch}` to true, so that those of the file are read."
        if any(role not in roles for role in needed):
            mend = "Remove the tensors, which are not all that there should be."
        yield ROLE_UNDECLARED.finding(text, places(keys), severity="warning", mend=mend)


def _undeclared(anatomy: Anatomy, role: str, units: list[Module]) -> Finding:
    definition = anatomy.layout.roles[role]
    severity: Severity | None = "warning" if definition.undeclared == "recomputed" else _severity(anatomy, role)
    keys = [info.name for unit in units for name, info in unit.roles.items() if role_name(name) == role]
    what = f"{tensors_of(len(keys))} `{definition.suffix}` ({definition.purpose})"
    if not definition.declared_by or role not in units[0].kind.shapes:
        text = f"{what}, which modules of the kind {units[0].kind.name!r} do not have under this config."
        return ROLE_UNDECLARED.finding(text, places(keys), severity=severity)
    field = next(iter(definition.declared_by))
    stored, them = ("is", "it") if len(keys) == 1 else ("are", "them")
    text = f"{what} {stored} stored, but `{field}` in the config does not call for {them}."
    mend = f"Set `{field}` as it was in training, or remove the tensors."
    return ROLE_UNDECLARED.finding(text, places(keys), severity=severity, mend=mend)


def _of_all(anatomy: Anatomy, units: list[Module]) -> str:
    if units[0].kind.scope != MODULE:
        return "the adapter has"
    total = len(anatomy.modules)
    return f"{len(units)} of {total} modules {'has' if len(units) == 1 else 'have'}"


def _called(unit: Module) -> str:
    return f"`{unit.path}`" if unit.kind.scope == MODULE else f"of the group `{unit.path}`"


def _missing_shared(anatomy: Anatomy, declared: Mapping[str, bool], *, known: bool) -> Iterator[Finding]:
    """Find groups of shared tensors of which none is there; those that one field calls for are one finding."""
    layout = anatomy.layout
    absent: dict[str, list[tuple[Role, list[str]]]] = {}
    by_category = any(role.scope == CATEGORY for role in layout.roles.values())
    categories = sorted({category(path) for path in anatomy.modules} if by_category else ())
    for role in layout.roles.values():
        if role.scope == MODULE or role.counted_as or not declared[role.name] or (role.declared_by and not known):
            continue
        if role.missing == "unknown":
            continue
        names = categories if role.scope == CATEGORY else [""]
        keys = [key_of(layout, name, role.name) for name in names if name not in anatomy.shared]
        if keys and not (role.scope == BARE and any(c.path == role.suffix for c in anatomy.companions)):
            absent.setdefault(next(iter(role.declared_by), role.name), []).append((role, keys))
    for lacking in absent.values():
        yield _none_there(anatomy, lacking)


def _none_there(anatomy: Anatomy, lacking: list[tuple[Role, list[str]]]) -> Finding:
    each = [
        f"{keys[0]!r} ({role.purpose})" + (f" and {len(keys) - 1} more like it" if keys[1:] else "")
        for role, keys in lacking
    ]
    roles = [role for role, _ in lacking]
    rule = ROLE_MISSING if roles[0].declared_by else PARTNER_MISSING
    where = [Location(WEIGHTS_NAME)] * sum(len(keys) for _, keys in lacking)
    severity: Severity | None = None if any(role.missing == "harms" for role in roles) else "warning"
    found = rule.finding(f"The file has no {', no '.join(each)}.", where, severity=severity)
    is_refused = any(role.refused == "alone" or (role.refused and not anatomy.shared) for role in roles)
    return found._replace(peft="raises") if is_refused else found


CHECKS = (check_spelling, check_roles)
