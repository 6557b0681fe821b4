"""3xx: keys. Which tensors are there, how they are called, and whether the config asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter_format import anatomy as parts
from adapter_format import keys as spelling
from adapter_format.config import WEIGHTS_NAME
from adapter_format.findings import Finding, Location
from adapter_format.layouts import auxiliary
from adapter_format.rules.edits import (
    CopyTensor,
    DropConfig,
    DropTensors,
    RenameTensors,
    SetConfig,
    mutation,
)
from adapter_format.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from adapter_format.anatomy import Anatomy
    from adapter_format.checkpoint import Checkpoint

_RENAME = "Rename the keys; the tensor bytes stay as they are."
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
    spelling.PREFIX_MISSING: (KEY_PREFIX_MISSING, "do not start with `base_model.model.`"),
    spelling.PREFIX_DOUBLED: (KEY_PREFIX_DOUBLED, "have the prefix `base_model.model.` twice"),
    spelling.WRAPPER: (KEY_WRAPPER, "carry the name of a wrapper"),
    spelling.SUFFIX: (ROLE_MISSPELT, "misspell the name of a role"),
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
            f"{len(found)} of {total} keys {what}; as stored, {who} {as_stored} of {total} keys. "
            f"{first.key!r} should be {first.canonical!r}."
        )
        # A base may have an attribute of that name itself: inside the prefix, the folder alone can't tell.
        attributes = tuple(f"{anatomy.layout.prefix}{part}." for part in auxiliary().outer_wrapper_parts)
        unsure = fault == spelling.WRAPPER and all(item.key.startswith(attributes) for item in found)
        yield rule.finding(text, places(item.key for item in found), severity="warning" if unsure else None)
    suffixed = [c for c in anatomy.companions if is_suffixed_role(anatomy, c.path)]
    if suffixed:
        text = (
            f"`.weight` stands behind an embedding's factors ({tensors_of(len(suffixed))}); PEFT does not find them so."
        )
        yield EMBEDDING_KEY_SUFFIX.finding(text, places(c.info.name for c in suffixed))
    if anatomy.duplicates:
        text = f"{anatomy.duplicates[0]!r} fills a place that another key fills already ({tensors_of(len(anatomy.duplicates))})."
        yield DUPLICATE_ROLE.finding(text, places(anatomy.duplicates))


def is_suffixed_role(anatomy: Anatomy, path: str) -> bool:
    """Whether a path is a role that has no `.weight`, with `.weight` behind it."""
    bare = path.removesuffix(".weight")
    return bare != path and any(bare.endswith(f".{role.suffix}") for role in anatomy.layout.roles.values())


def check_roles(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge completeness: every module has the roles that its kind and the config call for, and no others."""
    anatomy, config = checkpoint.anatomy, checkpoint.config
    if anatomy is None:
        return
    if not anatomy.modules:
        foreign = (parts.OTHER_METHOD, parts.OTHER_WRITER)
        if not any(c.what in foreign or is_suffixed_role(anatomy, c.path) for c in anatomy.companions):
            kept = f"; its {tensors_of(len(anatomy.companions))} are companions" if anatomy.companions else ""
            text = f"The file holds no tensor of {anatomy.layout.title}{kept}."
            yield NO_ADAPTER_TENSORS.finding(text, [Location(WEIGHTS_NAME)])
        return
    yield from _check_partners(anatomy)
    if config is None:
        return
    declared = parts.declared_roles(anatomy, config)
    for role, wanted in declared.items():
        definition = anatomy.layout.roles[role]
        if not definition.declared_by:
            continue
        field = next(iter(definition.declared_by))
        holders = [module for group in anatomy.alike if role in group[0].roles for module in group]
        if not wanted and holders:
            text = f"{tensors_of(len(holders))} `{definition.suffix}` ({definition.purpose}), but `{field}` is not set in the config."
            yield ROLE_UNDECLARED.finding(
                text,
                places(module.roles[role].name for module in holders),
                mend=f"Set `{field}` as it was in training, or remove the tensors.",
            )
        if wanted:
            lacking = [
                module
                for group in anatomy.alike
                if role not in group[0].roles and role in group[0].kind.shapes
                for module in group
            ]
            if lacking:
                text = f"`{field}` is set, but {len(lacking)} of {len(anatomy.modules)} modules have no `{definition.suffix}` ({definition.purpose})."
                yield ROLE_MISSING.finding(text, places(next(iter(m.roles.values())).name for m in lacking))


def _check_partners(anatomy: Anatomy) -> Iterator[Finding]:
    lacking: dict[str, list[str]] = {}
    for group in anatomy.alike:
        for role in group[0].kind.shapes:
            if role not in group[0].roles and not anatomy.layout.roles[role].declared_by:
                lacking.setdefault(role, []).extend(module.path for module in group)
    for role, paths in lacking.items():
        suffix = anatomy.layout.roles[role].suffix
        text = f"{len(paths)} of {len(anatomy.modules)} modules have no `{suffix}`, first `{paths[0]}`."
        keys = (next(iter(anatomy.modules[path].roles.values())).name for path in paths)
        yield PARTNER_MISSING.finding(text, places(keys))


CHECKS = (check_spelling, check_roles)
