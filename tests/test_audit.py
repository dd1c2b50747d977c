"""Our own wheel needs nothing that manylinux systems lack. Run by `make wheel-test`, which builds it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = [
    pytest.mark.skipif(
        "ENVPOOL_WRAP_WHEEL" not in os.environ, reason="only where make wheel-test builds a wheel"
    ),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="auditwheel is for Linux"),
]


@pytest.fixture(scope="module")
def wheel() -> Path:
    return Path(os.environ["ENVPOOL_WRAP_WHEEL"])


@pytest.fixture(scope="module")
def audit(wheel: Path) -> dict[str, Any]:
    """What auditwheel says of it."""
    command = [sys.executable, "-m", "auditwheel", "show", "--json", str(wheel)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100).stdout
    found: dict[str, Any] = json.loads(said)
    return found


def test_wheel_fits_a_manylinux_tag_as_it_is(audit: dict[str, Any]) -> None:
    """`linux_…` would mean that it needs something beyond every policy."""
    assert re.match(r"(many|musl)linux_\d+_\d+_", audit["overall_tag"]), audit


def test_wheel_needs_no_library_that_would_have_to_be_packed_into_it(audit: dict[str, Any]) -> None:
    assert audit["external_libs"] == {} and audit["policy_upgrades"] == {}
    assert {name.partition(".")[0] for name in audit["versioned_symbols"]} <= {
        *("libc", "libgcc_s", "libm", "libpthread", "libstdc++")
    }


def test_wheel_holds_the_engine_templates_and_headers(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in ("cpp_templates/env.cc.jinja", "cpp_templates/wheel/pyproject.toml.jinja", "cpp_core/leaf.h"):
        assert f"envpool_protocol/{name}" in names
    assert any(name.startswith("envpool_protocol/_core.") for name in names)
