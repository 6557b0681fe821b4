"""2xx: the config as a set of typed fields."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from adapter_format.anatomy import OTHER_METHOD, switched_off
from adapter_format.conditions import is_set
from adapter_format.config import CONFIG_NAME
from adapter_format.findings import Finding, Location, Severity
from adapter_format.foreign import foreign_config, foreign_spelling
from adapter_format.modules import regex_fields
from adapter_format.rules.document import RESTORE
from adapter_format.rules.edits import (
    DropConfig,
    ReshapeTensors,
    SetConfig,
    WriteFile,
    mutation,
)
from adapter_format.rules.rule import Rule
from adapter_format.schema_words import short_value
from adapter_format.semantics import alpha_value
from adapter_format.settling import RANK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from adapter_format.anatomy import Anatomy
    from adapter_format.checkpoint import Checkpoint
    from adapter_format.constraints import Constraint
    from adapter_format.layouts import Layout


PEFT_TYPE_MISSING = Rule(
    "AF208", "peft-type-missing", "error", "CFG-3", "The config does not say which method it is",
    "`peft_type` decides what every other field and every tensor means.",
    'Add `"peft_type": "LORA"`, or the method that the adapter was trained with.', "raises",
    (mutation("plain", DropConfig("/peft_type")),), quotes=("KeyError: 'peft_type'",), pains=("P27",),
)  # fmt: skip
PEFT_TYPE_UNKNOWN = Rule(
    "AF209", "peft-type-unknown", "error", "CFG-3", "A method that no PEFT release knows",
    "PEFT looks the name up in a table and stops with a KeyError; names are upper case.",
    "Spell `peft_type` as PEFT does; for a method of your own, register it with PEFT first.", "raises",
    (mutation("plain", SetConfig("/peft_type", "lora")),
     mutation("plain", SetConfig("/peft_type", "LORA2"), name="unknown")),
    quotes=("KeyError: 'lora'",),
    note="A warning for a name unlike any that is known: it may be of a newer release, or registered with PEFT by its users. "
    "What needs no layout is judged all the same, and `unchecked` says what is not.",
)  # fmt: skip
FOREIGN_CONFIG = Rule(
    "AF210", "foreign-config", "error", "CFG-3", "The config belongs to another program",
    "The file name is PEFT's, the content is not; PEFT stops, and other readers guess.",
    RESTORE, "raises",
    (mutation("plain", WriteFile(CONFIG_NAME, b'{"fine_tune_type": "lora", "num_layers": 4, "lora_parameters": {"rank": 4}}')),
     mutation("plain", WriteFile(CONFIG_NAME, b'{"architectures": ["LlamaForCausalLM"], "model_type": "llama"}'), name="model")),
    quotes=("KeyError: 'peft_type'", "'SimpleNamespace' object has no attribute 'num_layers'",
            "PeftConfig.__init__() got an unexpected keyword argument '_name_or_path'"),
    pains=("P06", "P21", "P27"),
)  # fmt: skip
FIELD_TYPE = Rule(
    "AF211", "field-type", "error", "CFG-4", "A field has a value of the wrong type",
    "PEFT stops, or takes the value for something else than was meant.",
    "Write a value of the type named.", "raises",
    (mutation("plain", SetConfig("/r", "4")), mutation("plain", SetConfig("/lora_alpha", "8"), name="alpha"),
     mutation("plain", SetConfig("/r", None), name="null"), mutation("plain", SetConfig("/r", 4.0), name="fraction")),
    quotes=("'<=' not supported between instances of 'str' and 'int'",), pains=("P27",),
)  # fmt: skip
FIELD_VALUE = Rule(
    "AF212", "field-value", "error", "CFG-4", "A field has a value outside its range",
    "PEFT stops, or computes something that nobody trained.",
    "Write one of the values allowed.", "raises",
    (mutation("plain", SetConfig("/lora_dropout", 1.5)), mutation("plain", SetConfig("/task_type", "CHAT"), name="task"),
     mutation("plain", SetConfig("/init_lora_weights", "pisa"), name="init")),
    quotes=("dropout probability has to be between 0 and 1", "Invalid task type"),
)  # fmt: skip
UNKNOWN_FIELD = Rule(
    "AF213", "unknown-field", "warning", "CFG-5", "A field that the method has in no release of PEFT",
    "PEFT 0.14 and later drop it with a warning, 0.6 to 0.13 stop; if it is a misspelt field, its default is used instead.",
    "Remove the field, or spell it right.", "warns",
    (mutation("plain", SetConfig("/lora_rank", 4)),
     mutation("rslora", DropConfig("/use_rslora"), SetConfig("/use_rs_lora", True), name="misspelt")),
    quotes=("Unexpected keyword arguments", "LoraConfig.__init__() got an unexpected keyword argument"), pains=("P06", "P27"),
    note="An error when the name is near to that of a field which the config lacks: the default is used in its place.",
)  # fmt: skip
OLD_FIELD = Rule(
    "AF214", "removed-field", "warning", "CFG-5", "A field that newer releases of PEFT no longer know",
    "The newest PEFT drops it with a warning; 0.6 to 0.13 stop.",
    "Remove the field if its value is the default.", "warns",
    (mutation("plain", SetConfig("/merge_weights", False)),),
    quotes=("Unexpected keyword arguments", "LoraConfig.__init__() got an unexpected keyword argument 'enable_lora'"),
    pains=("P06", "P28"),
)  # fmt: skip
RANK_NOT_POSITIVE = Rule(
    "AF215", "rank-not-positive", "error", "CFG-7", "The rank is not a positive integer",
    "PEFT refuses a layer of no rank.", "Set the field to the rank that the tensors have.", "raises",
    (mutation("plain", SetConfig("/r", 0)), mutation("plain", SetConfig("/r", -4), name="negative")),
    quotes=("`r` should be a positive integer value but the value passed is 0",),
)  # fmt: skip
ALPHA_NOT_POSITIVE = Rule(
    "AF216", "alpha-not-positive", "warning", "CFG-7", "The scale is zero or negative",
    "With `lora_alpha` 0 the adapter does nothing; a negative one turns what was learnt around. Some exporters write 0 "
    "when they do not know the value.",
    "Set the field to the value used in training.", "silent-wrong",
    (mutation("plain", SetConfig("/lora_alpha", 0)), mutation("plain", SetConfig("/lora_alpha", -8), name="negative")),
    pains=("P05",),
    note="PEFT loads such a file as it stands, so that a file which was really trained so is valid: a warning, no error.",
)  # fmt: skip
CONFLICTING_FIELDS = Rule(
    "AF217", "conflicting-fields", "error", "CFG-6", "Two fields exclude each other",
    "PEFT refuses the combination, or ignores one of the two.",
    "Keep the one that the adapter was trained with.", "raises",
    (mutation("experts", SetConfig("/fan_in_fan_out", True)),), pains=("P14",),
)  # fmt: skip
COMPANION_FIELD_MISSING = Rule(
    "AF218", "companion-field-missing", "error", "CFG-6", "A field needs another one that is absent",
    "PEFT refuses the config, or ignores the field.", "Add the field named, or remove the one that needs it.", "raises",
    (mutation("plain", SetConfig("/layers_pattern", ["layers"])),),
)  # fmt: skip
BASE_MODEL_MISSING = Rule(
    "AF219", "base-model-missing", "info", "CFG-8", "The config does not name its base model",
    "Readers that fetch the base by its name can't; a person has to know which model the adapter belongs to.",
    "Set `base_model_name_or_path` to the public id of the base model.", "silent-ok",
    (mutation("plain", SetConfig("/base_model_name_or_path", None)),
     mutation("plain", DropConfig("/base_model_name_or_path"), name="absent")),
    pains=("P09",),
)  # fmt: skip
BASE_MODEL_LOCAL_PATH = Rule(
    "AF220", "base-model-local-path", "warning", "CFG-8", "The base model is a path of somebody's machine",
    "The path exists nowhere else, so that nobody can tell which model is meant; it may also give away a user's name.",
    "Set `base_model_name_or_path` to the public id of the base model.", "silent-ok",
    (mutation("plain", SetConfig("/base_model_name_or_path", "/home/someone/models/llama")),
     mutation("plain", SetConfig("/base_model_name_or_path", "C:\\models\\llama"), name="drive")),
    quotes=("does not appear to have a file named config.json",
            "Repo id must be in the form 'repo_name' or 'namespace/repo_name'"), pains=("P09",),
)  # fmt: skip
BASE_MODEL_CHECKPOINT = Rule(
    "AF221", "base-model-checkpoint", "warning", "CFG-8", "The base model is a training checkpoint's folder",
    "A relative output folder such as `output/checkpoint-500` is no model that another reader can find.",
    "Set `base_model_name_or_path` to the public id of the model that was trained from.", "silent-ok",
    (mutation("plain", SetConfig("/base_model_name_or_path", "output/checkpoint-500")),), pains=("P09",),
)  # fmt: skip
BASE_MODEL_QUANTIZED = Rule(
    "AF222", "base-model-quantized", "info", "CFG-8", "The base model is a quantized repository",
    "The adapter itself is plain; but who merges it by this name merges into a quantized base, or can't.",
    "Name the unquantized base if merging is wanted.", "silent-ok",
    (mutation("plain", SetConfig("/base_model_name_or_path", "example/llama-bnb-4bit")),),
    quotes=("Cannot merge adapters to a quantized model",), pains=("P09",),
)  # fmt: skip
INIT_CHANGES_BASE = Rule(
    "AF223", "init-changes-base", "warning", "CFG-11", "The initialisation changes the base model",
    "The tensors are meant for a base from which the initial adapter was subtracted. PEFT repeats that when it loads; any "
    "other reader adds them to the unchanged base and computes something else.",
    "Save with `path_initial_model_for_weight_conversion`, which makes it a plain LoRA of twice the rank.", "silent-wrong",
    (mutation("plain", SetConfig("/init_lora_weights", "olora")),
     mutation("plain", SetConfig("/init_lora_weights", "pissa"), name="pissa")),
    pains=("P16",),
    undecided="whether the adapter was really trained with the initialisation that the config names",
    note="Right in PEFT, which repeats the initialisation: a warning, no error.",
)  # fmt: skip
INIT_NOT_REPEATABLE = Rule(
    "AF224", "init-not-repeatable", "error", "CFG-11", "The initialisation can't be repeated from the file",
    "It was random or needed training data, so that a reader rebuilds another base than the adapter was trained on, or stops.",
    "Save with `path_initial_model_for_weight_conversion`, which makes it a plain LoRA of twice the rank.", "silent-wrong",
    (mutation("plain", SetConfig("/init_lora_weights", "pissa_niter_4")),),
    pains=("P16",),
)  # fmt: skip
CONFIG_ARTEFACT = Rule(
    "AF225", "config-artefact", "warning", "CFG-12", "The config carries something that does not belong there",
    "Encoded data or a long text in a config is a leftover of a training script, or something hidden.",
    "Remove the value.", "silent-ok",
    (mutation("plain", SetConfig("/revision", "QUJD" * 1200)),),
)  # fmt: skip
MERGED_LINEAR = Rule(
    "AF226", "merged-linear", "error", "CFG-13", "The layout of PEFT 0.1 and 0.2 (`enable_lora`)",
    "Those releases stored one LoRA for a fused query/key/value layer with other shapes; no later release reads it.",
    "Load it with PEFT 0.2 and split the factors, or train again.", "raises",
    (mutation("plain", SetConfig("/enable_lora", [True, False, True]), ReshapeTensors(r"lora_A\.weight", (8, 8)),
              ReshapeTensors(r"lora_B\.weight", (16, 4, 1))),),
    quotes=("copying a param with shape torch.Size([32, 768]) from checkpoint, the shape in current model is torch.Size([16, 768])",
            "unexpected keyword argument 'enable_lora'"), pains=("P28",),
)  # fmt: skip
INFERENCE_MODE_FALSE = Rule(
    "AF227", "inference-mode-false", "info", "CFG-12", "The config was saved in training mode",
    "PEFT always writes `inference_mode` true; false shows another writer or a save in the middle of training.",
    "Set `inference_mode` to true.", "silent-ok", (mutation("plain", SetConfig("/inference_mode", False)),),
)  # fmt: skip

RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))

_LOCAL = re.compile(r"^(/|~|\.\.?/|[A-Za-z]:[\\/]|\\\\|file:)|\\")
_CHECKPOINT = re.compile(r"(^|/)checkpoint-\d+/?$|^(output|outputs|results|runs)/")
_QUANTIZED = re.compile(r"(?i)(bnb-4bit|bnb-8bit|[-_](awq|gptq|gguf|int4|int8|4bit|8bit|w4a16|fp8)\b)")
_LONG_TEXT = 4096


def field(name: str, *, of: Mapping[str, Any] | None = None) -> Location:
    """Return the place of a top-level config field; the document itself when the field is absent from `of`."""
    pointer = "" if of is not None and name not in of else "/" + name.replace("~", "~0").replace("/", "~1")
    return Location(CONFIG_NAME, pointer=pointer)


def quote(value: object, limit: int = 60) -> str:
    """Show a value of the config as text of bounded length: a string in Python's quotes, all else as JSON."""
    text = repr(value[: limit + 8]) if isinstance(value, str) else short_value(value)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def check_method(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge `peft_type`."""
    config = checkpoint.config
    if config is None:
        return
    foreign = foreign_config(config)
    if foreign is not None:
        text = f"The config is that of {foreign.name}, not of a PEFT adapter: it has no `peft_type`."
        yield FOREIGN_CONFIG.finding(text, [Location(CONFIG_NAME, pointer="")], mend=foreign.mend)
        return
    method = config.get("peft_type")
    if method is None:
        spelled = _method_of_keys(checkpoint)
        mend = f'Add `"peft_type": "{spelled}"`: the keys are spelled as those of that method.' if spelled else None
        place = Location(CONFIG_NAME, pointer="")
        yield PEFT_TYPE_MISSING.finding("The config has no `peft_type`.", [place], mend=mend)
        return
    if checkpoint.layout is not None:
        return
    from adapter_format.config_fields import known_peft_types, nearest_method, newest_release

    known = known_peft_types()
    if not isinstance(method, str) or method not in known:
        near = nearest_method(method, known) if isinstance(method, str) else None
        hint = f"; did you mean {near!r}?" if near else "."
        text = f"`peft_type` is {quote(method)}, which no release of PEFT up to {newest_release()} knows{hint}"
        # A name of its own may be that of a newer release, or of a method that its users register with PEFT.
        own = isinstance(method, str) and near is None and method.isidentifier() and method == method.upper()
        mend = f"Set `peft_type` to {near!r}." if near else None
        severity: Severity | None = "warning" if own else None
        yield PEFT_TYPE_UNKNOWN.finding(text, [field("peft_type")], mend=mend, severity=severity)


def _method_of_keys(checkpoint: Checkpoint) -> str | None:
    """Return the method that the first key is spelled as; of several with the same spelling, the usual one."""
    first = next(iter(checkpoint.header.tensors), None) if checkpoint.header is not None else None
    spelled = foreign_spelling(first, "") if first is not None else None
    return spelled.name if spelled is not None and spelled.kind == "method" else None


def check_fields(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge every field against the schema, and names that no schema has."""
    config = checkpoint.config
    if config is None or checkpoint.layout is None:
        return
    from adapter_format.config_fields import fields_of

    known = fields_of(checkpoint.layout.peft_type)
    unknown: list[str] = []
    for name in config:
        found = known.get(name)
        if found is None:
            unknown.append(name)
        elif found.until is not None and not (name in checkpoint.layout.retired_layouts and is_set(config[name])):
            text = f"`{name}` was last known to PEFT {found.until}; newer releases drop it."
            yield OLD_FIELD.finding(text, [field(name)])
    if unknown:
        yield from _unknown_fields(unknown, config, checkpoint.layout.peft_type, checkpoint.anatomy)
    yield from _check_values(config, checkpoint.layout)


def _unknown_fields(
    names: list[str], config: Mapping[str, Any], method: str, anatomy: Anatomy | None
) -> Iterator[Finding]:
    from adapter_format.unknown_fields import explain

    strangers = anatomy.companions_that_are(OTHER_METHOD) if anatomy is not None else ()
    for cause in explain(names, config, method, strangers[0].detail if strangers else ""):
        # Real PEFT writes every field it knows: next to a misspelt one, the field itself is missing and has its default.
        severity: Severity | None = "error" if cause.displaces else None
        yield UNKNOWN_FIELD.finding(cause.message, map(field, cause.names), mend=cause.mend, severity=severity)


def _check_values(config: Mapping[str, Any], layout: Layout) -> Iterator[Finding]:
    from adapter_format.config_fields import fields_of
    from adapter_format.schema_check import float_integers, is_valid, violations

    ranks, numerator = layout.values.get(RANK), alpha_value(layout)
    rank_field = ranks.field if ranks is not None and not ranks.may_be_zero and not ranks.raw else ""
    alpha_field = numerator.field if numerator is not None else ""
    rank = config.get(rank_field, 1)
    if isinstance(rank, int) and not isinstance(rank, bool) and rank <= 0:
        text = f"`{rank_field}` is {quote(rank)}, expected an integer of at least 1."
        mend = f"Set `{rank_field}` to the rank that the tensors have."
        yield RANK_NOT_POSITIVE.finding(text, [field(rank_field)], mend=mend)
    alpha = config.get(alpha_field, 1)
    if isinstance(alpha, (int, float)) and not isinstance(alpha, bool) and alpha <= 0:
        what = "the adapter has no effect" if alpha == 0 else "the sign of everything learnt is turned around"
        mend = f"Set `{alpha_field}` to the value used in training."
        yield ALPHA_NOT_POSITIVE.finding(f"`{alpha_field}` is {quote(alpha)}: {what}.", [field(alpha_field)], mend=mend)
    fractions = {name: value for name, value in config.items() if _may_hold_fraction(value)}
    broken = [] if is_valid(config, layout.peft_type) else list(violations(config))
    broken += float_integers({**fractions, "peft_type": layout.peft_type})
    for violation in broken:
        if violation.pointer == f"/{rank_field}" and violation.keyword in ("minimum", "exclusiveMinimum"):
            continue
        rule = FIELD_TYPE if violation.keyword == "type" else FIELD_VALUE
        known = fields_of(layout.peft_type).get(violation.field)
        # PEFT takes any value of such a field, for true or false, say: what it wrote so it reads back the same.
        severity: Severity | None = "warning" if known is not None and known.refuses == "never" else None
        yield rule.finding(violation.message, [Location(CONFIG_NAME, pointer=violation.pointer)], severity=severity)


def _may_hold_fraction(value: object) -> bool:
    """Whether a value is, or may contain, a number such as 8.0; few fields do, and only they need the slow look."""
    if isinstance(value, list):
        return not all(type(item) is str for item in value)
    return (type(value) is float and value.is_integer()) or (isinstance(value, dict) and bool(value))


def check_constraints(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge fields that exclude or need each other, from the method's table of constraints."""
    config = checkpoint.config
    if config is None or checkpoint.layout is None:
        return
    from adapter_format.constraints import broken_constraints

    for constraint in broken_constraints(config, checkpoint.layout.peft_type):
        if checkpoint.anatomy is not None and set(constraint.fields) <= switched_off(checkpoint.anatomy):
            continue  # what the file holds is not missing: the rule about undeclared tensors says so
        rule = CONFLICTING_FIELDS if constraint.kind == "excludes" else COMPANION_FIELD_MISSING
        places = [field(name) for name in constraint.fields if name in config] or [Location(CONFIG_NAME, pointer="")]
        severity = _constraint_severity(constraint)
        found = rule.finding(constraint.why, places, mend=constraint.mend, severity=severity)
        yield found._replace(occurrences=1, peft="silent-wrong" if constraint.differs else constraint.peft)


def _constraint_severity(constraint: Constraint) -> Severity:
    """Follow what PEFT was measured to do: it refuses, computes something else, warns, or does nothing at all."""
    if constraint.peft == "raises" or constraint.differs:
        return "error"
    return "info" if constraint.peft == "silent-ok" else "warning"


def check_base_model(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge the reference to the base model."""
    config = checkpoint.config
    if config is None or not isinstance(config.get("peft_type"), str):
        return
    name = "base_model_name_or_path"
    base = config.get(name)
    if base is None or base == "":
        yield BASE_MODEL_MISSING.finding("`base_model_name_or_path` names no base model.", [field(name, of=config)])
    elif not isinstance(base, str):
        return
    elif _CHECKPOINT.search(base):
        yield BASE_MODEL_CHECKPOINT.finding(f"`{name}` is {quote(base)}, the folder of a training run.", [field(name)])
    elif _LOCAL.search(base) or base.count("/") > 1:
        yield BASE_MODEL_LOCAL_PATH.finding(f"`{name}` is {quote(base)}, a path of one machine.", [field(name)])
    elif _QUANTIZED.search(base):
        yield BASE_MODEL_QUANTIZED.finding(f"`{name}` is {quote(base)}, a quantized variant.", [field(name)])


def check_initialisation(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge initialisations that the meaning of the tensors depends on."""
    config = checkpoint.config
    if config is None or checkpoint.layout is None:
        return
    declared = checkpoint.layout.initialisation
    if not declared:
        return
    name = declared["field"]
    init = config.get(name)
    if isinstance(init, str) and re.match(declared["not_repeatable"], init):
        text = f"`{name}` is {quote(init)}: the base that the adapter was trained on can't be rebuilt from the file."
        yield INIT_NOT_REPEATABLE.finding(text, [field(name)])
    elif isinstance(init, str) and re.match(declared["repeated"], init):
        text = f"`{name}` is {quote(init)}: the tensors are right only for a reader that repeats this initialisation."
        yield INIT_CHANGES_BASE.finding(text, [field(name)])
    for other in declared["also_changed_by"]:
        if config.get(other) is not None:
            text = f"`{other}` is set: the tensors are right only for a reader that changes the base in the same way."
            yield INIT_CHANGES_BASE.finding(text, [field(other)])


def check_leftovers(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Find what does not belong into a config, and the layout of the first releases."""
    config = checkpoint.config
    if config is None:
        return
    layout = checkpoint.layout
    regexes = {"target_modules"} if layout is None else {*layout.targets.values(), *regex_fields(layout)}
    for name, value in config.items():
        if isinstance(value, str) and len(value) > _LONG_TEXT and name not in regexes:
            text = f"`{quote(name)}` holds {len(value):,} characters of text, beginning {quote(value, 24)}."
            yield CONFIG_ARTEFACT.finding(text, [field(name)])
    if config.get("inference_mode") is False:
        yield INFERENCE_MODE_FALSE.finding("`inference_mode` is false; PEFT writes true.", [field("inference_mode")])
    for name in checkpoint.layout.retired_layouts if checkpoint.layout else ():
        value = config.get(name)
        if isinstance(value, list) and any(value):
            text = f"`{name}` is {quote(value)}: a layout of PEFT 0.2 and before, with fused and differently shaped factors."
            yield MERGED_LINEAR.finding(text, [field(name)])


CHECKS = (
    check_method,
    check_fields,
    check_constraints,
    check_base_model,
    check_initialisation,
    check_leftovers,
)
