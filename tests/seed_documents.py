"""The documents of the systems that this project takes after, and the code in them.

They are not part of the project: their code is cut out here, and ported in the tests. Where they are absent,
a test that asks for one is skipped.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

SEEDS = Path(__file__).resolve().parents[2] / "shared" / "seeds"

_FENCE = re.compile(r"^`{3,4}python\n(.*?)^`{3,4}", re.M | re.S)
_DIRECTIVE = re.compile(r"^\.\. code-block:: python\n((?:(?: {4}.*|[ \t]*)\n)+)", re.M)


def document(number: str) -> str:
    """The text of document `number`, such as `"004"`."""
    found = sorted(SEEDS.glob(f"{number}_*.txt"))
    if not found:
        pytest.skip(f"the document is not here: no {SEEDS}/{number}_*.txt")
    return found[0].read_text("utf-8")


def fenced(text: str) -> list[str]:
    """The Python blocks of a document in Markdown."""
    return _FENCE.findall(text)


def directed(text: str) -> list[str]:
    """The Python blocks of a document in reStructuredText."""
    return [textwrap.dedent(block) for block in _DIRECTIVE.findall(f"{text}\n")]
