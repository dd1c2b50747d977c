"""The Makefile's words for those who type nox; the Makefile owns the environment, so nox makes none."""

import nox

nox.options.default_venv_backend = "none"
nox.options.sessions = ["lint", "cpp", "tests"]


@nox.session
def lint(session: nox.Session) -> None:
    """ruff, mypy --strict, clang-format"""
    session.run("make", "lint")


@nox.session
def cpp(session: nox.Session) -> None:
    """C++ unit tests: plain, address and thread sanitizer"""
    session.run("make", "cpp")


@nox.session
def tests(session: nox.Session) -> None:
    """pytest on the editable install"""
    session.run("make", "pytest")


@nox.session
def bench(session: nox.Session) -> None:
    """Our pools beside a plain loop and the machine's limits: benchmarks/"""
    session.run("make", "bench")
