"""The modules of a drawn adapter: kinds, series of layers, and how the config targets and chooses them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

from adapter_format.layouts import MODULE, Kind, Layout, auxiliary
from adapter_format.targets import ENDINGS
from adapter_format.testing.drawn_conditions import path_field, satisfying, switches
from adapter_format.testing.drawn_fields import field_schemas, switched_on
from adapter_format.testing.generated import put

if TYPE_CHECKING:
    from collections.abc import Iterable


class Series(NamedTuple):
    """Modules that differ in the number of their layer only; `{n}` stands for it."""

    template: str
    layer: str
    kinds: tuple[Kind, ...]
    parameter: str = ""

    @property
    def leaf(self) -> str:
        """The last part of the path."""
        return self.template.rpartition(".")[2]


_TEMPLATES = (
    "model.layers.{n}.self_attn.q_proj",
    "model.layers.{n}.self_attn.v_proj",
    "model.layers.{n}.mlp.down_proj",
    "base.encoder.layer.{n}.attention.query",
    "transformer.h.{n}.attn.c_attn",
    "model.visual.layers.{n}.self_attn.q_proj",
    "unet.blocks.{n}.attentions.0.to_k",
    "features.{n}",
    "classifier_in",
    "модель.слои.{n}.проекция",
)


_EMBEDDINGS = ("model.token_embedding", "model.embed_tokens")


_PARAMETERS = (
    ("model.layers.{n}.mlp.experts", ("down_proj_w", "gate_up_w")),
    ("model.layers.{n}.feed_forward.shared", ("stacked",)),
)


_UNUSED_NAMES = ("never_targeted", "model.layers.0.absent")


_IN_LAYERS = re.compile(r"[^{]+\.[^{]+\.\{n\}\.[^{]+")


_EMBEDDING, _PARAMETER, CONVOLUTION = "embedding", "parameter", "convolution"


def draw_kinds(draw: st.DrawFn, layout: Layout) -> list[Kind]:
    """Choose the kinds that may occur together: those that the same config fields call for."""
    groups: dict[frozenset[str], list[Kind]] = {}
    for kind in reversed(layout.kinds):
        if kind.scope == MODULE and not kind.select.get("fits"):
            groups.setdefault(switches(kind), []).append(kind)
    if not groups:
        return []
    ordered = sorted(groups, key=len)
    usual = [ordered[0]] * 5 if ordered[0] <= {""} else []  # most adapters need no switch
    chosen = draw(st.sampled_from([*usual, *ordered]))
    return groups[chosen][::-1]


def draw_series(draw: st.DrawFn, kinds: list[Kind]) -> list[Series]:
    """Draw up to a few series, each of one kind or of an embedding or parameter beside it."""
    if not kinds:
        return []
    by_layer: dict[str, tuple[Kind, ...]] = {}
    for kind in kinds:
        for layer in kind.layers:
            by_layer[layer] = (*by_layer.get(layer, ()), kind)
    plain = [layer for layer in by_layer if layer not in (_EMBEDDING, _PARAMETER)] or list(by_layer)
    known = _TEMPLATES + _EMBEDDINGS if _EMBEDDING in by_layer else _TEMPLATES
    templates = draw(st.lists(st.sampled_from(known), min_size=1, max_size=3, unique=True))
    of_leaf: dict[str, str] = {}
    series: list[Series] = []
    for template in templates:
        # A config that names kinds by a part of the path can't tell modules of one name apart.
        leaf = template.rpartition(".")[2]
        layer = of_leaf.setdefault(leaf, _EMBEDDING if template in _EMBEDDINGS else draw(st.sampled_from(plain)))
        if not ("{n}" in leaf and any(path_field(kind) for kind in by_layer[layer])):
            series.append(Series(template, layer, by_layer[layer]))
    if not series:
        series = [Series(_TEMPLATES[0], plain[0], by_layer[plain[0]])]
    if _PARAMETER in by_layer and draw(st.sampled_from([False, False, True])):
        owner, names = draw(st.sampled_from(_PARAMETERS))
        for index, name in enumerate(names[: draw(st.integers(1, len(names)))]):
            template = owner + f".{auxiliary().base_layer_part}" * index
            parameter = f"{owner.rpartition('.')[2]}.{name}"
            series.append(Series(template, _PARAMETER, by_layer[_PARAMETER], parameter))
        if draw(st.booleans()):
            series = [one for one in series if one.parameter]
    return series


def paths_of(series: Series, layers: Iterable[int]) -> list[str]:
    """Return the module paths of a series in these layers."""
    if "{n}" not in series.template:
        return [series.template]
    return [series.template.replace("{n}", str(layer)) for layer in layers]


def draw_targets(draw: st.DrawFn, layout: Layout, series: list[Series], config: dict[str, Any]) -> list[int]:
    """Choose how the config names the modules, and the numbers of their layers."""
    field = layout.targets
    if field.get("matching") == ENDINGS:
        usable = [one for one in series if _IN_LAYERS.fullmatch(one.template)]
        series[:] = usable[:1] or [series[0]._replace(template=_TEMPLATES[0])]
        config[field["modules"]] = series[0].leaf
        layers = list(range(draw(st.integers(1, 3))))
        if "number" in field:
            config[field["number"]] = len(paths_of(series[0], layers))
        return layers
    named = [one for one in series if not one.parameter]
    parameters = list(dict.fromkeys(one.parameter for one in series if one.parameter))
    style = draw(st.sampled_from(["names", "longer names", "paths", "regex"]))
    in_layers = [one for one in named if _IN_LAYERS.fullmatch(one.template)]
    # A module that is in no layer is left out by a choice of layers, unless its whole path is named.
    may_choose = "layers" in field and not any(one.template in _EMBEDDINGS for one in named)
    if in_layers and style == "names" and may_choose and draw(st.booleans()):
        layers = sorted(draw(st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)))
        as_number = len(layers) == 1 and draw(st.booleans())
        config[field["layers"]] = layers[0] if as_number else layers
        folders = sorted({one.template.partition(".{n}")[0].rpartition(".")[2] for one in in_layers})
        if draw(st.booleans()):
            config[field["layers_pattern"]] = folders[0] if len(folders) == 1 else folders
    else:
        in_layers = named
        first = draw(st.integers(0, 2))
        layers = list(range(first, first + draw(st.integers(1, 4))))
        if "layers" in field and style != "regex" and draw(st.sampled_from([False, False, False, True])):
            config[field["layers"]] = []
    if parameters:
        config[field["parameters"]] = parameters
    if style == "regex" and named:
        config[field["modules"]] = "|".join(f"(?:{regex_of(one)})" for one in named)
    else:
        names = [name for one in named for name in _target_names(one, style if one in in_layers else "paths", layers)]
        config[field["modules"]] = draw(st.permutations(list(dict.fromkeys(names))))
    excluded = draw(st.sampled_from([None, None, [_UNUSED_NAMES[0]], rf".*\.{_UNUSED_NAMES[0]}"]))
    if excluded is not None and "excluded" in field:
        config[field["excluded"]] = excluded
    return layers


def _target_names(series: Series, style: str, layers: Iterable[int]) -> list[str]:
    if style == "paths" or "{n}" in series.leaf:
        return paths_of(series, layers)
    parts = series.template.split(".")
    short = style == "names" or "{n}" in parts[-2:]
    return [series.leaf if short else ".".join(parts[-2:])]


def regex_of(series: Series) -> str:
    """Return an expression that the whole path of every module of a series matches."""
    return re.escape(series.template).replace(re.escape("{n}"), r"\d+")


def select_kinds(layout: Layout, kinds: Iterable[Kind], series: list[Series], config: dict[str, Any]) -> None:
    """Set the fields by which the layout's kinds are chosen."""
    schemas = field_schemas(layout.peft_type)
    for kind in kinds:
        for field, condition in kind.select.get("config", {}).items():
            put(config, field, satisfying(schemas[field], condition))
        field = path_field(kind)
        if field:
            head = field.partition(".")[0]
            if head != field:
                config.setdefault(head, switched_on(schemas[head]))
            wanted = config.get(layout.targets["modules"])
            mine = [one for one in series if kind in one.kinds]
            names = (
                [name for name in wanted if any(_names(name, one) for one in mine)] if isinstance(wanted, list) else []
            )
            put(config, field, list(dict.fromkeys(names or [one.leaf for one in mine])))


def _names(name: str, series: Series) -> bool:
    """Whether an entry of the targets means the modules of a series."""
    return re.fullmatch(regex_of(series), name) is not None or series.template.endswith(name)
