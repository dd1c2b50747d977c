"""The commands of `envpool-wrap`. Each prints a table, or JSON with `--json`.

Exit codes: 0, 1 where a problem was found, 2 for wrong usage. Of errors of ours the message is on stderr, cut
where a compiler speaks; `--debug` shows all. What an env raises is shown with its own part of the traceback.
"""

from __future__ import annotations

import contextlib
import json
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

import envpool_protocol
from envpool_protocol import origins, records
from envpool_protocol.descriptions import Description
from envpool_protocol.errors import (
    BuildError,
    ConfigError,
    EnvPoolError,
    RegistrationError,
    UnknownEnvError,
)
from envpool_protocol.manager import CppWrapperGenerator, EnvManager, unknown_message
from envpool_protocol.notices import outside
from envpool_wrap import doctor as examination
from envpool_wrap import registry
from envpool_wrap.backends import cores
from envpool_wrap.tables import table
from envpool_wrap.tuning.contest import hold
from envpool_wrap.tuning.progress import Advance, part, progress_bar
from envpool_wrap.tuning.report import as_table
from envpool_wrap.tuning.tune import tune as tune_env

_USAGE = (RegistrationError, ConfigError)  # what was given is wrong, not what was found

app = typer.Typer(
    name="envpool-wrap",
    help="Generate, inspect, measure and package envs for envpool_wrap.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Backend(StrEnum):
    """Where a pool's workers run."""

    inline = "inline"
    thread = "thread"
    process = "process"


Target = Annotated[
    str, typer.Argument(metavar="TARGET", help="FILE.py:Class, a task id, or an id of gymnasium")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Compiled = Annotated[bool, typer.Option("--compiled", help="Compile its hooks to machine code.")]
Seconds = Annotated[float, typer.Option("--seconds", min=0.01, help="For how long to measure.")]


@app.callback(invoke_without_command=True)
def _main(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        typer.echo(envpool_protocol.__version__)
        raise typer.Exit


@app.command("list")
def list_envs(as_json: Json = False, debug: Debug = False) -> None:
    """List the envs that can be made here. Nobody's code is imported."""
    with _reported(debug):
        found = [_facts(record) for record in records.all_records()]
        columns = ("task_id", "from", "observation", "action", "state")
        _show(found, table(columns, ([one[key] for key in columns] for one in found)), as_json)


@app.command()
def info(
    task_id: Annotated[str, typer.Argument(metavar="TASK")], as_json: Json = False, debug: Debug = False
) -> None:
    """Show what is known of an env. Nobody's code is imported."""
    with _reported(debug):
        record = records.load(task_id)
        if record is None:
            raise UnknownEnvError(unknown_message(task_id))
        facts = _facts(record)
        _show(facts, table(("", ""), facts.items()).strip("\n"), as_json)


@app.command()
def generate(
    target: Target,
    force: Annotated[bool, typer.Option("--force", help="Compile even if the module is there.")] = False,
    compiled: Compiled = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Generate the module of an env."""
    with _reported(debug), progress_bar() as advance:
        report = _compiling(target, advance)
        made = CppWrapperGenerator.generate_envpool_wrap(
            _env(target), force=force, report=report, compiled=compiled or None
        )
        how = "was there already" if made.cached else f"compiled in {made.seconds:.1f} s"
        _show({**vars(made), "path": str(made.path)}, f"{made.task_id}: {how}\n{made.path}", as_json)


@app.command()
def wheel(
    target: Target,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder to put it in.")],
    version: Annotated[str, typer.Option(help="Of the wheel.")] = "0.1.0",
    requires: Annotated[
        list[str] | None, typer.Option(help="What the env imports, such as 'torch>=2.4'; may be given again.")
    ] = None,
    compiled: Compiled = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Build a wheel of an env, for machines without a compiler."""
    with _reported(debug), progress_bar() as advance:
        env, report = _env(target), _compiling(target, advance)
        made = CppWrapperGenerator.build_wheel(env, out, version, requires or (), report, compiled or None)
        _show({"path": str(made)}, str(made), as_json)


@app.command()
def bench(
    target: Target,
    num_envs: Annotated[
        list[int] | None, typer.Option(min=1, help="How many; may be given again. Default: 8 and 64.")
    ] = None,
    backend: Annotated[
        list[Backend] | None, typer.Option(help="Which; may be given again. Default: all that it runs on.")
    ] = None,
    num_threads: Annotated[int, typer.Option(min=0, help="Workers; 0: one per core.")] = 0,
    seconds: Seconds = 10.0,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure pools of an env beside a plain Python loop, in turns."""
    with _reported(debug):
        found = registry.find(_registered(target))
        sizes, contests = num_envs or [8, 64], []
        compiled = found.source.compiled
        backends = backend or [one for one in Backend if not (compiled and one == "process")]
        with progress_bar() as advance:
            for number, size in enumerate(sizes):
                workers = min(num_threads or cores(), size)
                contenders = [
                    {"backend": str(one)} | ({} if one == "inline" else {"num_threads": workers})
                    for one in backends
                ]
                share = 1 / len(sizes)
                one = part(advance, number * share, share)
                contests.append(hold(found, {}, size, contenders, seconds * share, one))
        failed = [f"{one.name}: {one.failure}" for c in contests for one in c.trials if one.failure]
        told = "\n".join([as_table(contests), *dict.fromkeys(failed)])
        _show(
            {"task_id": found.source.task_id, "contests": [asdict(contest) for contest in contests]},
            told,
            as_json,
        )
        if failed:
            raise typer.Exit(1)


@app.command()
def tune(
    target: Target,
    num_envs: Annotated[int | None, typer.Option(min=1, help="How many envs; default: 8 and 64.")] = None,
    seconds: Seconds = 10.0,
    plot: Annotated[Path | None, typer.Option(help="Draw what was measured into this file.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure an env, and say which backend, how many workers and how many envs suit it."""
    with _reported(debug):
        if plot is not None and not plot.absolute().parent.is_dir():
            raise ConfigError(f"--plot {plot}: there is no folder {plot.parent}")
        told = tune_env(_registered(target), num_envs, seconds)
        _show(told.to_json(), str(told), as_json)
        if plot is not None:
            told.plot(plot)


@app.command()
def doctor(as_json: Json = False, debug: Debug = False) -> None:
    """Look for what is missing on this machine, and say what to do about it."""
    with _reported(debug):
        found = examination.examine()
        lines = table(("", "", ""), ((one.state, one.name, one.found) for one in found)).strip("\n")
        todo = [f"{one.name}: {one.advice}" for one in found if one.advice]
        ok = all(one.state != "missing" for one in found)
        text = "\n".join([lines, *(["", *todo] if todo else [])])
        _show({"ok": ok, "findings": [asdict(one) for one in found]}, text, as_json)
        if not ok:
            raise typer.Exit(1)


def _facts(record: records.Record) -> dict[str, str]:
    """What a record says, in words."""
    description = Description.from_json(record.description)
    return {
        "task_id": record.task_id,
        "from": str(record.origin),
        "api": description.spec.api,
        "observation": _space(description.observation_space),
        "action": _space(description.action_space),
        "reward": description.spec.reward.name,
        "info": _space(description.info_space) if description.info_space else "not declared",
        "module": str(records.home() / record.module_file),
        "version": record.version,
        "key": record.key,
        "state": examination.state_of(record) or "ready",
    }


def _space(described: Mapping[str, Any]) -> str:
    kind = described["space"]
    if "spaces" in described:
        return f"{kind}({', '.join(f'{key}: {_space(space)}' for key, space in described['spaces'])})"
    if kind == "Discrete":
        return f"Discrete({described['n']})"
    return f"{kind}({' × '.join(map(str, described['shape'])) or 'scalar'}, {described['dtype']})"


def _registered(target: str) -> str:
    """The task id of a target."""
    return EnvManager.source(_env(target)).task_id


def _env(target: str) -> Any:
    """What `generate_envpool_wrap` takes."""
    file, _, qualname = target.rpartition(":")
    if file.endswith(".py"):
        return origins.object_in(Path(file), qualname)
    if target.endswith(".py"):
        raise RegistrationError(f"{target}: which class? Write {target}:MyEnv")
    return target


def _compiling(target: str, advance: Advance) -> Callable[[str], None]:
    """Reads Ninja's progress."""

    def report(line: str) -> None:
        step = re.match(r"\[(\d+)/(\d+)\]", line)
        advance(f"compiling {target}", int(step[1]) / int(step[2]) if step else 0.0)

    return report


def _show(values: Any, text: str, as_json: bool) -> None:
    typer.echo(json.dumps(values, indent=1, default=str) if as_json else text)


@contextlib.contextmanager
def _reported(debug: bool) -> Iterator[None]:
    """Errors of ours and warnings are lines on stderr."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = lambda message, *_: typer.echo(f"note: {message}", err=True)
        try:
            yield
        except (EnvPoolError, ImportError) as error:
            if debug:
                raise
            lines = str(error).strip().splitlines()
            if isinstance(error, BuildError) and len(lines) > 1:  # all that a compiler said
                lines = [lines[0], f"{lines[1].strip()} (all of it: --debug)"]
            typer.echo("\n".join([f"error: {lines[0]}", *lines[1:]]), err=True)
            raise typer.Exit(2 if isinstance(error, _USAGE) else 1) from None
        except BrokenPipeError:  # whoever reads what is printed has seen enough; typer ends quietly
            raise
        except Exception as error:
            of_the_env = outside(error.__traceback__)
            if debug or of_the_env is None:
                raise
            told = traceback.format_exception(type(error), error, of_the_env)
            typer.echo("".join(told).rstrip(), err=True)
            raise typer.Exit(1) from None
