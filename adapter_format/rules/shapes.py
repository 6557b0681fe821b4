"""4xx: shapes, element types and size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adapter_format import anatomy as parts
from adapter_format import diagnosis as faults
from adapter_format.config import CONFIG_NAME, WEIGHTS_NAME
from adapter_format.dtypes import DTYPES
from adapter_format.findings import Finding, Location
from adapter_format.layouts import BASE_FEATURES, auxiliary, dtypes_of, role_name
from adapter_format.module_values import settings_finder
from adapter_format.rules.edits import (
    AddTensor,
    CastTensors,
    ReshapeTensors,
    SetConfig,
    TransposeTensors,
    mutation,
)
from adapter_format.rules.keys import places, tensors_of
from adapter_format.rules.rule import Rule
from adapter_format.rules.shape_sentences import (
    choice_sentence,
    concerned,
    expected_shape,
    factors_sentence,
    mend_of,
    relation_sentence,
    setting_sentence,
    within,
)
from adapter_format.settling import RANK
from adapter_format.shapes import REST
from adapter_format.storage.safetensors_header import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from adapter_format.anatomy import Anatomy
    from adapter_format.checkpoint import Checkpoint
    from adapter_format.diagnosis import ShapeFault
    from adapter_format.modules import Module
    from adapter_format.rules.shape_sentences import Found

_MISMATCH = "size mismatch for base_model.model"

RANK_MISMATCH = Rule(
    "AF401", "rank-mismatch", "error", "LAY-2", "The tensors have another rank than the config gives",
    "PEFT builds its layers with the rank of the config and stops at the first tensor of another size.",
    "Set the field of the rank to that of the tensors, and what the scale divides by it so that the scale stays.", "raises",
    (mutation("plain", SetConfig("/r", 8)),
     mutation("patterns", SetConfig("/rank_pattern", {}), name="pattern lost"),
     mutation("embedding", SetConfig("/r", 8), name="embedding")),
    quotes=(_MISMATCH,), pains=("P25", "P20"),
)  # fmt: skip
FACTORS_DISAGREE = Rule(
    "AF402", "factors-disagree", "error", "LAY-1", "The factors of one module do not fit each other",
    "A and B can't be multiplied: the rank of one is not the rank of the other.",
    "Save the adapter again; one of the factors is not from this module.", "raises",
    (mutation("plain", ReshapeTensors(r"layers\.1\.self_attn\.q_proj\.lora_B", (8, 3))),), quotes=(_MISMATCH,), pains=("P25",),
)  # fmt: skip
WRONG_DIMENSIONS = Rule(
    "AF403", "wrong-dimensions", "error", "LAY-1", "A tensor has the wrong number of dimensions",
    "A factor is a matrix (or a convolution's kernel); a flat one is a shard of a distributed run that was never gathered.",
    "Gather the parameters before saving (ZeRO-3: `stage3_gather_16bit_weights_on_model_save`).", "raises",
    (mutation("plain", ReshapeTensors(r"layers\.1\.self_attn\.q_proj\.lora_A", (32,))),
     mutation("plain", ReshapeTensors(r"lora_[AB]\.weight", (16,)), name="all")),
    quotes=(_MISMATCH,), pains=("P02", "P13"),
)  # fmt: skip
EMPTY_TENSOR = Rule(
    "AF404", "empty-tensor", "error", "LAY-4", "Tensors without elements",
    "ZeRO-3 leaves placeholders of size 0 where the parameters were not gathered: the file has every key and no weights.",
    "Save again with gathering, or recover the weights from the sharded checkpoint; this file can't be mended.", "raises",
    (mutation("plain", ReshapeTensors(r"lora_[AB]\.weight", (0,))),
     mutation("plain", ReshapeTensors(r"layers\.1\..*lora_B", (0, 4)), name="some")),
    quotes=("size mismatch for", "torch.Size([0])", "The size of tensor a (0) must match the size of tensor b"), pains=("P02", "P13"),
)  # fmt: skip
COMPANION_SHAPE = Rule(
    "AF405", "companion-shape", "error", "LAY-3", "A tensor beside the factors does not fit them",
    "Magnitudes, biases and the like have one element for each output of their module.",
    "Save the adapter again; the tensor does not belong to the others.", "raises",
    (mutation("dora", ReshapeTensors(r"layers\.1\.self_attn\.q_proj\.lora_magnitude", (9,))),
     mutation("lora-bias", ReshapeTensors(r"layers\.1\.self_attn\.q_proj\.lora_B\.bias", (9,)), name="bias")),
    quotes=(_MISMATCH,), pains=("P10",),
)  # fmt: skip
TRANSPOSED = Rule(
    "AF406", "factors-transposed", "error", "LAY-1", "The factors are transposed",
    "MLX and others store `[d_in, r]` and `[r, d_out]`; PEFT wants `lora_A` as `[r, d_in]` and `lora_B` as `[d_out, r]`.",
    "Transpose both factors of each module; if only their names were exchanged, exchange the names instead.", "raises",
    (mutation("plain", TransposeTensors(r"lora_[AB]\.weight")),), quotes=(_MISMATCH,), pains=("P21", "P24", "P25"),
    undecided="whether the factors are transposed, or their names exchanged",
)  # fmt: skip
SIBLING_SHAPE = Rule(
    "AF407", "sibling-shape", "warning", "LAY-6", "One layer's module differs in shape from all its siblings",
    "Layers of a model are usually alike; a single odd one is a sign of a wrong or partial tensor.",
    "Compare the module with the base model, and save again if it is wrong.", "raises",
    (mutation("plain", ReshapeTensors(r"layers\.1\.self_attn\.q_proj\.lora_A", (4, 6))),), pains=("P13",),
    note="Looked for where four layers or more have the module; a model of unequal layers is valid, hence a warning.",
)  # fmt: skip
MIXED_DTYPES = Rule(
    "AF408", "mixed-dtypes", "warning", "LAY-5", "The adapter's own tensors have different element types",
    "PEFT converts each on loading, but other readers refuse a mixture, and a part was rounded more than the rest.",
    "Convert all to one type, the widest among them.", "silent-ok",
    (mutation("plain", CastTensors(r"layers\.1\.self_attn\.q_proj\.lora_B", "F16")),), pains=("P23",),
)  # fmt: skip
INTEGER_DTYPE = Rule(
    "AF409", "integer-dtype", "warning", "LAY-5", "Factors stored as integers",
    "PEFT converts them to floats as they stand; quantized values without their scales mean nothing.",
    "Store the dequantized values as F32, BF16 or F16.", "silent-wrong",
    (mutation("plain", CastTensors(r"lora_[AB]\.weight", "I32")),),
    note="PEFT takes the numbers as they stand; whether a scale is missing, the file does not tell: a warning.",
)  # fmt: skip
UNUSUAL_DTYPE = Rule(
    "AF410", "unusual-dtype", "info", "LAY-5", "An element type that several readers do not know",
    "F64 doubles the size for nothing; 8-bit floats are not read by NumPy alone and refused by several servers.",
    "Store F32, BF16 or F16.", "silent-ok",
    (mutation("plain", CastTensors(r"lora_[AB]\.weight", "F64")),),
)  # fmt: skip
DTYPE_NOT_LOADABLE = Rule(
    "AF411", "dtype-not-loadable", "error", "LAY-5", "An element type that PEFT can't load",
    "torch has no arithmetic for packed 4-bit and 6-bit floats.", "Store F32, BF16 or F16.", "raises",
    (mutation("plain", CastTensors(r"lora_[AB]\.weight", "F6_E2M3")),),
)  # fmt: skip
EXPERTS_UNEVEN = Rule(
    "AF412", "experts-uneven", "error", "LAY-1", "The factors of a mixture's experts do not divide by the rank",
    "For `target_parameters`, A has r rows for each expert and B r columns for each.",
    "Save the adapter again, or correct `r`.", "raises",
    (mutation("experts", ReshapeTensors(r"layers\.0\..*lora_[A]", (7, 8))),), quotes=(_MISMATCH,), pains=("P07",),
)  # fmt: skip
SETTING_MISMATCH = Rule(
    "AF414", "setting-mismatch", "error", "LAY-2", "The tensors have another size than a field of the config gives",
    "PEFT builds its layers from the config and stops at the first tensor of another size.",
    "Set the field to the value that the adapter was trained with.", "raises",
    (mutation("circulant", SetConfig("/block_size", 2)),), quotes=(_MISMATCH,), pains=("P25",),
)  # fmt: skip
INDEX_DTYPE = Rule(
    "AF415", "index-dtype", "warning", "LAY-5", "A tensor that counts or points is stored in another element type",
    "Positions and counts are whole numbers of one type; PEFT converts others as they stand, other readers need not.",
    "Store the tensor in the element type named.", "silent-ok",
    (mutation("sparse", CastTensors(r"shira_indices$", "F32")),),
)  # fmt: skip
TOKEN_ROWS = Rule(
    "AF413", "token-rows", "error", "LAY-7", "Trained tokens and their indices differ in number",
    "Each row of `trainable_tokens_delta` replaces the row of one index; PEFT stops if the numbers differ.",
    "Correct `trainable_token_indices`: one index a row, in the order of the rows.", "raises",
    (mutation("tokens", SetConfig("/trainable_token_indices", [1, 2])),), quotes=(_MISMATCH,),
)  # fmt: skip
LARGER_THAN_FORMULA = Rule(
    "AF420", "larger-than-formula", "info", "LAY-8", "Most of the file is not the adapter's own tensors",
    "The size formula gives the bytes of the factors; whole modules stored beside them make a file many times as large, "
    "and several servers refuse it.",
    "Keep stored modules only if they were trained.", "silent-ok",
    (mutation("saved-module", SetConfig("/modules_to_save", ["score", "lm_head"]), AddTensor("base_model.model.lm_head.weight", (512, 8))),),
    quotes=("is unsupported LoRA weight",), pains=("P04",),
)  # fmt: skip

RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))

_SIBLINGS_NEEDED = 4
_NOT_LOADABLE = frozenset({"F4", "F6_E2M3", "F6_E3M2"})
_USUAL = frozenset({"F32", "F16", "BF16"})
_UNUSUAL = frozenset({"F64", "C64"}) | {name for name in DTYPES if name.startswith("F8_")}


def check_shapes(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge the shapes of every module against its kind, its rank and its own other tensors."""
    anatomy, config = checkpoint.anatomy, checkpoint.config
    if anatomy is None or any(_is_on(config, name) for name in anatomy.layout.retired_layouts):
        return
    by_fault: dict[tuple[str, str], list[tuple[Module, ShapeFault]]] = {}
    for group in anatomy.alike:
        for fault in group[0].faults:
            name = fault.fault
            if name == faults.FACTORS and group[0].kind.select.get("target") == "parameter":
                name = "experts"
            by_fault.setdefault((name, fault.symbol), []).extend((module, fault) for module in group)
    for (name, _), found in by_fault.items():
        rule, text = _describe(name, found, anatomy, config or {})
        keys = [module.roles[fault.role].name for module, fault in found]
        sharded = any(len(module.roles[fault.role].shape) < 2 for module, fault in found)
        mend = None if rule is not WRONG_DIMENSIONS or sharded else "Save the adapter again with the shapes named."
        yield rule.finding(text, places(keys), mend=mend_of(found, anatomy, config or {}) or mend)


