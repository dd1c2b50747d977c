"""The console script `envpool-wrap`. Its commands are in commands.py, which needs the extra `cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command that the arguments name; exits with 0, 1 (a problem was found) or 2 (wrong usage)."""
    try:
        from envpool_wrap.commands import app
    except ImportError as error:
        if error.name != "typer":
            raise
        sys.exit("envpool-wrap needs typer: pip install 'envpool-wrapper[cli]'")
    app()
