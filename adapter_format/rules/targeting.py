"""3xx: keys against the targets of the config: which modules it names, which layers, which patterns."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from adapter_format import targets as reasons
from adapter_format.anatomy import SAVED_MODULE, saved_module
from adapter_format.config import CONFIG_NAME
from adapter_format.findings import Finding, Location
from adapter_format.layouts import auxiliary
from adapter_format.module_values import STEPS_FOR_ALL_PATHS
from adapter_format.pattern_budget import Budget
from adapter_format.patterns import PatternError, PatternTooCostly, layer_index
from adapter_format.rules.edits import DropTensors, SetConfig, mutation
from adapter_format.rules.keys import MISSING_KEYS, places
from adapter_format.rules.rule import Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from adapter_format.anatomy import Anatomy
    from adapter_format.checkpoint import Checkpoint
    from adapter_format.modules import Module

MODULE_NOT_TARGETED = Rule(
    "AF312", "module-not-targeted", "error", "KEY-7", "Tensors of modules that the config does not target",
    "PEFT adapts what the config targets and drops all other tensors without a word: that part of the training is lost.",
    "Add the modules to `target_modules`.", "silent-wrong",
    (mutation("plain", SetConfig("/target_modules", ["v_proj"])),
     mutation("plain", SetConfig("/exclude_modules", r".*\.q_proj"), name="excluded"),
     mutation("plain", SetConfig("/target_modules", r".*\.v_proj"), name="regex")),
    pains=("P15", "P27"),
)  # fmt: skip
TARGET_WITHOUT_TENSORS = Rule(
    "AF313", "target-without-tensors", "warning", "KEY-8", "A target that no tensor belongs to",
    "If the base has such modules, PEFT adapts them with initial values and warns; what was trained there is not in the file.",
    "Remove the entry from `target_modules`, or save again with all tensors.", "warns",
    (mutation("plain", DropTensors("v_proj")),
     mutation("plain", SetConfig("/target_modules", ["q_proj", "v_proj", "o_proj"]), name="added")),
    quotes=(MISSING_KEYS, "not found in the base model"), pains=("P14", "P15"),
    note="An entry that names no module of the base is harmless, and PEFT writes such lists; which it is, only the base can "
    "tell: a warning.", undecided="whether the base has the modules that `target_modules` names in vain",
)  # fmt: skip
TARGET_STRING = Rule(
    "AF314", "target-string-matches-nothing", "error", "CFG-9", "`target_modules` is a string that matches no stored module",
    "A string is a regex that must match the whole path; a bare name such as `q_proj` matches no module at all.",
    'Write a list, `["q_proj"]`, or a regex for whole paths, `.*\\.q_proj`.', "raises",
    (mutation("plain", SetConfig("/target_modules", "q_proj")),),
    quotes=("Target modules q_proj not found in the base model. Please check the target modules and try again.",),
    pains=("P14",),
)  # fmt: skip
OUTSIDE_LAYERS = Rule(
    "AF315", "outside-layers-to-transform", "error", "KEY-7", "Tensors of layers that `layers_to_transform` leaves out",
    "PEFT adapts only the layers listed and drops the other tensors without a word.",
    "Correct `layers_to_transform`, or remove it.", "silent-wrong",
    (mutation("plain", SetConfig("/layers_to_transform", [0, 1, 2])),),
)  # fmt: skip
LAYER_WITHOUT_TENSORS = Rule(
    "AF316", "layer-without-tensors", "warning", "KEY-8", "A layer of `layers_to_transform` has no tensors",
    "PEFT adapts the layer with initial values if the base has it: what was trained there is not in the file.",
    "Correct `layers_to_transform`, or save again with all tensors.", "warns",
    (mutation("layers", DropTensors(r"layers\.3\.")),), quotes=(MISSING_KEYS,), pains=("P13",),
    note="A number that the base does not have is harmless, and PEFT writes such lists: a warning.",
    undecided="whether the base has the layers that hold no tensor",
)  # fmt: skip
LAYER_GAP = Rule(
    "AF317", "layer-gap", "warning", "KEY-8", "Single layers are missing from a regular series",
    "Every other layer of the series has tensors; a hole is a sign of a damaged or a partial save.",
    "Save again with all tensors; set `layers_to_transform` if the hole is meant.", "warns",
    (mutation("plain", DropTensors(r"layers\.2\.")),
     mutation("plain", DropTensors(r"layers\.2\.self_attn\.q_proj"), name="one module")),
    quotes=(MISSING_KEYS,), pains=("P13",),
    note="A model whose layers differ (hybrid attention, say) may have such holes by design: hence a warning.",
    undecided="whether the layers without tensors have such modules in the base",
)  # fmt: skip

RULES = tuple(value for value in list(globals().values()) if isinstance(value, Rule))

_MOST_DIGITS = 18
"""Digits of a layer's number; Python refuses to convert thousands of them."""
_LEFT_OUT = frozenset({reasons.EXCLUDED, reasons.SAVED})
_SUPPRESSED = frozenset({reasons.UNDECIDED, reasons.COVERED})


