"""`python -m sasl_cli`: the `sasl` command, where its script is not on the path."""

from __future__ import annotations

import sys

from sasl_cli import main

sys.exit(main())
