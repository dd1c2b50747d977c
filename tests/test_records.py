"""Records on disk: whole or not at all, and no foreign file breaks them."""

from __future__ import annotations

import json
import os
import sysconfig
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from envs import Counting

import envpool_wrap
from envpool_protocol import compiler, records
from envpool_protocol.errors import BuildError, UnknownEnvError
from envpool_protocol.records import Origin, Record
from envpool_protocol.sources import source_of

ORIGIN = Origin("envs", "Counting", "/somewhere/envs.py", "/somewhere", "0" * 64, None, None)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The records folder of an empty home; the first `save` makes it."""
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", str(tmp_path / "home é x"))
    return records.home() / "records"


def record(name: str = "Counting") -> Record:
    description = source_of(Counting, name).describe().to_json()
    module = f"modules/{name}-1/_{name}_wrap.so"
    return Record(f"{name}_wrap", name, "1", module, 1, "0.1.0", description, ORIGIN)


def test_record_comes_back_as_it_was_saved() -> None:
    with_pickle = replace(ORIGIN, file=None, root=None, digest=None, pickle="QUJD", kwargs="QUJD")
    for saved in (record(), replace(record("Other"), origin=with_pickle)):
        records.save(saved)
        assert records.load(saved.task_id) == saved


def test_later_record_replaces_the_earlier_one_and_leaves_no_other_file(folder: Path) -> None:
    records.save(record())
    records.save(replace(record(), key="2"))
    assert [path.name for path in folder.iterdir()] == ["Counting_wrap.json"]
    loaded = records.load("Counting_wrap")
    assert loaded is not None and loaded.key == "2"


def test_record_that_is_there_already_is_not_written_again(folder: Path) -> None:
    """An image's home may be read-only, and its scripts generate what is cached."""
    records.save(record())
    before = (folder / "Counting_wrap.json").stat()
    records.save(record())
    assert (folder / "Counting_wrap.json").stat() == before
    records.save(replace(record(), key="2"))
    assert (folder / "Counting_wrap.json").stat().st_ino != before.st_ino


def test_record_may_be_read_by_whoever_may_read_the_module(folder: Path) -> None:
    """An image is built by root and run by somebody else."""
    records.save(record())
    assert (folder / "Counting_wrap.json").stat().st_mode & 0o777 == 0o644


def test_failed_save_keeps_the_old_record_and_leaves_no_temporary_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.save(record())

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        records.save(replace(record(), key="2"))
    assert [path.name for path in folder.iterdir()] == ["Counting_wrap.json"]
    loaded = records.load("Counting_wrap")
    assert loaded is not None and loaded.key == "1"


def test_task_ids_are_sorted_and_an_empty_home_has_none() -> None:
    assert records.task_ids() == [] and envpool_wrap.list_all_envs() == []
    for name in ("b", "a", "C"):
        records.save(record(name))
    assert envpool_wrap.list_all_envs() == ["C_wrap", "a_wrap", "b_wrap"]


