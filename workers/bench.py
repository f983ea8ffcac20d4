"""``greffier bench``: runs the benchmarks of a checkout. They are no part of what is installed elsewhere.

Source: design § 8.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from schemas.errors import ConfigurationError, Fault

_CHECKOUT = Path(__file__).resolve().parent.parent


def run_bench(name: str, options: Sequence[str], checkout: Path = _CHECKOUT) -> int:
    """The exit code of ``python -m tests.benchmarks``. Raises `ConfigurationError` where there is no checkout."""
    if not (checkout / "tests" / "benchmarks" / "__main__.py").is_file():
        raise ConfigurationError(
            "greffier bench",
            Fault("tests/benchmarks", "is not here: the benchmarks run from a checkout of the sources"),
        )
    argv = [sys.executable, "-m", "tests.benchmarks", name, *options]
    return subprocess.run(argv, cwd=checkout, check=False).returncode