def check_targets(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Judge stored modules that the config does not target, and targets without stored modules."""
    anatomy, config = checkpoint.anatomy, checkpoint.config
    if anatomy is None or config is None or anatomy.targets is None or not anatomy.modules:
        return
    covers = anatomy.targets.covers
    left_out: dict[str, list[Module]] = {}
    for paths in anatomy.series.values():
        shared = None if anatomy.targets.by_number else covers(paths[0])
        for path in paths if shared not in _SUPPRESSED else ():
            reason = covers(path) if shared is None else shared
            if reason not in _SUPPRESSED:
                left_out.setdefault(reason, []).append(anatomy.modules[path])
    total = len(anatomy.modules)
    named = anatomy.layout.targets["modules"]
    unnamed = left_out.pop(reasons.NOT_NAMED, [])
    if unnamed and anatomy.targets.pattern is not None and len(unnamed) == total:
        text = f"`{named}` is the string {anatomy.targets.pattern[:80]!r}, which matches 0 of {total} stored modules as a whole path."
        yield TARGET_STRING.finding(text, [Location(CONFIG_NAME, pointer=f"/{named}")])
    elif unnamed:
        yield _not_targeted(unnamed, total, f"`{named}` does not name")
    for reason, field in (
        (reasons.EXCLUDED, anatomy.layout.targets.get("excluded", "")),
        (reasons.SAVED, auxiliary().saved_modules_field),
    ):
        if reason in left_out:
            yield _not_targeted(left_out[reason], total, f"`{field}` takes out")
    if reasons.OTHER_LAYER in left_out:
        modules = left_out[reasons.OTHER_LAYER]
        field = anatomy.layout.targets["layers"]
        text = f"{len(modules)} of {total} stored modules are in layers that `{field}` leaves out, such as `{modules[0].path}`."
        yield OUTSIDE_LAYERS.finding(text, _module_places(modules))
    yield from _undeclared_parameters(anatomy)
    yield from _swallowed_modules(anatomy, config)
    yield from _unused_targets(anatomy, config)
    yield from _other_number(anatomy, config)


def _other_number(anatomy: Anatomy, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Find more or fewer modules than the config says, for a method that adapts a number of the last ones."""
    field = anatomy.layout.targets.get("number", "")
    wanted, stored = reasons.target_settings(anatomy.layout, config).get("number"), len(anatomy.modules)
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted == stored:
        return
    text = f"`{field}` is {wanted}, but the file holds tensors of {stored} {'module' if stored == 1 else 'modules'}."
    rule = OUTSIDE_LAYERS if stored > wanted else LAYER_WITHOUT_TENSORS
    place = Location(CONFIG_NAME, pointer=f"/{field}")
    mend = f"Set `{field}` to {stored}, or save again with all tensors."
    yield rule.finding(text, [place], mend=mend)


def _undeclared_parameters(anatomy: Anatomy) -> Iterator[Finding]:
    """Find modules that hold factors of more parameters, one nested in the other, than the config declares."""
    targets = anatomy.targets
    if targets is None or not targets.parameters:
        return
    part = f".{auxiliary().base_layer_part}"
    nested: dict[str, list[Module]] = {}
    for path, module in anatomy.modules.items():
        if targets.is_parameter(path):
            nested.setdefault(path.replace(part, ""), []).append(module)
    beyond: list[Module] = []
    anyone = sum(not name.rpartition(".")[0] for name in targets.parameters)
    for owner, modules in nested.items():
        declared = anyone + sum(bool(name.rpartition(".")[0]) for name in targets.parameters_of(owner))
        beyond += modules if len(modules) > declared else []
    if beyond:
        field = anatomy.layout.targets["parameters"]
        text = f"`{beyond[0].path}` holds factors of more parameters than `{field}` declares for it ({len(beyond)} sets of factors)."
        yield MODULE_NOT_TARGETED.finding(
            text, _module_places(beyond), mend=f"Name every adapted parameter in `{field}`."
        )


def _swallowed_modules(anatomy: Anatomy, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Find adapted modules inside a module of `modules_to_save`, which PEFT takes by the end of its path, dot or not."""
    field = auxiliary().saved_modules_field
    names = config.get(field)
    names = [name for name in names if isinstance(name, str) and name] if isinstance(names, list) else []
    covers = anatomy.targets.covers if anatomy.targets is not None else None
    if not names or covers is None:
        return
    swallowed = [
        module
        for path, module in anatomy.modules.items()
        if saved_module(f"{path}.", names) and covers(path) != reasons.SAVED
    ]
    if swallowed:
        name = saved_module(f"{swallowed[0].path}.", names)
        text = (
            f"`{field}` lists {name!r}, which takes a whole module in, and `{swallowed[0].path}` inside it is adapted too "
            f"({len(swallowed)} of {len(anatomy.modules)} modules); PEFT stops with a KeyError."
        )
        mend = f"Write the module's full name in `{field}`, and train again: PEFT can't load what it stored so."
        yield MODULE_NOT_TARGETED.finding(text, _module_places(swallowed), mend=mend)._replace(peft="raises")


def _not_targeted(modules: list[Module], total: int, what: str) -> Finding:
    leaves = sorted({module.path.rpartition(".")[2] for module in modules})
    text = f"{what} {len(modules)} of {total} stored modules, such as `{modules[0].path}`; their tensors are dropped."
    mend = f"Make the config target {', '.join(map(repr, leaves[:6]))}, or remove the tensors."
    return MODULE_NOT_TARGETED.finding(text[:1].upper() + text[1:], _module_places(modules), mend=mend)


def _module_places(modules: Iterable[Module]) -> list[Location]:
    return places(info.name for module in modules for info in module.roles.values())


def _unused_targets(anatomy: Anatomy, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Find list entries, parameters and layers that no stored module accounts for."""
    targets = anatomy.targets
    if targets is None:
        return
    field = anatomy.layout.targets
    if targets.names:
        used = _used_names(anatomy) | _suffixes(saved_paths(anatomy), targets.names)
        unused = [
            (index, name)
            for index, name in enumerate(targets.names)
            if name not in used and targets.covers(name) not in _LEFT_OUT
        ]
        if unused:
            names = ", ".join(repr(name) for _, name in unused[:6])
            text = f"`{field['modules']}` lists {names}, but 0 of {len(anatomy.modules)} stored modules bear the name."
            where = [Location(CONFIG_NAME, pointer=f"/{field['modules']}/{index}") for index, _ in unused]
            yield TARGET_WITHOUT_TENSORS.finding(text, where)
    owners = [parameter.rpartition(".")[0] for parameter in targets.parameters]
    paths = {path.replace(f".{auxiliary().base_layer_part}", "") for path in anatomy.modules} if owners else set()
    stored = _suffixes(paths, owners)
    for index, (parameter, owner) in enumerate(zip(targets.parameters, owners, strict=True)):
        if owner and owner not in stored:
            text = f"`{field['parameters']}` lists {parameter!r}, but no stored module belongs to it."
            yield TARGET_WITHOUT_TENSORS.finding(
                text, [Location(CONFIG_NAME, pointer=f"/{field['parameters']}/{index}")]
            )
    wanted = reasons.target_settings(anatomy.layout, config).get("layers")
    if isinstance(wanted, (list, int)) and not isinstance(wanted, bool):
        yield from _unused_layers(anatomy, config, wanted if isinstance(wanted, list) else [wanted])


def _used_names(anatomy: Anatomy) -> set[str]:
    """Collect every dotted suffix of every stored module path."""
    paths = list(anatomy.modules)
    if anatomy.targets is not None and not anatomy.targets.by_number:
        paths = list(anatomy.series)
    lengths = {name.count(".") + 1 for name in anatomy.targets.names} if anatomy.targets else set()
    base_layer = f".{auxiliary().base_layer_part}"
    if any(base_layer in path for path in paths):
        paths += [path.replace(base_layer, "") for path in anatomy.modules]
        paths += [path.partition(base_layer)[0] for path in anatomy.modules]
    if lengths == {1}:
        return {path.rpartition(".")[2] for path in paths} | set(paths)
    return set(paths) | _suffixes(paths, anatomy.targets.names if anatomy.targets else ())


def _suffixes(paths: Iterable[str], names: Iterable[str]) -> set[str]:
    """Collect the dotted suffixes of paths that have as many parts as one of the names."""
    lengths = {name.count(".") + 1 for name in names}
    split = [path.split(".") for path in paths]
    return {".".join(parts[-length:]) for parts in split for length in lengths}


def saved_paths(anatomy: Anatomy) -> list[str]:
    """Return the modules that `modules_to_save` stores in full: PEFT adapts none of them, whatever names them."""
    return [companion.path.rpartition(".")[0] for companion in anatomy.companions_that_are(SAVED_MODULE)]


def _unused_layers(anatomy: Anatomy, config: Mapping[str, Any], wanted: list[Any]) -> Iterator[Finding]:
    pattern = reasons.target_settings(anatomy.layout, config).get("layers_pattern")
    choices: list[str | None] = [pattern] if isinstance(pattern, str) and pattern else [None]
    if isinstance(pattern, list) and pattern:
        choices = [item for item in pattern if isinstance(item, str)]
    budget = Budget(STEPS_FOR_ALL_PATHS)
    try:
        # One choice after the other, so that none is compiled twice.
        stored = {layer_index(path, choice, budget) for choice in choices for path in anatomy.modules}
    except (PatternError, PatternTooCostly):
        return
    missing = [layer for layer in wanted if isinstance(layer, int) and layer not in stored]
    if missing:
        field = anatomy.layout.targets["layers"]
        text = f"`{field}` lists {', '.join(map(str, missing[:8]))}, but no stored module is in such a layer."
        yield LAYER_WITHOUT_TENSORS.finding(text, [Location(CONFIG_NAME, pointer=f"/{field}")])


def check_layer_series(checkpoint: Checkpoint) -> Iterator[Finding]:
    """Find holes in the series of layers that a module name runs through."""
    anatomy, config = checkpoint.anatomy, checkpoint.config
    if anatomy is None or config is None:
        return
    if anatomy.targets is None or reasons.target_settings(anatomy.layout, config).get("layers") is not None:
        return
    holes: list[str] = []
    missing: dict[tuple[str, ...], list[int]] = {}
    for template, paths in anatomy.series.items():
        if template.count("*") == 1 and len(paths) > 2:
            # The series of an adapter mostly run through the same layers.
            layers = _layers(template, paths)
            if layers not in missing:
                missing[layers] = _holes(set(map(int, layers))) if max(map(len, layers)) <= _MOST_DIGITS else []
            if missing[layers] and not _is_filled(template, layers, missing[layers], anatomy.series):
                holes += [".".join(_numbered(template, hole)) for hole in missing[layers]]
    holes = [hole for hole in holes if anatomy.targets.covers(hole) == reasons.COVERED and not _named_in_full(anatomy)]
    if holes:
        text = f"{len(holes)} modules are missing from a regular series of layers, such as `{holes[0]}`."
        text = text if len(holes) > 1 else f"`{holes[0]}` is missing from a regular series of layers."
        yield LAYER_GAP.finding(text, [Location("adapter_model.safetensors")])


def _layers(template: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Return what the paths of a series have in the place of the `*`."""
    before, after = template.index("*"), len(template) - template.index("*") - 1
    return tuple([path[before : len(path) - after] for path in paths])


def _is_filled(template: str, layers: tuple[str, ...], holes: list[int], series: Mapping[str, list[str]]) -> bool:
    """Whether another series has its layers just where this one has none: a model of two sorts of layers."""
    stem = template.partition("*")[0]
    for other, paths in series.items():
        if other.count("*") == 1 and other.startswith(f"{stem}*"):
            others = set(_layers(other, paths))
            if others.isdisjoint(layers) and others.issuperset(map(str, holes)):
                return True
    return False


def _numbered(template: str, number: int) -> list[str]:
    return [str(number) if part == "*" else part for part in template.split(".")]


def _holes(present: set[int]) -> list[int]:
    """Return the missing numbers of a series that is complete but for a few; a periodic series has no holes.

    Series that start late or end early are common and meant, so that only numbers between the ends count.
    """
    lowest, highest = min(present), max(present)
    if highest - lowest + 1 == len(present):
        return []
    if highest - lowest > 4 * len(present):
        return []
    missing = [number for number in range(lowest, highest) if number not in present]
    if not missing or len(missing) * 3 > len(present):
        return []
    gaps = {second - first for first, second in pairwise(missing)}
    periodic = len(missing) > 2 and len(gaps) == 1
    return [] if periodic else missing


def _named_in_full(anatomy: Anatomy) -> bool:
    """Whether the targets are full paths with layer numbers, so that holes were chosen one by one."""
    return anatomy.targets is not None and any(
        part.isdigit() for name in anatomy.targets.names for part in name.split(".")
    )


CHECKS = (check_targets, check_layer_series)
