"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# How long an example takes depends on what else the machine does: no test may fail for that. What
# must be fast is measured in CPU time, by stopwatch.within. The rest is as Hypothesis has it, for
# CI (no database, the same examples each time) or for a developer.
settings.register_profile(
    "any-load", parent=settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any-load")
