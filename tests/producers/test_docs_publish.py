"""``docs/publish.md`` is true: every curl line gets the answer printed under it, every Python block runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from producers.settings import DoorSettings
from tests.producers.conftest import Front, Installation, Letters
from tests.producers.files import PDF

PAGE = (Path(__file__).parents[2] / "docs" / "publish.md").read_text()
CURLS = re.findall(r"```sh\n(curl .*?)\n# (\d+)(?: (.*?))?\n```", PAGE, re.DOTALL)
PYTHON = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


def request(command: str, variables: dict[str, str]) -> tuple[str, dict[str, Any]]:
    """A curl line as a request. Knows what the page uses: ``-H``, ``-d``, ``-F``."""
    words = shlex.split(command.replace("\\\n", " "))
    words = [re.sub(r"\$(\w+)", lambda found: variables[found[1]], word) for word in words[1:]]
    url, rest = words[0], iter(words[1:])
    options = list(zip(rest, rest, strict=True))
    headers = dict(value.split(": ", 1) for option, value in options if option == "-H")
    data = [value for option, value in options if option == "-d"]
    parts = [value.split("=", 1) for option, value in options if option == "-F"]
    assert {option for option, _ in options} <= {"-H", "-d", "-F"}
    if parts:
        form = aiohttp.FormData(default_to_multipart=True)
        for name, value in parts:
            form.add_field(
                name, PDF if value.startswith("@") else value, filename=value[1:] if value[0] == "@" else None
            )
        return url, {"data": form, "headers": headers}
    headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    return url, {"data": "&".join(data).encode(), "headers": headers}


@pytest.mark.parametrize(("command", "status", "body"), CURLS, ids=[f"{n}" for n in range(len(CURLS))])
async def test_a_curl_line_gets_the_answer_printed_under_it(
    front: Front, letters: Letters, installation: Installation, command: str, status: str, body: str
) -> None:
    types = ("greffier.contact.*", "greffier.consent.*")
    key = installation.add_key(types=types, sources=("https://crm.example.com*",))
    url, arguments = request(command, {"DOOR": str(front.http._base_url).rstrip("/"), "KEY": key})
    async with aiohttp.ClientSession() as http, http.post(url, **arguments) as answer:
        found = json.loads(await answer.text())
    assert answer.status == int(status), found
    if body:
        expected = json.loads(body)
        shown = {name: found[name] for name in expected}
        assert shown == expected or set(expected.values()) == {"…"}
    assert bool(letters.events()) is (status == "202")


def test_the_page_has_examples_of_each_way() -> None:
    assert len(CURLS) >= 8
    assert len(PYTHON) == 2


@pytest.mark.parametrize("code", PYTHON, ids=["plain", "async"])
async def test_a_python_block_runs(settings: DoorSettings, letters: Letters, code: str) -> None:
    environment = {
        **os.environ,
        "GREFFIER_REDIS_URL": settings.redis_url.get_secret_value(),
        "GREFFIER_KEYS": str(settings.keys),
    }
    check = "\nassert not refused and len(outcomes) == 1000" if "outcomes" in code else "\nassert confirmed"
    run = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code + check, env=environment, stderr=subprocess.PIPE
    )
    _, said = await run.communicate()
    assert run.returncode == 0, said.decode()
    assert len(letters.events()) in (1, 1000)
