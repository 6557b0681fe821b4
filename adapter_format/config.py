"""The config of an adapter: a typed, read-only view that keeps what it does not know."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from adapter_format.errors import UnreadableAdapterError, UsageError

CONFIG_NAME = "adapter_config.json"
WEIGHTS_NAME = "adapter_model.safetensors"
LEGACY_WEIGHTS_NAME = "adapter_model.bin"


class AdapterConfig(Mapping[str, Any]):
    """The content of `adapter_config.json`.

    A mapping of the fields that were given, in their order. Known fields can also be read as attributes; an absent one
    then has the default of its schema, as in PEFT. Unknown fields are kept and written back unchanged.

    >>> config = AdapterConfig(peft_type="LORA", r=16, lora_alpha=32)
    >>> config["r"], config.lora_alpha, config.use_rslora
    (16, 32, False)
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, Any] | None = None, /, **more: Any) -> None:
        self._fields: dict[str, Any] = {**(fields or {}), **more}

    @classmethod
    def from_json(cls, text: str | bytes) -> AdapterConfig:
        """Read a config from its JSON text.

        Raises:
            UnreadableAdapterError: the text is not JSON, or not an object.
        """
        from adapter_format.storage.strict_json import read_json

        document = read_json(text.encode() if isinstance(text, str) else text)
        if not document.complete or not isinstance(document.value, dict):
            reason = document.defects[0].message if document.defects else "is not a JSON object"
            raise UnreadableAdapterError(f"{CONFIG_NAME} {reason}")
        return cls(document.value)

    def to_json(self) -> str:
        """Write the config as PEFT lays it out: two spaces, fields sorted, no final newline.

        Unlike PEFT's own writer, the order inside `rank_pattern` and `alpha_pattern` is kept, because there the first
        match wins.
        """
        try:
            return json.dumps(dict(sorted(self._fields.items())), indent=2, default=_plain, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UsageError(f"The config can't be written as JSON: {error}.") from error

    def replace(self, **changes: Any) -> AdapterConfig:
        """Return a config with some fields changed."""
        return AdapterConfig(self._fields, **changes)

    @property
    def peft_type(self) -> str | None:
        """The method, such as `LORA`; None if the config does not say."""
        value = self._fields.get("peft_type")
        return value if isinstance(value, str) else None

    @property
    def base_model_name_or_path(self) -> str | None:
        """The base model that the adapter belongs to."""
        value = self._fields.get("base_model_name_or_path")
        return value if isinstance(value, str) else None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._fields:
            return self._fields[name]
        from adapter_format.config_fields import fields_of

        field = fields_of(self.peft_type or "").get(name)
        if field is None:
            raise AttributeError(f"a {self.peft_type} config has no field {name!r}")
        default = field.default
        return default.copy() if isinstance(default, (dict, list)) else default

    def __getitem__(self, name: str) -> Any:
        return self._fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self._fields.items())
        return f"AdapterConfig({fields})"


def _plain(value: object) -> object:
    """Turn the sets and tuples that callers hold into JSON arrays; sets sorted, so that bytes do not vary."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    item = getattr(value, "item", None)
    if callable(item):
        return item()
    raise TypeError(f"{type(value).__name__} is not a JSON value")
