"""tools/container-build, for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CANNOT = 3  # the exit code where containers cannot be built


def tool(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """What `tools/container-build *arguments` answered."""
    return subprocess.run(
        [ROOT / "tools" / "container-build", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        cwd="/",
    )