def _is_on(config: Mapping[str, Any] | None, name: str) -> bool:
    value = (config or {}).get(name)
    return isinstance(value, list) and any(value)


def _describe(name: str, found: Found, anatomy: Anatomy, config: Mapping[str, Any]) -> tuple[Rule, str]:
    module, fault = found[0]
    info = module.roles[fault.role]
    shape, (which, is_one) = list(info.shape), concerned(found, anatomy)
    if name == faults.SETTING:
        rule = RANK_MISMATCH if fault.symbol == RANK else SETTING_MISMATCH
        return rule, setting_sentence(found, anatomy, config)
    if name == faults.RELATION:
        return SETTING_MISMATCH, relation_sentence(found, anatomy)
    if name == faults.CHOICE:
        return SETTING_MISMATCH, choice_sentence(found, anatomy)
    if name == faults.EMPTY:
        verb = "holds" if is_one else "hold"
        return EMPTY_TENSOR, f"{which} {verb} tensors without elements; {info.name!r} has the shape {shape}."
    if name == faults.TRANSPOSED:
        expected = expected_shape(module, fault)
        text = f"The factors of {which} are transposed: {info.name!r} has the shape {shape}, expected {expected}."
        return TRANSPOSED, text
    judged = {faults.DIMENSIONS: WRONG_DIMENSIONS, faults.COMPANION: COMPANION_SHAPE, "experts": EXPERTS_UNEVEN}
    if name not in judged:
        return FACTORS_DISAGREE, factors_sentence(found, anatomy)
    wanted = fault.mismatch.expected if fault.mismatch else ""
    expected = expected_shape(module, fault)
    rule = judged[name]
    said = f"{wanted}, {expected}" if rule is WRONG_DIMENSIONS else f"{expected} with {wanted}"
    return rule, f"{info.name!r} has the shape {shape}, expected {said}{within(found, anatomy)}."


