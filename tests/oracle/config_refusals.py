"""What the newest PEFT does with odd values of every config field of every method but LoRA, measured.

    python -m tests.oracle.config_refusals            # measure and print
    python -m tests.oracle.config_refusals --write    # write spec/config_schema/refuses.json; LoRA's part stays

One adapter stands for each method: that of its first golden, made anew on a base with numbered layers where the
golden's own has none. Each of its fields gets each odd value in turn, and PEFT loads and runs the result. A field whose
invalid values PEFT always, sometimes or never refuses says so in the schema.
"""

from __future__ import annotations

import argparse
import functools
import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from peft import PeftConfig, PeftModel, get_peft_model
from torch import nn

from adapter_format.config_fields import fields_of, known_peft_types
from adapter_format.schema_check import float_integers, is_valid
from tests.oracle import base_models
from tests.oracle.golden_adapters import GoldenAdapter, golden_adapters
from tests.oracle.golden_outputs import stand_ins

if TYPE_CHECKING:
    from collections.abc import Callable

RECORD = Path(__file__).resolve().parents[2] / "spec" / "config_schema" / "refuses.json"
CONFIG = "adapter_config.json"
LAYERLESS = ("perceptron", "even_perceptron")
ODD_VALUES: list[Any] = [
    None, True, 0, -1, 1, 1.5, 2.0, "x", [], ["x"], [None], {}, {"x": 1},
]  # fmt: skip


class Odd(NamedTuple):
    """What became of one value of one field.

    Attributes:
        value: the value.
        valid: whether the schema takes it.
        error: what PEFT raised, or None.
        same: whether the model computed what was saved.
    """

    value: Any
    valid: bool
    error: Exception | None
    same: bool


class Layers(nn.Module):
    """Two copies of a base as numbered layers, side by side."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.layers = nn.ModuleList([base_models.build(base) for _ in range(2)])

    def forward(self, **inputs: Any) -> torch.Tensor:
        return torch.cat([layer(**inputs) for layer in self.layers])


def methods() -> list[str]:
    """The methods that the newest PEFT loads, without LoRA, which has a test of its own."""
    return [name for name, method in known_peft_types().items() if method.until is None and name != "LORA"]


def own_fields(method: str) -> list[str]:
    """The fields of a method that are not those of every method, as the newest PEFT has them."""
    shared = fields_of("")
    return [name for name, field in fields_of(method).items() if name not in shared and field.until is None]


@functools.cache
def measured(method: str) -> dict[str, list[Odd]]:
    """Give every field of a method every odd value and load the result."""
    golden = next(golden for golden in golden_adapters() if golden.peft_type == method)
    with tempfile.TemporaryDirectory(prefix="config-refusals-") as parent, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(parent) / "adapter"
        shutil.copytree(golden.folder, folder)
        load, saved = _stacked(golden, folder) if golden.golden["base"] in LAYERLESS else _plain(golden, folder)
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        found = {}
        for field in own_fields(method):
            found[field] = []
            for value in ODD_VALUES:
                changed = {**config, field: value}
                (folder / CONFIG).write_text(json.dumps(changed), encoding="utf-8")
                outputs, error = _attempt(load)
                valid = is_valid(changed) and not list(float_integers(changed))
                found[field].append(Odd(value, valid, error, outputs is not None and _close(outputs, saved)))
    return found


def _plain(golden: GoldenAdapter, folder: Path) -> tuple[Callable[[], torch.Tensor], torch.Tensor]:
    """Load the golden as it is, onto its own base."""
    base, inputs = golden.golden["base"], golden.golden.get("inputs")

    def load() -> torch.Tensor:
        with stand_ins(golden.golden["loaded_with"]):
            model = PeftModel.from_pretrained(base_models.build(base), str(folder))
            return base_models.outputs(model.eval(), base, inputs)

    return load, load()


def _stacked(golden: GoldenAdapter, folder: Path) -> tuple[Callable[[], torch.Tensor], torch.Tensor]:
    """Make the golden's adapter anew on two copies of its base, whose modules have the same names."""
    base = golden.golden["base"]
    config = PeftConfig.from_pretrained(str(folder))
    config.inference_mode = False
    torch.manual_seed(3)
    model = get_peft_model(Layers(base), config)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data.add_(base_models.uniform_noise(name, parameter.shape, 0.3))
    saved = base_models.outputs(model.eval(), base)
    for file in folder.iterdir():
        file.unlink()
    model.save_pretrained(folder)

    def load() -> torch.Tensor:
        return base_models.outputs(PeftModel.from_pretrained(Layers(base), str(folder)).eval(), base)

    return load, saved


def _attempt(load: Callable[[], torch.Tensor]) -> tuple[torch.Tensor | None, Exception | None]:
    torch.manual_seed(1)
    try:
        return load(), None
    except Exception as problem:
        return None, problem


def _close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and torch.allclose(one, other, atol=1e-4, equal_nan=True)


def how_often(odd: list[Odd]) -> str:
    """How often PEFT refuses what the schema does not take."""
    refused = [one.error is not None for one in odd if not one.valid]
    return "never" if not any(refused) else "always" if all(refused) else "sometimes"


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description="Measure which config values PEFT refuses.")
    parser.add_argument("--write", action="store_true", help="write spec/config_schema/refuses.json")
    parser.add_argument("methods", nargs="*", help="default: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    for method in options.methods or methods():
        record[method] = {field: how_often(odd) for field, odd in measured(method).items()}
        for field, odd in measured(method).items():
            tolerated = [one.value for one in odd if not one.valid and one.same]
            raised = [(one.value, repr(one.error)[:60]) for one in odd if one.valid and one.error]
            print(f"{method}.{field}: {how_often(odd)}", f"tolerated {tolerated}", f"raised {raised}", sep="\n    ")
    if options.write:
        RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
