"""Hypothesis profiles: `quick` for everybody, `deep` for `.ci/run`, `search` (by `HYPOTHESIS_PROFILE`) for new cases.

A gate must not fail by chance, so that only `search` draws other examples in each run.
"""

from __future__ import annotations

import gc
import os

from hypothesis import HealthCheck, settings

# The laws measure time themselves where it matters; a deadline for single examples would only report a busy machine.
_COMMON = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])

settings.register_profile("quick", _COMMON, max_examples=30, derandomize=True, database=None)
settings.register_profile("deep", _COMMON, max_examples=300, derandomize=True, database=None, print_blob=True)
settings.register_profile("search", _COMMON, max_examples=2000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_collection_finish() -> None:
    """Keep the ten thousand collected tests out of every later garbage collection."""
    gc.collect()
    gc.freeze()