def check_siblings(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Find the one module that differs from all its siblings in other layers."""
    anatomy = checkpoint.anatomy
    if anatomy is None or len(anatomy.alike) < 2:
        return
    features = (*sorted(BASE_FEATURES), REST)
    for template, paths in anatomy.series.items():
        if len(paths) < _SIBLINGS_NEEDED:
            continue
        signatures: dict[tuple[tuple[str, int], ...], list[str]] = {}
        if len({id(anatomy.modules[path].symbols) for path in paths}) == 1:
            continue
        for path in paths:
            module = anatomy.modules[path]
            if module.faults or not _is_complete(module, anatomy):
                continue
            signature = tuple((name, module.symbols[name]) for name in features if name in module.symbols)
            signatures.setdefault(signature, []).append(path)
        if len(signatures) != 2:
            continue
        odd, usual = sorted(signatures.values(), key=len)
        known = [{name for name, _ in signature} for signature in signatures]
        if known[0] == known[1] and len(odd) == 1 and len(usual) >= _SIBLINGS_NEEDED - 1:
            stored = _shapes(anatomy.modules[odd[0]])
            text = f"`{odd[0]}` is stored as {stored}, its {len(usual)} siblings `{template}` as {_shapes(anatomy.modules[usual[0]])}."
            yield SIBLING_SHAPE.finding(text, places(info.name for info in anatomy.modules[odd[0]].roles.values()))


def _is_complete(module: Module, anatomy: Anatomy) -> bool:
    """Whether every factor is there and readable."""
    stored = parts.stored_roles(module)
    return all(info.dtype for info in module.roles.values()) and all(
        role in stored for role in module.kind.shapes if not anatomy.layout.roles[role].declared_by
    )


def _shapes(module: Module) -> str:
    return ", ".join(str(list(info.shape)) for info in module.roles.values())


def check_dtypes(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge the element types of the method's own tensors."""
    anatomy = checkpoint.anatomy
    if anatomy is None:
        return
    yield from _check_counts(anatomy, checkpoint.config or {})
    counts = {name for name, role in anatomy.layout.roles.items() if role.dtypes}
    stored = {
        info.dtype
        for group in anatomy.alike
        for name, info in group[0].roles.items()
        if not counts or role_name(name) not in counts
    }
    if len(stored) == 1 and stored <= _USUAL:
        return
    by_dtype: dict[str, list[str]] = {name: [] for name in sorted(stored)}
    for unit in anatomy.units:
        for name, info in unit.roles.items():
            if role_name(name) not in counts:
                by_dtype[info.dtype].append(info.name)
    by_dtype.pop(UNKNOWN, None)
    loadable = {name: keys for name, keys in by_dtype.items() if name not in _NOT_LOADABLE}
    for name in by_dtype.keys() & _NOT_LOADABLE:
        yield DTYPE_NOT_LOADABLE.finding(
            f"{tensors_of(len(by_dtype[name]))} are stored as {name}.", places(by_dtype[name])
        )
    integers = [name for name in loadable if DTYPES[name].kind not in ("float", "complex")]
    for name in integers:
        text = f"{tensors_of(len(by_dtype[name]))} of the method are stored as {name}, expected floats."
        yield INTEGER_DTYPE.finding(text, places(by_dtype[name]))
    floats = {name: keys for name, keys in loadable.items() if name not in integers}
    if len(floats) > 1:
        rarest = min(floats, key=lambda name: (len(floats[name]), name))
        shares = ", ".join(f"{len(keys)} {name}" for name, keys in sorted(floats.items()))
        yield MIXED_DTYPES.finding(f"The method's tensors have mixed element types: {shares}.", places(floats[rarest]))
        return
    for name in floats.keys() & _UNUSUAL:
        yield UNUSUAL_DTYPE.finding(f"{tensors_of(len(floats[name]))} are stored as {name}.", places(floats[name]))


def _check_counts(anatomy: Anatomy, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Judge the element types of tensors that hold no weights, but positions or counts."""
    find = settings_finder(anatomy.layout, config)
    found: dict[tuple[str, str], list[str]] = {}
    for group in anatomy.alike if anatomy.layout.has_counts else ():
        for name, info in group[0].roles.items():
            wanted = dtypes_of(anatomy.layout.role(name), find)
            if wanted and info.dtype not in (*wanted, UNKNOWN):
                keys = [module.roles[name].name for module in group]
                found.setdefault((" or ".join(wanted), info.dtype), []).extend(keys)
    for (wanted_names, stored), keys in found.items():
        text = f"{tensors_of(len(keys))} are stored as {stored}, expected {wanted_names}."
        yield INDEX_DTYPE.finding(text, places(keys))


def check_token_rows(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Compare trained token rows with the indices of the config."""
    anatomy, config = checkpoint.anatomy, checkpoint.config
    if anatomy is None or config is None:
        return
    field = auxiliary().tokens_field
    wanted = config.get(field)
    for companion in anatomy.companions_that_are(parts.TOKENS):
        indices = wanted
        if isinstance(wanted, dict):
            leaf = companion.detail.rpartition(".")[2]
            indices = next((wanted[name] for name in wanted if companion.detail.endswith(name) or name == leaf), None)
        shape = companion.info.shape
        if isinstance(indices, list) and (len(shape) != 2 or shape[0] != len(indices)):
            text = f"{companion.info.name!r} has the shape {list(shape)}, but `{field}` lists {len(indices)} indices."
            yield TOKEN_ROWS.finding(
                text, [Location(WEIGHTS_NAME, companion.info.name), Location(CONFIG_NAME, pointer=f"/{field}")]
            )


def check_size(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Compare stored bytes with the size formula and explain what is beyond it."""
    anatomy, header = checkpoint.anatomy, checkpoint.header
    if anatomy is None or header is None or not header.readable or not anatomy.modules:
        return
    size = checkpoint.size
    if size is None:
        return
    beyond = size.stored_bytes - size.formula_bytes
    if beyond > size.formula_bytes and not size.unexplained:
        reasons = ", ".join(f"{name} {nbytes:,}" for name, nbytes in size.companions.items())
        text = f"Stored are {size.stored_bytes:,} bytes, the size formula gives {size.formula_bytes:,}; beyond it: {reasons}."
        keys = (c.info.name for c in sorted(anatomy.companions, key=lambda c: -c.info.nbytes))
        yield LARGER_THAN_FORMULA.finding(text, places(keys))


CHECKS = (check_shapes, check_siblings, check_dtypes, check_token_rows, check_size)
