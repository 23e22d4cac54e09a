"""The stranger's distribution and the broken ones beside it, and where they are installed."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"

# The conformance kit looks at the module where it lies; what installs it is another test.
sys.path.append(str(EXAMPLES / "stranger"))
