"""Bounds on what is read from an untrusted adapter; each can be raised by a caller who trusts it."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Upper bounds for one adapter.

    `header_bytes` is far below the 100,000,000 of the safetensors library on purpose: 44,800 LoRA tensors need 7 MB.
    """

    config_bytes: int = 4_000_000
    header_bytes: int = 25_000_000
    tensors: int = 200_000
    dimensions: int = 64
    directory_entries: int = 100_000


DEFAULT_LIMITS = Limits()
