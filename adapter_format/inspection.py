"""What is inside an adapter: method, base, ranks, scales, modules and sizes, as far as damage leaves them legible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from adapter_format.anatomy import by_pattern
from adapter_format.config_fields import fields_of
from adapter_format.consumers.held import held_in
from adapter_format.consumers.peft import loading_ranges
from adapter_format.errors import UnreadableAdapterError
from adapter_format.layouts import MODULE
from adapter_format.limits import DEFAULT_LIMITS, Limits
from adapter_format.modules import pattern_names
from adapter_format.reading import adapter_directory, read_checkpoint
from adapter_format.rules.consumers import is_sound_but_for_its_age
from adapter_format.semantics import alpha_by_path, alpha_value, has_square_root, scaling_from
from adapter_format.settling import RANK
from adapter_format.validator import validate

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping

    from adapter_format.anatomy import Anatomy
    from adapter_format.checkpoint import Checkpoint
    from adapter_format.consumers.history import Span
    from adapter_format.findings import Report
    from adapter_format.layouts import Layout
    from adapter_format.modules import Module
    from adapter_format.size import StoredSize


class ModuleGroup(NamedTuple):
    """Adapted modules that differ in nothing but the numbers in their paths.

    Attributes:
        path: their path in the base model, with `*` for each number that differs; of tensors that modules share, whose
            they are, in parentheses.
        modules: how many they are.
        kind: kind of base layer, as the layout calls it.
        rank: rank of the stored tensors; None if they do not agree on one.
        symbols: the other sizes, such as `d_in` and `d_out` in features, or `c_in`, `kernel` and `c_out`.
        alpha: numerator of the scale; None if it is not known.
        scale: what multiplies the update; None if it is not known, or depends on which parameter a key means.
        roles: the stored tensors of each module.
        dtypes: their element types.
        parameters: elements of all modules together.
        bytes: bytes of all modules together.
        fits: whether the shapes fit the kind and the config.
    """

    path: str
    modules: int
    kind: str
    rank: int | None
    symbols: Mapping[str, int]
    alpha: float | None
    scale: float | None
    roles: tuple[str, ...]
    dtypes: tuple[str, ...]
    parameters: int
    bytes: int
    fits: bool


class CompanionGroup(NamedTuple):
    """Tensors that are no role of the method, of one sort.

    Attributes:
        what: the sort, such as `saved module`.
        tensors: how many they are.
        parameters: their elements.
        bytes: their bytes.
    """

    what: str
    tensors: int
    parameters: int
    bytes: int


class Inspection(NamedTuple):
    """What is inside an adapter.

    Attributes:
        report: the verdict at header level, with the figures of the whole.
        title: the method's name; None if no layout is known.
        base: the base model that the config names.
        revision: its revision.
        task: the task type.
        square_root: whether the scale is alpha / sqrt(r) instead of alpha / r.
        divisor: what alpha is divided by, as the layout says it; None for a method without a scale.
        settings: fields of the config that are not shown elsewhere and differ from PEFT's default.
        groups: the adapted modules.
        companions: the other tensors.
        size: how the bytes come about; None if keys could not be read.
        loads_right: ranges of releases of PEFT that load the adapter right; None if that can't be told, as of a damaged
            adapter.
    """

    report: Report
    title: str | None
    base: str | None
    revision: str | None
    task: str | None
    square_root: bool
    divisor: str | None
    settings: Mapping[str, Any]
    groups: tuple[ModuleGroup, ...]
    companions: tuple[CompanionGroup, ...]
    size: StoredSize | None
    loads_right: tuple[Span, ...] | None


def inspect(path: str | os.PathLike[str], *, limits: Limits = DEFAULT_LIMITS) -> Inspection:
    """Look into an adapter, sound or not.

    Args:
        path: the adapter's directory, or one of its files.
        limits: bounds on what is read.

    Raises:
        UsageError: the path does not exist or is no adapter.
    """
    report = validate(path, limits=limits)
    checkpoint = read_checkpoint(adapter_directory(path), limits)
    config, layout, anatomy = checkpoint.config or {}, checkpoint.layout, checkpoint.anatomy
    held = held_in(checkpoint)
    return Inspection(
        report,
        layout.title if layout is not None else None,
        _text(config.get("base_model_name_or_path")),
        _text(config.get("revision")),
        _text(config.get("task_type")),
        layout is not None and has_square_root(layout, config),
        layout.scaling.get("divisor", "1") if layout is not None and layout.scaling else None,
        dict(_settings(config, layout)),
        tuple(_groups(anatomy, checkpoint)) if anatomy is not None else (),
        tuple(_companions(anatomy)) if anatomy is not None else (),
        checkpoint.size,
        loading_ranges(held) if held is not None and is_sound_but_for_its_age(report) else None,
    )


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


_SHOWN_ELSEWHERE = frozenset(
    {"peft_type", "base_model_name_or_path", "revision", "task_type", "inference_mode", "auto_mapping", "peft_version"}
)


def _settings(config: Mapping[str, Any], layout: Layout | None) -> Iterator[tuple[str, Any]]:
    if layout is None:
        return
    alpha, rank = alpha_value(layout), layout.values.get(RANK)
    shown = {value.field for value in (alpha, rank) if value is not None}
    shown |= {layout.scaling.get("square_root", ""), *_SHOWN_ELSEWHERE}
    for name, field in fields_of(layout.peft_type).items():
        if name in config and name not in shown:
            value = config[name]
            if value != field.default or isinstance(value, bool) is not isinstance(field.default, bool):
                yield name, value


def _groups(anatomy: Anatomy, checkpoint: Checkpoint) -> Iterator[ModuleGroup]:
    alpha_at = _alpha_finder(anatomy, checkpoint.config)
    square_root = has_square_root(anatomy.layout, checkpoint.config or {})
    for alike in anatomy.alike:
        by_path = {module.path: module for module in alike}
        for template, paths in by_pattern(by_path).items():
            by_alpha: dict[float | None, list[Module]] = {}
            for path in paths:
                by_alpha.setdefault(alpha_at(by_path[path]), []).append(by_path[path])
            for alpha, modules in by_alpha.items():
                shown = template if len(modules) > 1 else _shown(modules[0])
                yield _group(anatomy.layout, shown, modules, alpha, square_root=square_root)


def _shown(module: Module) -> str:
    """Return what a unit is called: a module its path, shared tensors what they belong to."""
    if module.kind.scope == MODULE:
        return module.path
    return f"(shared by the modules {module.path!r})" if module.path else "(of the whole)"


def _group(layout: Layout, path: str, modules: list[Module], alpha: float | None, *, square_root: bool) -> ModuleGroup:
    first = modules[0]
    rank = first.symbols.get(RANK)
    infos = list(first.roles.values())
    return ModuleGroup(
        path,
        len(modules),
        first.kind.name,
        rank,
        {name: value for name, value in first.symbols.items() if _is_size(layout, name, value)},
        alpha,
        _scale(layout, alpha, first, square_root=square_root),
        tuple(first.roles),
        tuple(dict.fromkeys(info.dtype for info in infos)),
        len(modules) * sum(info.elements for info in infos),
        len(modules) * sum(info.nbytes for info in infos),
        not first.faults,
    )


def _is_size(layout: Layout, name: str, value: Any) -> bool:
    """Whether a symbol is a size of the module, which neither the rank nor a setting of the config is."""
    return name in layout.symbols and name not in layout.values and type(value) is int


def _scale(layout: Layout, alpha: float | None, module: Module, *, square_root: bool) -> float | None:
    if not layout.scaling or module.kind.scope != MODULE:
        return None
    try:
        return scaling_from(layout, alpha, module.symbols, square_root=square_root)
    except UnreadableAdapterError:
        return None


def _alpha_finder(anatomy: Anatomy, config: Mapping[str, Any] | None) -> Callable[[Module], float | None]:
    """Return what finds a module's alpha; None where it can't be known."""
    if config is None or not anatomy.layout.scaling:
        return lambda _: None
    alpha_at = alpha_by_path(anatomy.layout, config)

    def alpha(module: Module) -> float | None:
        try:
            found = {alpha_at(name) for name in pattern_names(module.path, module.kind, anatomy.targets)}
        except UnreadableAdapterError:
            return None
        return found.pop() if len(found) == 1 else None

    return alpha


def _companions(anatomy: Anatomy) -> Iterator[CompanionGroup]:
    sorts = dict.fromkeys(companion.what for companion in anatomy.companions)
    for what in sorts:
        infos = [companion.info for companion in anatomy.companions_that_are(what)]
        yield CompanionGroup(what, len(infos), sum(info.elements for info in infos), sum(info.nbytes for info in infos))
