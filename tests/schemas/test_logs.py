"""Log lines say what happened and quote nobody."""

from __future__ import annotations

import subprocess
import sys

NAME = "ada.quillfeather@example.com"

PROGRAM = f"""
import logging, structlog
from schemas.logs import configure_logs
configure_logs("DEBUG")
secret = "{NAME}"
logging.getLogger("pymongo.command").debug("inserting %s", secret)
logging.getLogger("aiohttp.server").error("failed: %(what)s", {{"what": secret}})
logging.getLogger("workers.consume").warning("thread %s died", "consumer-1")
try:
    raise ValueError(secret)
except ValueError as error:
    logging.getLogger("asyncio").exception("unhandled")
    logging.getLogger("workers.x").error("broke", exc_info=True)
    structlog.get_logger("greffier.x").error("broke", exc_info=error, batch="b-1")
"""


def test_a_line_keeps_ids_and_kinds_and_loses_values() -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stderr
    assert NAME not in said
    assert "Traceback" not in said
    assert said.count("ValueError") == 3
    assert "consumer-1" in said
    assert "b-1" in said
    assert "inserting" in said
