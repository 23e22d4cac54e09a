"""Ends the program when it is imported, as a script does that was never meant to be a module."""

from __future__ import annotations

import sys

SASL_PLUGIN_API = 1

sys.exit("usage: sasl_exits FILE")
