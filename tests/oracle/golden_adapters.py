"""The golden adapters one by one: a golden may hold several, each with its own entry in the manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from .golden_outputs import Digest, Reload, close, digest, reload

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
COLLECTIONS = ("lora", "methods")
"""Folders of goldens that the newest PEFT wrote, each with a manifest."""

WEIGHTS = "adapter_model.safetensors"


class GoldenAdapter(NamedTuple):
    """One adapter folder, the golden that it belongs to and its own entry, as the manifest has them."""

    collection: str
    golden: dict[str, Any]
    entry: dict[str, Any]

    @property
    def folder(self) -> Path:
        return GOLDEN / self.collection / self.entry["folder"]

    @property
    def peft_type(self) -> str:
        return self.golden.get("peft_type", "LORA")

    @property
    def has_safetensors(self) -> bool:
        return (self.folder / WEIGHTS).exists()

    def load_with_peft(self, folder: Path) -> Reload:
        """Load a folder as if it were this adapter's: same base, same name, same options, same further inputs."""
        return reload(
            folder,
            self.golden["base"],
            adapter_name=self.entry["name"],
            options=self.golden["load_options"],
            loaded_with=self.golden["loaded_with"],
            inputs=self.golden.get("inputs"),
        )

    def computed_as_saved(self, again: Reload) -> bool:
        """Whether the outputs are those of the model that was saved."""
        saved = Digest(**self.entry["outputs"])
        return again.outputs is not None and close(digest(again.outputs), saved, self.golden["tolerance"])


def goldens(collection: str) -> list[dict[str, Any]]:
    """The entries of a collection's manifest."""
    return json.loads((GOLDEN / collection / "manifest.json").read_text(encoding="utf-8"))["goldens"]


def golden_adapters() -> list[GoldenAdapter]:
    """Every adapter of every golden, LoRA's first."""
    return [
        GoldenAdapter(collection, golden, entry)
        for collection in COLLECTIONS
        for golden in goldens(collection)
        for entry in golden["adapters"]
    ]


def parameters(chosen: Callable[[GoldenAdapter], bool]) -> list[Any]:
    """The adapters that are chosen, as parameters of a test, named by their folders."""
    return [
        pytest.param(adapter, id=f"{adapter.collection}/{adapter.entry['folder']}")
        for adapter in golden_adapters()
        if chosen(adapter)
    ]
