"""Fixtures for pytest: directories with valid adapters of each method. Installed with the package, and found by itself.

A test that takes `adapter_directory` calls it with a method, as in `adapter_directory("VERA")`; one that takes
`adapter_of_each_method` runs once for every method that the newest PEFT knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from adapter_format.layouts import current_layout_names

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

METHODS = current_layout_names()
"""Every method with a layout that the newest PEFT knows, by its `peft_type`."""


@pytest.fixture(scope="session")
def adapter_directory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function from a method to a directory with a valid adapter of it.

    The directory is made once a session and shared: copy it before changing it.
    """
    made: dict[str, Path] = {}

    def directory(method: str) -> Path:
        if method not in made:
            from adapter_format.testing import sample_adapter, write_adapter

            made[method] = write_adapter(sample_adapter(method), tmp_path_factory.mktemp(method.lower()) / "adapter")
        return made[method]

    return directory


@pytest.fixture(params=METHODS)
def adapter_of_each_method(request: pytest.FixtureRequest, adapter_directory: Callable[[str], Path]) -> Path:
    """Return a directory with a valid adapter, of one method after the other."""
    return adapter_directory(request.param)
