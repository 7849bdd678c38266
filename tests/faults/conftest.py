"""Lets the tests of this folder import their helpers, whichever way pytest imports the tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
