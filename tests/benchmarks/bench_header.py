"""`validate` at header level: against reading the same JSON, by number of tensors, and in memory."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import adapter_format as af
from tests.benchmarks.adapters import CONFIG, Written, shapes, write
from tests.benchmarks.figures import Figure
from tests.benchmarks.measuring import best_of_both, peak_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_TIMES_JSON = 5.0
MOST_SPARSE_MEGABYTES = 80.0
MOST_GROWTH = 1.5
SPARSE_BYTES = 10_000_000_000


def figures(folder: Path) -> Iterator[Figure]:
    """Measure; files are made in the folder."""
    yield _warm(folder)
    yield _sparse(folder)
    yield from _by_tensors(folder)


def _warm(folder: Path) -> Figure:
    ours, json_alone = _against_json(write(folder / "warm", shapes()), 400)
    detail = f"{ours * 1e3:.2f} ms against {json_alone * 1e3:.2f} ms"
    name = "`validate`, warm, against `json.loads` of the same header and config"
    return Figure(name, ours / json_alone, "times", MOST_TIMES_JSON, detail=detail)


def _against_json(written: Written, rounds: int) -> tuple[float, float]:
    report = af.validate(written.path)
    assert not report.findings, report.findings
    return best_of_both(
        lambda: af.validate(written.path), lambda: (json.loads(written.header), json.loads(written.config)), rounds
    )


def _sparse(folder: Path) -> Figure:
    features = SPARSE_BYTES // 2 // (2 * CONFIG["r"])
    path = "base_model.model.model.layers.0.self_attn.q_proj"
    tensors = {f"{path}.lora_A.weight": (CONFIG["r"], features), f"{path}.lora_B.weight": (features, CONFIG["r"])}
    written = write(folder / "sparse", tensors, config={**CONFIG, "target_modules": ["q_proj"]})
    assert af.validate(written.path).ok
    empty = peak_bytes("", folder / "cache")
    ours = peak_bytes(_validate_once(written.path), folder / "cache")
    detail = f"{ours / 1e6:.0f} MB, the empty interpreter {empty / 1e6:.0f} MB"
    name = "Peak memory of `validate` on a sparse file of 10 GB, beyond the interpreter's"
    return Figure(name, (ours - empty) / 1e6, "MB", MOST_SPARSE_MEGABYTES, detail=detail)


def _by_tensors(folder: Path) -> Iterator[Figure]:
    ratios = []
    imported = peak_bytes("import adapter_format.validator", folder / "cache")
    for layers, rounds in ((32, 100), (320, 20), (3200, 6)):
        tensors = shapes(layers)
        written = write(folder / f"layers-{layers}", tensors)
        ours, json_alone = _against_json(written, rounds)
        ratios.append(ours / json_alone)
        memory = peak_bytes(_validate_once(written.path), folder / "cache") - imported
        count = len(tensors)
        detail = (
            f"{ours * 1e3:.1f} ms, {ratios[-1]:.1f} times `json.loads`; "
            f"{memory / 1e6:.1f} MB, {memory / count / 1e3:.1f} kB a tensor"
        )
        yield Figure(f"`validate` of {count:,} tensors", ours / count * 1e6, "µs a tensor", detail=detail)
    name = "Growth of the ratio to `json.loads` from 448 to 44,800 tensors"
    yield Figure(name, ratios[-1] / ratios[0], "times", MOST_GROWTH, detail="1 or less: `validate` is as linear as it")


def _validate_once(path: Path) -> str:
    return f"import adapter_format\nadapter_format.validate({str(path)!r})"
