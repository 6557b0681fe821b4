"""3xx: keys of tensors that are no role of the method: companions that any method may carry, and strangers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adapter_format import anatomy as parts
from adapter_format.config import CONFIG_NAME
from adapter_format.findings import Finding, Location
from adapter_format.foreign import foreign_spelling
from adapter_format.keys import is_of_embedding_with_weight
from adapter_format.layouts import auxiliary
from adapter_format.patterns import PatternError, PatternTooCostly, compile_pattern
from adapter_format.rules.edits import AddTensor, DropConfig, DropTensors, RenameTensors, SetConfig, mutation
from adapter_format.rules.keys import MISSING_KEYS, UNSUPPORTED_WEIGHT, live_prompt, places, tensors_of
from adapter_format.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from adapter_format.anatomy import Anatomy
    from adapter_format.checkpoint import Checkpoint
    from adapter_format.layouts import Layout

OTHER_METHOD = Rule(
    "AF308", "keys-of-another-method", "error", "KEY-13", "Tensors of another method",
    "The config says one method, the tensors are of another; PEFT drops what it does not know.",
    "Set `peft_type` to the method of the tensors, or remove them.", "silent-ok",
    (mutation("plain", AddTensor("base_model.model.model.layers.0.self_attn.o_proj.hada_w1_a", (8, 4))),
     mutation("plain", RenameTensors(r"lora_A\.weight$", "hada_w1_a"), RenameTensors(r"lora_B\.weight$", "hada_w1_b"), name="all")),
    quotes=(MISSING_KEYS, UNSUPPORTED_WEIGHT), pains=("P29",),
    note="With a few foreign tensors besides, PEFT drops these in silence; with nothing else in the file, the adapter does nothing.",
)  # fmt: skip
OTHER_WRITER = Rule(
    "AF309", "keys-of-another-writer", "error", "KEY-13", "Keys in the spelling of another program",
    "The tensors may be a good adapter of kohya, diffusers, MLX or Megatron; PEFT finds none of them.",
    "Convert the file from that program's layout.", "warns",
    (mutation("plain", RenameTensors(r"^base_model\.model\.(.*)\.lora_A\.weight$", r"\1.lora_a"),
              RenameTensors(r"^base_model\.model\.(.*)\.lora_B\.weight$", r"\1.lora_b"), name="MLX"),
     mutation("plain", RenameTensors(r"lora_A\.weight$", "lora_down.weight"),
              RenameTensors(r"lora_B\.weight$", "lora_up.weight"), name="kohya"),
     mutation("plain", RenameTensors(r"^base_model\.model\.(.*)\.lora_A\.weight$", r"\1.lora.down.weight"),
              RenameTensors(r"^base_model\.model\.(.*)\.lora_B\.weight$", r"\1.lora.up.weight"), name="diffusers")),
    quotes=(MISSING_KEYS, "unhandledKeys(base:"), pains=("P21",),
)  # fmt: skip
BASE_WEIGHT = Rule(
    "AF310", "base-weights-in-adapter", "error", "KEY-11", "Tensors of the base model in the adapter",
    "Loading overwrites the base model's own tensors without a message; servers and converters refuse the file.",
    "Remove the tensors, or name their modules in `modules_to_save` if they were trained.", "silent-wrong",
    (mutation("plain", AddTensor("base_model.model.model.layers.0.self_attn.o_proj.weight", (8, 8))),
     mutation("plain", AddTensor("base_model.model.model.norm.weight", (8,)), name="norm")),
    quotes=(UNSUPPORTED_WEIGHT, "Unexpected name", "Not a lora_A or lora_B tensor"), pains=("P04", "P10", "P11"),
)  # fmt: skip
BASE_LAYER = Rule(
    "AF311", "base-layer-in-adapter", "error", "KEY-12", "`base_layer` tensors overwrite the base model",
    "PEFT loads them over the weights of the base model without a message: whatever base is used, these layers are no "
    "longer its own.",
    "Remove every key with `.base_layer.`; only a stored embedding and declared biases may have one.", "silent-wrong",
    (mutation("plain", AddTensor("base_model.model.model.layers.0.self_attn.q_proj.base_layer.weight", (8, 8))),),
    quotes=("base_layer.weight is unsupported LoRA weight",), pains=("P04", "P10"),
)  # fmt: skip
SAVED_MODULE_MISSING = Rule(
    "AF318", "saved-module-missing", "warning", "KEY-9", "A module of `modules_to_save` has no tensors",
    "PEFT stops with a KeyError if the base has that module; without it the head is untrained.",
    "Save again with the module, or remove it from `modules_to_save`.", "raises",
    (mutation("saved-module", DropTensors(r"score\.")),),
    quotes=("KeyError: 'base_model.model.score", "vLLM only supports modules_to_save being None"), pains=("P10",),
    note="PEFT ignores a name that no module of the base ends with, and writes such lists; which it is, only the base can "
    "tell: a warning.", undecided="whether the base has the modules that `modules_to_save` names in vain",
)  # fmt: skip
TOKENS_MISSING = Rule(
    "AF319", "trainable-tokens-missing", "error", "KEY-10", "The trained tokens are not there",
    "The config lists `trainable_token_indices`, the file has no `trainable_tokens_delta`; PEFT stops with a KeyError.",
    "Save again with all tensors, or remove `trainable_token_indices`.", "raises",
    (mutation("tokens", DropTensors(r"trainable_tokens_delta")),), quotes=("KeyError: 'base_model.model.",),
)  # fmt: skip
TOKENS_UNDECLARED = Rule(
    "AF320", "trainable-tokens-undeclared", "error", "KEY-10", "Trained tokens that the config does not declare",
    "PEFT drops the rows without a word: the new tokens keep the base model's values.",
    "Add `trainable_token_indices` with the ids, in the order of the rows.", "silent-wrong",
    (mutation("tokens", DropConfig("/trainable_token_indices")),),
)  # fmt: skip
SAVED_MODULE_SPELLING = Rule(
    "AF323", "saved-module-spelling", "error", "KEY-9", "In-memory names of saved modules in the keys",
    "On disk a saved module has its original path; with `modules_to_save.default` in it, PEFT does not find it.",
    "Remove `modules_to_save.<name>.` from the keys and drop every `original_module` tensor.", "raises",
    (mutation("saved-module", RenameTensors(r"score\.", "score.modules_to_save.default.")),), pains=("P03", "P10"),
)  # fmt: skip
STORED_EMBEDDING = Rule(
    "AF328", "stored-embedding", "info", "KEY-9", "A whole embedding or head is stored",
    "PEFT stores it when an embedding is targeted or the vocabulary was resized. It makes the file large, several servers "
    "refuse it, and its rows must fit the base.",
    "Keep it if tokens were added; otherwise save with `save_embedding_layers=False`, or train `trainable_token_indices`.",
    "silent-wrong",
    (mutation("plain", AddTensor("base_model.model.model.embed_tokens.weight", (16, 8))),),
    quotes=("size mismatch for base_model.model.model.embed_tokens.weight", "base_model.model.lm_head.weight is unsupported LoRA weight",
            "Unexpected name 'base_model.model.lm_head.weight': Not a lora_A or lora_B tensor"),
    pains=("P03", "P04", "P10", "P11", "P22"),
    note="Valid as PEFT's own output, hence information. Whether the rows fit, the base must tell.",
    undecided="whether the stored rows fit the base's vocabulary",
)  # fmt: skip
NAME_COLLISION = Rule(
    "AF329", "name-collision", "warning", "KEY-14", "A module's name looks like a part of the method",
    "Releases of PEFT that choose tensors by substring lose or misplace tensors of a module whose name contains it.",
    "Rename the module, or load with PEFT 0.21 or later.", "silent-ok",
    (mutation("saved-module", RenameTensors(r"score\.", "lora_head."), SetConfig("/modules_to_save", ["lora_head"])),),
    quotes=("should not be contained in the prefix",), pains=("P26",),
)  # fmt: skip
UNKNOWN_BIAS = Rule(
    "AF331", "bias-undeclared", "error", "KEY-6", "Biases that the config does not declare",
    "`bias` says `none`, but the file has biases of the base model: loading overwrites the base's own without a message.",
    "Set `bias` to what was trained, if they were, otherwise remove them.", "silent-wrong",
    (mutation("lora-bias", AddTensor("base_model.model.model.layers.0.self_attn.k_proj.bias", (8,))),
     mutation("bias-all", SetConfig("/bias", "none"), name="field lost")),
    quotes=(UNSUPPORTED_WEIGHT,), pains=("P10",),
)  # fmt: skip
OLD_BIAS_KEY = Rule(
    "AF333", "old-bias-key", "error", "KEY-6", "Biases under the key of PEFT 0.6 and before",
    "Since 0.7 an adapted module's own bias is called `base_layer.bias`; under the old key it is dropped without a word.",
    "Rename `<module>.bias` to `<module>.base_layer.bias` for each adapted module, or load with PEFT 0.6.2.", "silent-wrong",
    (mutation("bias-all", RenameTensors(r"\.base_layer\.bias$", ".bias")),), pains=("P10",),
)  # fmt: skip
BIAS_MISSING = Rule(
    "AF332", "bias-missing", "info", "KEY-6", "The config declares biases, the file has none",
    "PEFT 0.7 to 0.20 lose the biases of `bias: lora_only` when they save; a base without biases has none to store.",
    "If the base has biases, save again with PEFT 0.21 or later.", "silent-ok",
    (mutation("plain", SetConfig("/bias", "lora_only")),),
    note="A known bug of PEFT 0.7.0 to 0.20.0 if the base has biases; the file alone cannot tell.",
    undecided="whether the base has biases",
)  # fmt: skip

RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))

_ONE_OF_TWO = "Target the attention alone, which adapts its output projection as well, and train again."


def check_companions(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge every tensor that is no role of the method."""
    anatomy, config = checkpoint.anatomy, checkpoint.config
    if anatomy is None:
        return
    for what, rule in ((parts.OTHER_METHOD, OTHER_METHOD), (parts.OTHER_WRITER, OTHER_WRITER)):
        found = [
            c for c in anatomy.companions_that_are(what) if not is_of_embedding_with_weight(anatomy.layout, c.path)
        ]
        if found:
            name = found[0].detail
            text = f"Spelled as {name} spells them: {tensors_of(len(found))}, such as {found[0].info.name!r}."
            yield rule.finding(
                text, places(c.info.name for c in found), mend=_foreign_mend(found[0].info.name, anatomy)
            )
    if config is None:
        return
    in_layers = anatomy.companions_that_are(parts.BASE_LAYER)
    twice = [c for c in in_layers if _is_adapted_twice(c.detail, anatomy)]
    if twice:
        text = (
            f"An attention and its output projection are both adapted, so that PEFT stored {tensors_of(len(twice))} of the "
            f"base too, such as {twice[0].info.name!r}; loading overwrites the base's."
        )
        yield BASE_LAYER.finding(text, places(c.info.name for c in twice), severity="warning", mend=_ONE_OF_TWO)
    in_layers = tuple(c for c in in_layers if c not in twice)
    live = {c.info.name for c in live_prompt(anatomy)}
    base = [
        c
        for c in anatomy.companions_that_are(parts.BASE_WEIGHT)
        if c.info.name not in live and not is_of_embedding_with_weight(anatomy.layout, c.path)
    ]
    biases = [c for c in base if c.path.endswith(".bias")]
    layer_biases = [c for c in in_layers if c.path.endswith(".bias")]
    declared_biases = parts.stored_biases(anatomy.layout, config)
    if declared_biases == "adapted" and layer_biases:
        # PEFT writes them so when another adapter, loaded beside this one, adapts those modules.
        text = f"Biases of modules that this adapter does not adapt: {tensors_of(len(layer_biases))}; they are dropped."
        yield UNKNOWN_BIAS.finding(
            text, places(c.info.name for c in layer_biases), severity="warning", mend="Remove them."
        )._replace(peft="silent-ok")
        layer_biases = []
    if biases or layer_biases:
        text = f"Biases of the base model that `bias` does not declare: {tensors_of(len(biases) + len(layer_biases))}."
        where = places(c.info.name for c in (*biases, *layer_biases))
        yield UNKNOWN_BIAS.finding(text, where, mend=_bias_mend(anatomy.layout))
    others = [c for c in base if not c.path.endswith(".bias")]
    if others:
        nbytes = sum(c.info.nbytes for c in others)
        text = f"Weights of the base model itself: {tensors_of(len(others))} of {nbytes:,} bytes, such as {others[0].info.name!r}; loading overwrites the base's."
        yield BASE_WEIGHT.finding(text, places(c.info.name for c in others))
    layers = [c for c in in_layers if not c.path.endswith(".bias")]
    if layers:
        text = f"Loading overwrites weights of the base model with {tensors_of(len(layers))}, such as {layers[0].info.name!r}."
        yield BASE_LAYER.finding(text, places(c.info.name for c in layers))
    embeddings = anatomy.companions_that_are(parts.EMBEDDING)
    if embeddings:
        first = embeddings[0].info
        nbytes = sum(c.info.nbytes for c in embeddings)
        text = f"Whole embeddings are stored: {tensors_of(len(embeddings))} of {nbytes:,} bytes; {first.name!r} has {first.shape[0] if first.shape else 0:,} rows."
        yield STORED_EMBEDDING.finding(text, places(c.info.name for c in embeddings))
    yield from _check_saved_modules(anatomy, config)
    yield from _check_tokens(anatomy, config)
    old = [c for c in anatomy.companions_that_are(parts.BIAS) if c.path.removesuffix(".bias") in anatomy.modules]
    if old:
        text = f"Biases of adapted modules under their old key: {tensors_of(len(old))}, such as {old[0].info.name!r}."
        yield OLD_BIAS_KEY.finding(text, places(c.info.name for c in old))
    if declared_biases != "none" and not anatomy.companions_that_are(parts.BIAS):
        field = anatomy.layout.bias["field"]
        text = f"`{field}` is {config.get(field)!r}, but the file holds no bias."
        yield BIAS_MISSING.finding(text, [Location(CONFIG_NAME, pointer=f"/{field}")])


