"""One adapter out of a live model: from the full state dict to the keys that belong on disk.

The rules are those of `get_peft_model_state_dict` of PEFT 0.21.2, read from the names, as there is no model
here. It differs from PEFT, on purpose, in these points:

- An adapter's name counts only where an adapter's name can stand. PEFT looks for it as a substring: with a
  second adapter named `0` it loses every key of layer 0; and of a bias or a fully trained module it cuts the
  path part that equals the name of the saved adapter.
- Parts that torch puts around modules (`_orig_mod`, `_fsdp_wrapped_module`, a leading `module`) never reach
  the disk.
- An adapter that was injected without the PEFT wrapper gets the prefix that keys on disk have.
- An adapter without trainable tokens can be extracted beside one that has some, and a fully trained module
  that holds tensors of another adapter is stored without them; PEFT raises KeyError for both.
- If a module and one inside it are both fully trained, two tensors may claim one key. That is an error here;
  PEFT stores the one that comes last.

Two facts are in the model but not in its state dict. Whether the vocabulary was resized: pass
`save_embedding_layers=True`. Which modules are the input and the output embedding: they are known by name,
see `embedding_modules`. PEFT asks the model, and stores no embedding for a model that has no
`get_input_embeddings`; for such a model pass `save_embedding_layers=False`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from adapter_format.conditions import holds
from adapter_format.errors import AdapterFormatError, UsageError
from adapter_format.keys import grammar_of, is_spelled
from adapter_format.layouts import Auxiliary, Layout, auxiliary, known_layouts, layout_of
from adapter_format.memory_keys import Entry, Path, Survey, is_held, modules_named, survey
from adapter_format.module_values import settings_finder
from adapter_format.patterns import fullmatch
from adapter_format.targets import target_settings

Tensor = TypeVar("Tensor")
_Chosen = Iterator[tuple[Path, Entry]]


def adapter_names(state_dict: Mapping[str, object], config: Mapping[str, Any] | None = None) -> tuple[str, ...]:
    """Return the names of the adapters in the state dict of a live model, in the order of their tensors.

    Args:
        state_dict: names as in memory, such as `base_model.model.q_proj.lora_A.default.weight`.
        config: config of one of the adapters; only its `peft_type` is read. Without it: LoRA.

    Raises:
        UsageError: the method has no layout, or an argument is of the wrong kind.
        AdapterFormatError: two keys are the same but for the parts of wrappers.
    """
    return survey(state_dict, _layout(config)).adapters


def extract_adapter(
    state_dict: Mapping[str, Tensor],
    adapter_name: str = "default",
    config: Mapping[str, Any] | None = None,
    *,
    save_embedding_layers: bool | Literal["auto"] = "auto",
    embedding_modules: Collection[str] | None = None,
) -> dict[str, Tensor]:
    """Return what belongs in the weights file of one adapter: keys as on disk, values the very same objects.

    Values are never copied nor looked into, with one exception: trainable tokens are asked for their memory
    address (`data_ptr()` or `__array_interface__`), since tied embeddings share theirs, which is stored once.

    Args:
        state_dict: `model.state_dict()` of the wrapped model, with all adapters and the base in it, with or
            without the prefix `base_model.model.`. A part of it will do if it holds all that is to be stored.
        adapter_name: which of the loaded adapters.
        config: the adapter's config, a mapping (of PEFT's own class: its `to_dict()`). Its `bias`,
            `trainable_token_indices` and `target_modules` decide what is stored beside the method's own
            tensors. Without it: LoRA, `bias` "none", and the base of an embedding is stored if the embedding
            is adapted.
        save_embedding_layers: whether the base's embeddings are stored. "auto" decides as PEFT does from the
            config alone: if an embedding is targeted and there are no trainable tokens. That the vocabulary
            was resized can't be seen from here: pass True.
        embedding_modules: names of the input and the output embedding, each a path or the end of one; by
            default `embed_tokens` and `lm_head`.

    Raises:
        UsageError: there is no such adapter (the message names those present), the keys are as on disk
            already, there is no embedding to save, the method has no layout, or an argument is of the wrong
            kind.
        AdapterFormatError: two tensors claim the same key.
    """
    layout, declared = _layout(config), auxiliary()
    settings: Mapping[str, Any] = {} if config is None else config
    _refuse_computed(layout, settings)
    found = survey(state_dict, layout)
    if adapter_name not in found.adapters and not found.is_nameless:
        raise UsageError(_no_such_adapter(adapter_name, found, layout))
    own = [entry for entry in found.entries if not entry.is_of_another(adapter_name)]

    chosen = [
        *_adapter_tensors(own),
        *_biases(own, found, layout, declared, settings),
        *_saved_modules(own, declared),
        *_tokens(own, found, state_dict, declared, settings.get(declared.tokens_field)),
    ]
    targeted = _embedding_targeted(config, own, found, layout, declared)
    if save_embedding_layers == "auto":
        save_embedding_layers = targeted and layout.stores_embeddings and settings.get(declared.tokens_field) is None
    if save_embedding_layers:
        below = declared.base_layer_part if targeted else None
        chosen += _embeddings(own, _embedding_names(own, embedding_modules, targeted, declared), below)

    sources: dict[str, str] = {}
    for path, entry in chosen:
        key = ".".join(path if entry.is_whole else (*found.prefix, *path))
        first = sources.setdefault(key, entry.key)
        if first != entry.key:
            raise AdapterFormatError(
                f"{first!r} and {entry.key!r} would both be stored as {key!r}; remove one of them."
            )
    return {key: state_dict[source] for key, source in sources.items()}


def _layout(config: object) -> Layout:
    if config is not None and not isinstance(config, Mapping):
        kind = type(config).__name__
        raise UsageError(f"config is a {kind}, not a mapping; pass an AdapterConfig, or to_dict() of PEFT's config.")
    usual = auxiliary().usual_method
    method = usual if config is None else config.get("peft_type", usual)
    layout = layout_of(method) if isinstance(method, str) else None
    if layout is None:
        known = _listed(layout.peft_type for layout in known_layouts())
        raise UsageError(f"There is no layout for the method {method!r}; known methods: {known}.")
    return layout


def _no_such_adapter(name: str, found: Survey, layout: Layout) -> str:
    if found.adapters:
        return f"There is no adapter {name!r} in the state dict; it holds {_listed(found.adapters)}."
    grammar = grammar_of(layout.peft_type)
    on_disk = next((entry.key for entry in found.entries if is_spelled(grammar, entry.key)), None)
    if on_disk is not None:
        return (
            f"The keys are as on disk already, such as {on_disk!r}, without an adapter's name in them; "
            "save them as they are, or pass the state dict of the live model."
        )
    return f"There is no adapter {name!r} in the state dict: no key in it is a tensor of {layout.title}."


def _refuse_computed(layout: Layout, settings: Mapping[str, Any]) -> None:
    """Refuse what PEFT computes when it saves, or keeps outside the state dict."""
    find = settings_finder(layout, settings)
    for role in layout.roles.values():
        if not is_held(role) and holds(role.declared_by, find):
            raise UsageError(
                f"The state dict of a {layout.title} model does not hold `{role.suffix}` ({role.purpose}): "
                "PEFT makes it when it saves. Save with PEFT, or store the tensors with `adapter_format.save`."
            )


def _adapter_tensors(own: Iterable[Entry]) -> _Chosen:
    """The method's own tensors; those inside a fully trained module are that module's."""
    for entry in own:
        if entry.layer is not None and entry.wrapper is None:
            yield (*entry.layer, *entry.suffix), entry


def _biases(
    own: Iterable[Entry], found: Survey, layout: Layout, declared: Auxiliary, settings: Mapping[str, Any]
) -> _Chosen:
    """The biases that the config says are trained."""
    if not layout.bias:
        return
    modes: Mapping[str, str] = layout.bias["modes"]
    value = settings.get(layout.bias["field"], "none")
    if not isinstance(value, str) or value not in modes:
        raise UsageError(f"The config has bias {value!r}; it must be one of {_listed(modes)}.")
    mode = modes[value]
    if mode == "none":
        return
    token_adapter = declared.tokens_memory.partition(".")[0]
    for entry in own:
        *path, name = entry.parts
        if name != "bias":
            continue
        *owner, part = path or [""]
        wrapped = part == declared.base_layer_part
        if mode == "all" or (wrapped and (tuple(owner) in found.layers or owner[-1:] == [token_adapter])):
            yield entry.without_name(), entry


def _saved_modules(own: Iterable[Entry], declared: Auxiliary) -> _Chosen:
    """The fully trained modules, under the paths they have in the base."""
    for entry in own:
        if entry.wrapper is not None and entry.parts[entry.wrapper] == declared.memory_parts[0]:
            path = entry.parts if entry.layer is None else entry.without_name()
            yield path[: entry.wrapper] + path[entry.wrapper + 2 :], entry


def _tokens(
    own: Iterable[Entry],
    found: Survey,
    state_dict: Mapping[str, object],
    declared: Auxiliary,
    indices: object,
) -> _Chosen:
    """The trained token rows, without the twins of them that tied modules show.

    Indices without a name mean the input embedding: the first module that is not named as an output one.
    """
    outputs = set(declared.embedding_modules) - {declared.tokens_module}
    rows = [(entry.token_module, entry) for entry in own if entry.token_module is not None]
    rows.sort(key=lambda row: row[0][-1] in outputs)
    modules = [".".join(module[found.depth :]) for module, _ in rows]
    names: Collection[str] | None = None
    if isinstance(indices, Mapping):
        names = indices.keys()
    elif indices is not None:
        names = modules[:1]
    addresses: set[int] = set()
    for module, (_, entry) in zip(modules, rows, strict=True):
        address = _address(state_dict[entry.key])
        # PEFT finds a named module by the end of its path, not of its parts.
        if address not in addresses and (names is None or any(module.endswith(name) for name in names)):
            addresses.add(address)
            yield entry.without_name(), entry


def _address(value: object) -> int:
    """Where the data of an array or a torch tensor lies, or the identity of an object that can't say."""
    pointer = getattr(value, "data_ptr", None)
    interface = getattr(value, "__array_interface__", None)
    address: object = None
    if callable(pointer):
        try:
            address = pointer()
        except RuntimeError:
            # A torch tensor without storage, as a sharded one.
            address = None
    elif isinstance(interface, dict):
        address = interface["data"][0]
    return address if isinstance(address, int) and address else id(value)


