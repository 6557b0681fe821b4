"""Load an adapter folder with PEFT into a fresh base model and keep what came of it."""

from __future__ import annotations

import contextlib
import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest import mock

import torch
from peft import PeftModel

from . import base_models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]

FOLDERS = re.compile(r"""(?<![^\s"'(\[=])(?:/[\w.+~-]+)+(?=/[\w.+-])""")
"""The folders in front of the last name of an absolute path."""

OF_THE_PROCESS = ("Failed to load the CUDA extension", "Sparse invariant checks are implicitly disabled")
"""Beginnings of warnings that tell of the machine, or that torch gives once in a process."""


class Reload(NamedTuple):
    """What a load did: the outputs, or the error by which it ended, and the warnings on the way."""

    outputs: torch.Tensor | None
    warnings: list[str]
    error: str | None


class Digest(NamedTuple):
    """Outputs in short: their sum and the first four values, as decimal numbers."""

    sum: float
    first: list[float]


def digest(outputs: torch.Tensor) -> Digest:
    """The digest of an output tensor, rounded to six decimals."""
    flat = outputs.to(torch.float64).reshape(-1)
    return Digest(round(float(flat.sum()), 6), [round(float(value), 6) for value in flat[:4]])


def close(one: Digest, other: Digest, tolerance: float) -> bool:
    """Whether two digests tell of the same outputs; the sum gets ten times the tolerance of a value."""
    values = zip(one.first, other.first, strict=True)
    return abs(one.sum - other.sum) <= 10 * tolerance and all(abs(a - b) <= tolerance for a, b in values)


@torch.no_grad()
def loftq_on_cpu(
    weight: torch.Tensor, num_bits: int, reduced_rank: int, num_iter: int = 1
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """LoftQ with a symmetric row-wise quantiser: PEFT's own wants bitsandbytes and an accelerator.

    Returns the quantised weight, `A` `[reduced_rank, d_in]` and `B` `[d_out, reduced_rank]`, as PEFT does.
    """
    levels = 2 ** (num_bits - 1) - 1
    residual = weight.clone()
    for _ in range(num_iter):
        scale = residual.abs().amax(dim=1, keepdim=True) / levels
        quantized = (residual / scale).round() * scale
        u, s, vh = torch.linalg.svd(weight - quantized, full_matrices=False)
        root = s[:reduced_rank].sqrt()
        b = u[:, :reduced_rank] * root
        a = root[:, None] * vh[:reduced_rank]
        residual = weight - b @ a
    return quantized, a.contiguous(), b.contiguous()


@contextlib.contextmanager
def stand_ins(names: Iterable[str]) -> Iterator[None]:
    """Give PEFT what it lacks here, by name: see `STAND_INS`; KeyError for another name."""
    with contextlib.ExitStack() as stack:
        for name in names:
            stack.enter_context(STAND_INS[name]())
        yield


@contextlib.contextmanager
def at_the_root() -> Iterator[None]:
    """Work from the repository's root, where a config that holds paths of other adapters finds them."""
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        yield
    finally:
        os.chdir(before)


STAND_INS: dict[str, Callable[[], contextlib.AbstractContextManager[object]]] = {
    "loftq": lambda: mock.patch("peft.tuners.lora.layer.loftq_init", loftq_on_cpu),
    "repository": at_the_root,
}


def told(caught: Iterable[warnings.WarningMessage]) -> list[str]:
    """The distinct messages of recorded warnings that are about the file: no deprecations, nothing of the process."""
    passing = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
    texts = (placeless(str(warning.message)) for warning in caught if not issubclass(warning.category, passing))
    return list(dict.fromkeys(text for text in texts if not text.startswith(OF_THE_PROCESS)))


def placeless(text: str) -> str:
    """A message without the folders of the machine: the last name of an absolute path stays."""
    return FOLDERS.sub("...", text)


def reload(
    golden_dir: Path,
    base_name: str,
    *,
    adapter_name: str = "default",
    options: Mapping[str, Any] | None = None,
    loaded_with: Iterable[str] = (),
    inputs: Mapping[str, list[int]] | None = None,
) -> Reload:
    """Load `golden_dir` into a fresh base `base_name` and compute the base's outputs.

    `options` go to PEFT's `from_pretrained`, `loaded_with` names stand-ins, `inputs` stand beside the base's own
    batch. The random state is not that of the training, as in real life. Whatever PEFT raises becomes `error`, as
    `"KeyError: ..."`: here it is data, not a failure.
    """
    torch.manual_seed(1)
    base = base_models.build(base_name)
    outputs, error = None, None
    with warnings.catch_warnings(record=True) as caught, stand_ins(loaded_with):
        warnings.simplefilter("always")
        try:
            model = PeftModel.from_pretrained(base, str(golden_dir), adapter_name=adapter_name, **dict(options or {}))
            outputs = base_models.outputs(model.eval(), base_name, inputs)
        except Exception as problem:
            error = placeless(f"{type(problem).__name__}: {problem}")
    return Reload(outputs, told(caught), error)
