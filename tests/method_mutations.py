"""Every golden of every method, damaged in every way that applies to it."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from adapter_format.testing.damages import DAMAGES, damage
from adapter_format.testing.drafts import Draft, container
from adapter_format.testing.generated import GeneratedAdapter
from adapter_format.testing.taken_apart import taken_apart

METHODS = Path(__file__).parent / "golden" / "methods"
GOLDENS: list[dict[str, Any]] = json.loads((METHODS / "manifest.json").read_text(encoding="utf-8"))["goldens"]


class MethodMutation(NamedTuple):
    """One golden, damaged so that it breaks one rule."""

    peft_type: str
    golden: str
    rule: str
    adapter: GeneratedAdapter


def folders() -> Iterator[tuple[str, str]]:
    """Yield method and folder of the goldens that reload with the same outputs."""
    for golden in GOLDENS:
        first = golden["adapters"][0]
        if first["reload"] == "same" and (METHODS / first["folder"] / "adapter_model.safetensors").exists():
            yield golden["peft_type"], first["folder"]


@cache
def whole(folder: str) -> GeneratedAdapter:
    """Return a golden, taken apart."""
    return taken_apart(METHODS / folder)


def choice(seed: str) -> Callable[[Sequence[Any]], Any]:
    """Return a function that chooses, always in the same way for the same seed."""
    state = [zlib.crc32(seed.encode())]

    def choose(options: Sequence[Any]) -> Any:
        state[0] = (state[0] * 1103515245 + 12345) % 2**31
        return options[(state[0] >> 8) % len(options)]

    return choose


def mutations_of(peft_type: str, folder: str) -> Iterator[MethodMutation]:
    """Yield a golden with every damage that applies to it."""
    for rule in DAMAGES:
        damaged = damage(whole(folder), rule, choice(f"{folder} {rule}"))
        if damaged is not None:
            yield MethodMutation(peft_type, folder, rule, damaged)


def write(adapter: GeneratedAdapter, directory: Path) -> None:
    """Write a generated adapter into a directory, which is made."""
    directory.mkdir(parents=True)
    (directory / "adapter_config.json").write_bytes(json.dumps(adapter.config, indent=2, sort_keys=True).encode())
    draft = Draft(adapter.config, dict(adapter.tensors), [], [])
    (directory / "adapter_model.safetensors").write_bytes(container(draft))