def _bias_mend(layout: Layout) -> str:
    """Name the values of the bias field that store biases; a method without the field has none to store."""
    storing = [f"`{value}`" for value, what in layout.bias.get("modes", {}).items() if what != "none"]
    if not storing:
        return f"Remove them: {layout.title} stores no biases beside its tensors."
    return f"Set `{layout.bias['field']}` to {' or '.join(storing)} if they were trained, otherwise remove them."


def _is_adapted_twice(path: str, anatomy: Anatomy) -> bool:
    """Whether a module is adapted both by itself and inside its owner, as `out_proj` of `nn.MultiheadAttention` can be."""
    owner, _, leaf = path.rpartition(".")
    return path in anatomy.modules and f"{owner}.{auxiliary().base_layer_part}.{leaf}" in anatomy.modules


def _foreign_mend(key: str, anatomy: Anatomy) -> str | None:
    foreign = foreign_spelling(key, anatomy.layout.peft_type)
    return foreign.mend if foreign else None


def _check_saved_modules(anatomy: Anatomy, config: Mapping[str, Any]) -> Iterator[Finding]:
    declared = auxiliary()
    wanted = config.get(declared.saved_modules_field)
    stored = [c.path for c in anatomy.companions_that_are(parts.SAVED_MODULE)]
    copies = anatomy.companions_that_are(parts.SAVED_COPY)
    misspelt = [c for c in copies if not _is_plain_copy(c.path) and not _is_spare_bias(c.path, anatomy, config, stored)]
    if misspelt:
        text = f"Spelled as in memory, not as on disk: {tensors_of(len(misspelt))} of saved modules, such as {misspelt[0].info.name!r}."
        yield SAVED_MODULE_SPELLING.finding(text, places(c.info.name for c in misspelt))
    spelled = " ".join(c.path for c in copies)
    names = [name for name in wanted if isinstance(name, str)] if isinstance(wanted, list) else []
    heads_alone = not stored and not copies and all(_is_task_head(name, config) for name in names)
    for index, name in enumerate(names[:1] if heads_alone else names):
        if f"{name}." in spelled or (_is_task_head(name, config) and not heads_alone) or not _is_regex(name):
            continue
        if any(parts.saved_module(path, [name]) for path in stored):
            continue
        text = f"`modules_to_save` lists {name!r}, but the file holds no tensor of it."
        place = Location(CONFIG_NAME, pointer=f"/{declared.saved_modules_field}/{index}")
        yield SAVED_MODULE_MISSING.finding(text, [place])
    for companion in anatomy.companions_that_are(parts.SAVED_MODULE):
        leaf = companion.detail.rpartition(".")[2]
        if anatomy.layout.weight_part in leaf:
            text = f"The saved module {companion.detail!r} contains {anatomy.layout.weight_part!r}, which PEFT's older releases search for."
            yield NAME_COLLISION.finding(text, places([companion.info.name]))
            return