GOOD = {"format": 1, **asdict(Record("Broken_wrap", "Broken", "1", "m.so", 1, "0.1.0", {}, ORIGIN))}
BROKEN = {
    "empty": b"",
    "cut off": b'{"format": 1, "task_id": "Bro',
    "not UTF-8": b'{"format": "\xff"}',
    "text": b'"format"',
    "null": b"null",
    "list": b"[1]",
    "number": b"3",
    "no fields": b"{}",
    "format only": b'{"format": 1}',
    "newer format": b'{"format": 99, "task_id": "Broken_wrap"}',
    "origin is null": json.dumps({**GOOD, "origin": None}).encode(),
    "origin is a list": json.dumps({**GOOD, "origin": []}).encode(),
    "unknown field": json.dumps({**GOOD, "colour": "red"}).encode(),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_file_that_is_no_record_is_skipped_with_a_warning_that_names_it(content: bytes, folder: Path) -> None:
    records.save(record())
    (folder / "Broken_wrap.json").write_bytes(content)
    with pytest.warns(UserWarning, match=r"Broken_wrap\.json is not a readable record") as listed:
        assert envpool_wrap.list_all_envs() == ["Counting_wrap"]
    with pytest.warns(UserWarning, match=r"Broken_wrap\.json is not a readable record") as loaded:
        assert records.load("Broken_wrap") is None
    assert {warning.filename for warning in (*listed, *loaded)} == {__file__}


def test_record_that_the_broken_ones_are_made_from_is_a_good_one(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "Broken_wrap.json").write_text(json.dumps(GOOD))
    assert records.load("Broken_wrap") is not None


def test_env_whose_record_is_broken_is_unknown_not_a_crash(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "Broken_wrap.json").write_text("{")
    with (
        pytest.warns(UserWarning, match="not a readable record"),
        pytest.raises(UnknownEnvError, match="no env is called 'Broken_wrap'"),
    ):
        envpool_wrap.make("Broken_wrap", env_type="gym")


def test_foreign_files_and_folders_are_left_alone(folder: Path) -> None:
    records.save(record())
    (folder / "notes.txt").write_text("mine")
    (folder / ".Counting_wrap.json.abcd").write_text("left by a killed process")
    (folder / "sub").mkdir()
    modules = records.home() / "modules"
    modules.mkdir()
    (modules / "libforeign.cpython-38.so").write_bytes(b"\x7fELF junk")
    (modules / "Counting-zzz").write_text("a file where a folder would be")
    assert envpool_wrap.list_all_envs() == ["Counting_wrap"]
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo], ids=["folder", "pipe"])
@pytest.mark.timeout(20)  # nobody writes into the pipe
def test_what_is_no_file_but_named_like_a_record_is_skipped(folder: Path, make: Any) -> None:
    records.save(record())
    make(folder / "Odd_wrap.json")
    with pytest.warns(UserWarning, match="not a readable record"):
        assert envpool_wrap.list_all_envs() == ["Counting_wrap"]


def test_copied_record_does_not_pass_for_another_env(folder: Path) -> None:
    records.save(record())
    (folder / "Copy_wrap.json").write_bytes((folder / "Counting_wrap.json").read_bytes())
    with pytest.warns(UserWarning, match="it is the record of Counting_wrap"):
        assert envpool_wrap.list_all_envs() == ["Counting_wrap"]


@pytest.mark.parametrize("task_id", ["../secret", "a/b", "", ".", "/etc/passwd", "x" * 300, "a\0b"])
def test_task_id_that_is_no_file_name_is_unknown(task_id: str) -> None:
    records.save(record())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert records.load(task_id) is None


# Home


def test_home_is_the_users_cache_folder_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENVPOOL_WRAP_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert records.home().is_relative_to(tmp_path)
    assert "envpool-wrapper" in str(records.home())


def test_home_with_a_tilde_is_in_the_users_folder_not_one_named_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Dockerfile's ENV and a service file do not expand it."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", "~/pools")
    assert records.home().parent == tmp_path / "pools"


@pytest.mark.parametrize("asked", ["", "~nobody-of-that-name/pools"])
def test_user_without_a_home_is_told_to_name_a_folder(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a container's that runs under a number: neither HOME nor the list of users has one."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("ENVPOOL_WRAP_HOME", asked)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    for call in (records.task_ids, lambda: records.load("MyEnv_wrap")):
        with pytest.raises(BuildError, match=r"no home folder is known .*set ENVPOOL_WRAP_HOME to a folder"):
            call()


def test_interpreters_of_different_abi_do_not_see_each_others_modules(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    records.save(record())
    monkeypatch.setattr(records, "_ABI_TAG", "cpython-399-other")
    assert records.task_ids() == []


def test_home_has_another_name_while_another_thread_asks_sysconfig_for_the_first_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home, module = records.home(), compiler.extension_name("_MyEnv")
    assert home.name == sysconfig.get_config_var("SOABI")
    assert module == "_MyEnv" + str(sysconfig.get_config_var("EXT_SUFFIX"))
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: None)
    assert (records.home(), compiler.extension_name("_MyEnv")) == (home, module)
