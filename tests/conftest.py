"""Hypothesis profiles: `quick` for everybody, `deep` for a search (`HYPOTHESIS_PROFILE=deep`)."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# The laws measure time themselves where it matters; a deadline on single examples would only report a busy machine.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}

settings.register_profile("quick", max_examples=100, derandomize=True, database=None, **_COMMON)
settings.register_profile("deep", max_examples=3000, print_blob=True, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