def _is_task_head(name: str, config: Mapping[str, Any]) -> bool:
    """PEFT lists every usual head of a task, though a model has only one of them."""
    return name in auxiliary().task_heads.get(str(config.get("task_type")), ())


def _is_regex(name: str) -> bool:
    """Whether PEFT can match a name, which it takes for a regex; another rule reports those that it can't."""
    try:
        compile_pattern(name)
    except (PatternError, PatternTooCostly):
        return False
    return True


def _is_plain_copy(path: str) -> bool:
    """Whether a copy is spelled as PEFT stores it for a resized vocabulary: no adapter name behind the part."""
    parts_of_path = path.split(".")
    memory = auxiliary().memory_parts
    return any(part in memory and len(parts_of_path) - index == 2 for index, part in enumerate(parts_of_path))


def _is_spare_bias(path: str, anatomy: Anatomy, config: Mapping[str, Any], stored: list[str]) -> bool:
    """Whether a copy is a bias that PEFT stores a second time, with all biases, beside the one that it loads."""
    if parts.stored_biases(anatomy.layout, config) != "all" or not path.endswith(".bias"):
        return False
    parts_of_path = path.split(".")
    memory = auxiliary().memory_parts
    at = next(index for index, part in enumerate(parts_of_path) if part in memory)
    behind = at + (2 if parts_of_path[at] == memory[0] else 1)
    return ".".join(parts_of_path[:at] + parts_of_path[behind:]) in stored


def _check_tokens(anatomy: Anatomy, config: Mapping[str, Any]) -> Iterator[Finding]:
    declared = auxiliary()
    wanted = config.get(declared.tokens_field)
    stored = anatomy.companions_that_are(parts.TOKENS)
    # PEFT makes a tensor of no rows for an empty list, but none for an empty object.
    if wanted is not None and wanted != {} and not stored:
        text = f"`{declared.tokens_field}` is set, but no key ends in `{declared.tokens_suffix}`."
        yield TOKENS_MISSING.finding(text, [Location(CONFIG_NAME, pointer=f"/{declared.tokens_field}")])
    undeclared = [
        c for c in stored if wanted is None or (isinstance(wanted, dict) and not _names_owner(wanted, c.detail))
    ]
    if undeclared:
        what = "does not name their module" if wanted else "is not set in the config"
        text = f"{tensors_of(len(undeclared))} of trained tokens, but `{declared.tokens_field}` {what}."
        yield TOKENS_UNDECLARED.finding(text, places(c.info.name for c in undeclared))


def _names_owner(names: Mapping[str, Any], path: str) -> bool:
    return any(path.endswith(name) for name in names)


CHECKS = (check_companions,)
