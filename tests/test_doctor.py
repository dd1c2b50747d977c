"""What `doctor` finds: each thing that may be missing, made to be missing."""

from __future__ import annotations

import importlib.metadata
import json
import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from newcomer import MY_ENV

from envpool_protocol import __version__, _core, origins, records
from envpool_wrap import backends, doctor
from envpool_wrap.doctor import Finding, examine


def found(check: Callable[[], Any]) -> dict[str, Finding]:
    return {finding.name: finding for finding in check()}


@pytest.fixture
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_machine_that_runs_the_tests_lacks_nothing(empty_home: Path) -> None:
    findings = {finding.name: finding for finding in examine()}
    assert not [finding for finding in findings.values() if finding.state == "missing"]
    wanted = [
        "Python",
        "Python's headers",
        "C++ compiler",
        "cmake",
        "numpy",
        "cores",
        "memfd",
        "futex",
        "pidfd",
    ]
    assert set(wanted) <= set(findings)
    assert findings["worker processes"].found == "a pool stepped in one"
    assert not empty_home.exists(), "to look is not to write"


def test_missing_headers_name_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    (finding,) = doctor._headers()
    assert finding.state == "missing" and "-dev" in finding.advice and str(tmp_path) in finding.found


@pytest.mark.parametrize(
    ("cxx", "told", "advice"),
    [
        ("/no/such/compiler", "no C++ compiler found", "apt-get install g++"),
        ("/bin/echo", "cannot compile", "g++ 11"),
    ],
)
def test_compiler_that_is_missing_or_too_old(
    cxx: str, told: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cxx == "/bin/echo":  # says its version, and fails at all else
        cxx = str(tmp_path / "old")
        Path(cxx).write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Old C++ 4"')
        Path(cxx).chmod(0o755)
    monkeypatch.setenv("CXX", cxx)
    (finding,) = doctor._compiler()
    assert finding.state == "missing" and told in finding.found and advice in finding.advice


def test_missing_tools_and_dependencies_name_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"numpy": "1.0", "jinja2": None}
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name in versions and versions[name] is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions.get(name) or real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    findings = found(doctor._dependencies)
    assert findings["numpy"].state == "missing" and findings["numpy"].found.startswith("1.0, expected >=")
    assert (
        findings["jinja2"].found == "not installed" and "pip install 'jinja2>=" in findings["jinja2"].advice
    )
    assert findings["gymnasium"].state == "ok" and "rich" not in findings

    def nothing(name: str) -> str:
        raise doctor.BuildError(name)

    monkeypatch.setattr(doctor.compiler, "tool_path", nothing)
    assert found(doctor._tools)["ninja"].advice == "pip install ninja"


def test_one_core_is_worth_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "cores", lambda: 1)
    (finding,) = doctor._cores()
    assert finding.state == "note" and finding.found.startswith("1 of ") and finding.advice


@pytest.mark.parametrize("call", ["memfd_create", "pidfd_open"])
def test_refused_system_call_is_named(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, call, refuse)
    findings = found(doctor._shared_memory)
    name = call.partition("_")[0]
    assert findings[name].state == "missing" and "not permitted" in findings[name].found
    assert findings["worker processes"].state == "missing"


def test_worker_that_cannot_start_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envpool_wrap.processes._WORKER", Path("/no/such/worker.py"))
    finding = found(doctor._shared_memory)["worker processes"]
    assert finding.state == "missing" and "could not start" in finding.found and "\n" not in finding.found


def test_other_systems_have_no_worker_processes_and_need_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "has_worker_processes", lambda: False)
    (finding,) = doctor._shared_memory()
    assert finding.state == "note" and "thread" in finding.advice


def test_free_threaded_build_whose_gil_is_on_is_worth_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "has_gil", lambda: True)
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: 1)
    assert next(doctor._python()).state == "note"


def test_folder_that_cannot_be_written_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path / "file" / "home"))
    (finding,) = doctor._home()
    assert finding.state == "missing" and "ENVPOOL_WRAP_HOME" in finding.advice


def test_stale_modules_are_told_with_the_reason(empty_home: Path, tmp_path: Path) -> None:
    file = tmp_path / "my_env.py"
    file.write_text(MY_ENV)
    origin = records.Origin("my_env", "MyEnv", str(file), str(tmp_path), origins.digest_of(file), None, None)
    module = tmp_path / "module.so"
    module.write_bytes(b"")
    kept = records.Record("MyEnv_wrap", "MyEnv", "1", str(module), _core.abi, __version__, {}, origin)
    records.save(kept)
    assert found(doctor._modules)["MyEnv_wrap"] == Finding("MyEnv_wrap", "ok", "generated")
    file.write_text(MY_ENV + "\n")
    finding = found(doctor._modules)["MyEnv_wrap"]
    assert finding.state == "note" and "its source changed" in finding.found
    assert "generate_envpool_wrap('MyEnv_wrap')" in finding.advice
    file.unlink()
    assert "is gone" in found(doctor._modules)["MyEnv_wrap"].found
    module.unlink()
    assert "its module" in found(doctor._modules)["MyEnv_wrap"].found
    path = records.home() / "records" / "MyEnv_wrap.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "version": "0.0.1"}))
    assert "generated by version 0.0.1" in found(doctor._modules)["MyEnv_wrap"].found
