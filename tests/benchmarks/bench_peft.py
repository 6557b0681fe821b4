"""The same adapter loaded by PEFT: what it takes to learn that way whether an adapter is sound.

The base model has the dimensions of a 7B Llama, but each of its weights is one number that is expanded to the full
shape and takes no memory, so that little is counted but PEFT's own work: it makes the adapter's layers and reads their
tensors, without initialising them first (`low_cpu_mem_usage`), which is PEFT at its fastest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import adapter_format as af
from tests.benchmarks.adapters import HIDDEN, INTERMEDIATE, LAYERS, shapes, trained_values, write
from tests.benchmarks.figures import Figure
from tests.benchmarks.measuring import peak_bytes, run_python, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PREPARE = f"""
import time, torch
from peft import PeftModel
from transformers import LlamaConfig, LlamaForCausalLM
config = LlamaConfig(hidden_size={HIDDEN}, intermediate_size={INTERMEDIATE}, num_hidden_layers={LAYERS},
                     num_attention_heads=32, num_key_value_heads=32)
with torch.device("meta"):
    base = LlamaForCausalLM(config)
for module in list(base.modules()):
    for name, weight in list(module.named_parameters(recurse=False)):
        number = torch.zeros(1, dtype=torch.float16).expand(weight.shape)
        setattr(module, name, torch.nn.Parameter(number, requires_grad=False))
"""

_LOAD = """
start = time.perf_counter()
model = PeftModel.from_pretrained(base, {path!r}, low_cpu_mem_usage=True)
taken = time.perf_counter() - start
loaded = [weight for name, weight in model.named_parameters() if "lora_" in name]
assert len(loaded) == 448 and all(weight.any() for weight in loaded)
"""


def figures(folder: Path) -> Iterator[Figure]:
    """Measure, in an environment with PEFT; files are made in the folder."""
    tensors = shapes()
    path = write(folder / "peft", tensors, values=trained_values(tensors)).path
    cache = folder / "cache"
    load = _PREPARE + _LOAD.format(path=str(path))
    report = "import sys\nsys.stderr.write(f'\\n{taken}')"
    run_python(["-c", _PREPARE], cache)
    call = min(float(run_python(["-c", load + report], cache).split()[-1]) for _ in range(3))
    process = min(seconds(lambda: run_python(["-c", load], cache)) for _ in range(2))
    ours_call = min(seconds(lambda: af.validate(path)) for _ in range(50))
    ours_data = min(seconds(lambda: af.validate(path, data=True)) for _ in range(5))
    command = ["-m", "adapter_format", "validate", str(path)]
    ours_process = min(seconds(lambda: run_python(command, cache)) for _ in range(5))
    memory = peak_bytes(load, cache)
    ours_memory = peak_bytes(f"import adapter_format\nadapter_format.validate({str(path)!r})", cache)
    data_memory = peak_bytes(f"import adapter_format\nadapter_format.validate({str(path)!r}, data=True)", cache)
    times = f"{call * 1e3:.0f} ms against {ours_call * 1e3:.2f} ms; {call / ours_data:.0f} times with `--data`"
    name = "`PeftModel.from_pretrained` (base without memory), against `validate`"
    yield Figure(name, call / ours_call, "times", detail=times)
    times = f"{process:.1f} s against {ours_process * 1e3:.0f} ms"
    yield Figure("The same with imports, in new processes", process / ours_process, "times", detail=times)
    sizes = f"{ours_memory / 1e6:.0f} MB against {memory / 1e6:.0f} MB; {data_memory / 1e6:.0f} MB with `--data`"
    yield Figure("Peak memory of `validate`, against PEFT's", ours_memory / memory, "times", detail=sizes)