def _embedding_targeted(
    config: Mapping[str, Any] | None,
    own: Iterable[Entry],
    found: Survey,
    layout: Layout,
    declared: Auxiliary,
) -> bool:
    """Whether the config targets an embedding as PEFT sees it: its bare name in a list, or its path."""
    if config is None:
        layers = {entry.layer[-1] for entry in own if entry.layer is not None and entry.wrapper is None}
        tokens = any(entry.token_module is not None for entry in own)
        return not tokens and not layers.isdisjoint(declared.embedding_modules)
    wanted = target_settings(layout, config).get("modules")
    if isinstance(wanted, str):
        modules = modules_named(found.entries, declared.embedding_modules)
        return wanted != "all-linear" and any(fullmatch(wanted, ".".join(module[found.depth :])) for module in modules)
    return isinstance(wanted, Collection) and any(name in wanted for name in declared.embedding_modules)


def _embedding_names(
    own: Collection[Entry], given: Collection[str] | None, targeted: bool, declared: Auxiliary
) -> Collection[str]:
    """The names of the embeddings; those that must be there are."""
    needed = given
    if given is None:
        needed = () if targeted else (declared.tokens_module,)
    for name in needed or ():
        if not modules_named(own, [name]):
            raise UsageError(
                f"The embeddings are to be saved, but the state dict has no module named {name!r}; "
                "pass the names of the input and the output embedding as embedding_modules."
            )
    return declared.embedding_modules if given is None else given


def _embeddings(own: Collection[Entry], names: Collection[str], base_layer: str | None) -> _Chosen:
    """All tensors of the embeddings; with `base_layer`, those below it alone."""
    modules = modules_named(own, names)
    if base_layer is not None:
        paths = {entry.parts for entry in own}
        bases = {(*module, base_layer) for module in modules}
        # PEFT wants an nn.Linear or nn.Embedding there; other quantized layers hold no tensor named weight.
        modules = {base for base in bases if (*base, "weight") in paths}
    for entry in own:
        if any(entry.parts[:at] in modules for at in range(1, len(entry.parts))):
            yield entry.without_name(), entry


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names) or "none"
