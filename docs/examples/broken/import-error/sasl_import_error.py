"""Imports a module that its distribution forgot to require."""

from __future__ import annotations

import a_module_that_nobody_has

SASL_PLUGIN_API = 1

__all__ = ["SASL_PLUGIN_API", "a_module_that_nobody_has"]
