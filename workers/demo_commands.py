"""``greffier`` itself, typed by the demo as its staff would, against the system that the demo runs."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

from workers.up import System


async def greffier(system: System, *words: str) -> tuple[int, str]:
    """The command's exit code and what it printed."""
    facts = system.facts()
    env = {
        **os.environ,
        "GREFFIER_REDIS_URL": facts["redis"],
        "GREFFIER_MONGO_URL": facts["mongo"],
        "GREFFIER_KEYS": str(system.data / "keys" / "controller"),
        "GREFFIER_REGISTER": str(system.register),
        "GREFFIER_PUBLIC_URL": facts["door"],
    }
    argv = [sys.executable, "-m", "schemas", *words]
    ran = await asyncio.to_thread(subprocess.run, argv, env=env, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout
