"""What does not compile is told in two lines: where it is, and what to do about it."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest
from driven import hooks
from gymnasium import spaces
from test_compiled_hooks import Plain

from envpool_protocol import CppWrapperGenerator, EnvManager, EnvPoolProtocol
from envpool_protocol.errors import BuildError, ProtocolError, RegistrationError, SpecError
from envpool_protocol.random import Random

pytest.importorskip("numba")

SETTINGS = {"speed": 1}
REFUSED: list[tuple[type, str, str]] = []


def refused(hook: str, reason: str) -> Any:
    """Note a class, whose `hook` is refused for this `reason`."""

    def note(cls: type) -> type:
        REFUSED.append((cls, hook, reason))
        return cls

    return note


class Here(Plain):
    state_envpool = {"t": np.int64, "x": np.float64, "grid": (np.uint8, (3, 3)), "flag": bool}


@refused(
    "_step_envpool", "hooks set self.speed, which is not declared; add `'speed': np.float64` to state_envpool"
)
class SetsUndeclared(Here):
    def _step_envpool(self, action: Any) -> None:
        self.speed = 1.0  # here


@refused("_step_envpool", "self.speed is not declared; add `'speed': (np.float32, (2,))` to state_envpool")
class ReadsUndeclared(Here):
    def __init__(self, envid: int) -> None:
        self.speed = np.zeros(2, np.float32)

    def _step_envpool(self, action: Any) -> None:
        self.x = self.speed[0]  # here


@refused("_step_envpool", "Misspelt has no attribute 'tt'")
class Misspelt(Here):
    def _step_envpool(self, action: Any) -> None:
        self.x = self.tt  # type: ignore[attr-defined]  # here


@refused(
    "_step_envpool", "self.t is declared int64, and a hook sets it to float64; write int(...), or declare"
)
class FloatForInt(Here):
    def _step_envpool(self, action: Any) -> None:
        self.t = self.t * 0.5  # type: ignore[assignment]  # here


@refused("_step_envpool", "self.flag is declared bool, and a hook sets it to int64; write bool(...)")
class IntForBool(Here):
    def _step_envpool(self, action: Any) -> None:
        self.flag = self.t  # here


@refused("_step_envpool", "self.table is {'a': 1} of type dict, a Python object")
class KeepsADict(Here):
    def __init__(self, envid: int) -> None:
        self.table = {"a": 1}

    def _step_envpool(self, action: Any) -> None:
        self.t += self.table["a"]  # here


@refused("_step_envpool", "Untyped global name 'SETTINGS'; it is a Python object")
class GlobalDict(Here):
    def _step_envpool(self, action: Any) -> None:
        self.t += SETTINGS["speed"]  # here


@refused("_reset_envpool", "self.rng is not declared; add `'rng': Random` to state_envpool")
class OwnGenerator(Here):
    def __init__(self, envid: int) -> None:
        self.rng = np.random.default_rng(0)

    def _reset_envpool(self) -> None:
        self.x = self.rng.uniform()  # here


@refused("_reset_envpool", "np.random.uniform draws from a generator of the process; declare 'random'")
class NumpysGenerator(Here):
    def _reset_envpool(self) -> None:
        self.x = np.random.uniform()  # noqa: NPY002  # here


@refused("_reset_envpool", "random.random draws from a generator of the process; declare 'random'")
class PythonsGenerator(Here):
    def _reset_envpool(self) -> None:
        self.x = random.random()  # here


@refused("_step_envpool", "Recursive._countdown calls itself; write a loop")
class Recursive(Here):
    def _countdown(self, n: int) -> int:
        return 0 if n == 0 else self._countdown(n - 1)  # here

    def _step_envpool(self, action: Any) -> None:
        self.t = self._countdown(3)


@refused("_make_obs_envpool", "obs: an array of 2 dimensions; expected shape (2,)")
class WrongShape(Here):
    def _make_obs_envpool(self) -> Any:
        return self.grid


@refused("_make_obs_envpool", "obs: array(float32, 1d, C) does not fit int64[2]")
class FloatsForInts(Here):
    observation_space = spaces.Box(0, 9, (2,), np.int64)

    def _make_obs_envpool(self) -> Any:
        return np.array([self.t, 0.5], np.float32)


@refused("_make_obs_envpool", "does not fit float32[2]; return an array, such as np.array([...], np.float32)")
class ReturnsAList(Here):
    def _make_obs_envpool(self) -> Any:
        return [1.0, 2.0]


@refused("_make_obs_envpool", "does not fit float32[2]; it is None on some path")
class SometimesNone(Here):
    def _make_obs_envpool(self) -> Any:
        return np.zeros(2, np.float32) if self.t else None


@refused("_make_obs_envpool", "obs: a dict of b; expected a")
class OtherKeys(Here):
    observation_space = spaces.Dict({"a": spaces.Discrete(2)})

    def _make_obs_envpool(self) -> Any:
        return {"b": 1}


@refused("_step_envpool", "for 'y")
class TwoTypes(Here):
    def _step_envpool(self, action: Any) -> None:
        y: Any = 2
        if action == 1:
            y = "a"
        self.t = len(str(y))


@refused("_step_envpool", "print needs the interpreter; to print, make the pool with compiled=False")
class Prints(Here):
    def _step_envpool(self, action: Any) -> None:
        print("step", action)  # here


@refused("_step_envpool", "super() needs the interpreter; name the class: Base._step_envpool(self, action)")
class CallsSuper(Here):
    def _step_envpool(self, action: Any) -> None:
        super()._step_envpool(action)  # here


@refused(
    "_step_envpool",
    "UsesSpace.action_space is Discrete(3) of type Discrete; compiled hooks can use constants",
)
class UsesSpace(Here):
    def _step_envpool(self, action: Any) -> None:
        self.t += self.action_space.n  # here


@refused("_info_envpool", "its dict needs an info_space, a Dict of a space for each key")
class UndeclaredInfo(Here):
    def _info_envpool(self) -> dict[str, Any]:
        return {"t": self.t}


@refused("_info_envpool", "info: the key 'u' is not in the info_space; declare it there")
class UnknownInfo(Here):
    info_space = spaces.Dict({"t": spaces.Discrete(9)})

    def _info_envpool(self) -> dict[str, Any]:
        return {"t": self.t, "u": self.t}


@refused("_step_envpool", "the action and constant arrays are read-only; write into a copy of it")
class WritesAction(Here):
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def _step_envpool(self, action: Any) -> None:
        action[0] = 3  # here


@refused("_step_envpool", "import it at the top of the file")
class Imports(Here):
    def _step_envpool(self, action: Any) -> None:
        import math  # here

        self.x = math.cos(1)


@refused("_step_envpool", "of handlers, only `except Exception:` can be compiled")
class Catches(Here):
    def _step_envpool(self, action: Any) -> None:
        try:
            self.x = 1 / self.t
        except ZeroDivisionError:  # here
            self.x = 0.0


@refused("_step_envpool", "The use of yield in a closure is unsupported; write a loop")
class Generates(Here):
    def _step_envpool(self, action: Any) -> None:
        self.t += sum(i for i in range(3))  # here


class Numbers(Here):
    state_envpool = {"bits": (np.uint64, (2,))}
    TABLE = np.arange(3.0)


@refused("_step_envpool", "a uint64 and a signed integer are divided; write np.uint64(...) of both")
class DividesUnsigned(Numbers):
    def _step_envpool(self, action: Any) -> None:
        self.t = int(self.bits[0] % 10)  # here


@refused("_step_envpool", "~ of a bool is an int in Python; write `not`")
class InvertsABool(Here):
    def _step_envpool(self, action: Any) -> None:
        self.flag = bool(~self.flag)  # here


@refused("_step_envpool", "the last bit of math.hypot is not libm's; write np.hypot(x, y) or math.sqrt(")
class Hypotenuse(Here):
    def _step_envpool(self, action: Any) -> None:
        self.x = math.hypot(self.x, 1.0)  # here


@refused("_step_envpool", "pow() is not compiled as Python has it; write x ** y")
class CallsPow(Here):
    def _step_envpool(self, action: Any) -> None:
        self.x = pow(2, self.t)  # here


@refused("_step_envpool", "the action and constant arrays are read-only")
class WritesConstant(Numbers):
    def _step_envpool(self, action: Any) -> None:
        self.TABLE[0] += 1.0  # here


@refused("_step_envpool", "an array cannot be changed in place by a wider dtype; write self.x = self.x + y")
class WidensInPlace(Here):
    def _step_envpool(self, action: Any) -> None:
        self.grid += 1


@refused("_step_envpool", "a keyword-only parameter cannot be compiled; remove the `*` before it")
class KeywordOnly(Here):
    def _add(self, *, by: int = 1) -> int:
        return self.t + by

    def _step_envpool(self, action: Any) -> None:
        self.t = self._add(by=2)  # here


@refused("_step_envpool", "no default `is` implementation")
class Identity(Here):
    state_envpool = {"one": Random, "two": Random}

    def _step_envpool(self, action: Any) -> None:
        self.flag = self.one is self.two


@refused("_make_obs_envpool", "a dict has a key twice: 'a', 'a'")
class KeyTwice(Here):
    observation_space = spaces.Dict({"a": spaces.Discrete(2)})

    def _make_obs_envpool(self) -> Any:
        return {"a": 0, "a": 1}  # noqa: F601  # here


@refused("_step_envpool", "NameError: name 'nothing_of_that_name' is not defined")
class NoSuchName(Here):
    def _step_envpool(self, action: Any) -> None:
        self.t += nothing_of_that_name  # type: ignore[name-defined]  # noqa: F821  # here


@refused("_step_envpool", "module 'numpy' has no attribute 'unwrapp'")
class NoSuchFunction(Here):
    def _step_envpool(self, action: Any) -> None:
        self.x = np.unwrapp(self.x)  # type: ignore[attr-defined]  # here


@refused("_step_envpool", "Use of unsupported NumPy function 'numpy.einsum'")
class UnknownFunction(Here):
    def _step_envpool(self, action: Any) -> None:
        self.x = np.einsum("i,i", np.ones(2), np.ones(2))  # here


@refused("_step_envpool", "The 'with (context manager) as (variable):' construct is not supported")
class Opens(Here):
    def _step_envpool(self, action: Any) -> None:  # here
        with open("x") as file:
            file.read()


@refused("_step_envpool", "Cannot infer the type of variable 'seen'")
class EmptyList(Here):
    def _step_envpool(self, action: Any) -> None:
        seen: list[int] = []  # here
        self.t = len(seen)


@refused("_step_envpool", "the keys of a dict must be constant strings; look numbers up in a tuple")
class LooksUp(Here):
    def _step_envpool(self, action: Any) -> None:
        self.x = {0: -1.0, 1: 1.0}[action]  # here


@refused("_step_envpool", "the keys of a dict must be constant strings")
class KeysOfTwoTypes(Here):
    def _step_envpool(self, action: Any) -> None:
        self.x = {"left": 1.0, 2: "right"}["left"]  # type: ignore[assignment]  # here


@refused("_step_envpool", "a dict is for what a hook returns; use an array")
class GrowsADict(Here):
    def _step_envpool(self, action: Any) -> None:
        self.t = {i: i for i in range(3)}[0]  # here


@refused("_reward_envpool", "reward: none does not fit float32; the hook returns nothing")
class ForgetsToReturn(Here):
    def _reward_envpool(self) -> None:  # type: ignore[override]  # here
        pass


@pytest.mark.parametrize(("cls", "hook", "reason"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_a_refusal_names_class_hook_line_and_reason(cls: type, hook: str, reason: str) -> None:
    with pytest.raises(BuildError) as caught:
        hooks(cls).object_code()
    where, why, empty, *rest = str(caught.value).splitlines()
    assert where.startswith(f"{cls.__name__}.{hook} does not compile (test_compiled_refusals.py:")
    assert reason in why and why.startswith("  ") and empty == ""
    assert rest[0] == "Numba's whole text:" and len(rest) > 1
    line = next((text for text in _lines_of(cls) if text.endswith("# here")), None)
    assert line is None or line in where


def _lines_of(cls: type) -> list[str]:
    import inspect

    return [line.strip() for line in inspect.getsource(cls).splitlines()]


@pytest.mark.parametrize(
    ("space", "reason"),
    [
        (spaces.Text(3), "obs is Text, which compiled hooks have no type for"),
        (spaces.Box(0, 1, (2,), np.float16), "obs is float16, which compiled hooks have no arithmetic for"),
    ],
)
def test_leaves_that_hooks_cannot_write(space: Any, reason: str) -> None:
    class Strange(Here):
        observation_space = space

        def _make_obs_envpool(self, out: Any) -> None:  # type: ignore[override]
            pass

    if isinstance(space, spaces.Text):
        Strange._make_obs_envpool = lambda self: ""  # type: ignore[method-assign, assignment]
    with pytest.raises(BuildError, match=reason):
        hooks(Strange).object_code()


# Declarations


def test_a_reset_that_raises_is_why_its_attributes_are_not_proposed(registry: None) -> None:
    class Bouncing(EnvPoolProtocol):
        observation_space, action_space = spaces.Box(0, 1, (2,)), spaces.Discrete(2)

        def __init__(self, envid: int) -> None: ...
        def _reset_envpool(self) -> None:
            self.x = self.random.uniform()  # type: ignore[attr-defined]

        def _step_envpool(self, action: Any) -> None: ...
        def _make_obs_envpool(self) -> Any: ...
        def _done_envpool(self) -> bool:
            return False

        def _reward_envpool(self) -> float:
            return 0.0

    with pytest.raises(ProtocolError, match=r"_reset_envpool sets is not in it: it raised AttributeError"):
        CppWrapperGenerator.generate_envpool_wrap(Bouncing, compiled=True)


def test_a_class_without_a_state_is_told_what_to_add(registry: None) -> None:
    class Stateless(EnvPoolProtocol):
        observation_space, action_space = spaces.Box(0, 1, (2,)), spaces.Discrete(2)

        def __init__(self, envid: int, size: int = 3) -> None:
            self.t, self.size, self.rng = 0, size, np.random.default_rng()
            self.grid, self.names = np.zeros((2, 3), np.uint8), {"a": 1}

        def _reset_envpool(self) -> None:
            self.speed = 0.5

        def _step_envpool(self, action: Any) -> None: ...
        def _make_obs_envpool(self) -> Any: ...
        def _done_envpool(self) -> bool:
            return False

        def _reward_envpool(self) -> float:
            return 0.0

    with pytest.raises(ProtocolError) as caught:
        CppWrapperGenerator.generate_envpool_wrap(Stateless, compiled=True)
    text = str(caught.value)
    assert "Stateless declares no state, so its hooks cannot be compiled. Add state_envpool" in text
    declared = text.partition("\n\n")[2]
    found: dict[str, Any] = {"EnvPoolProtocol": EnvPoolProtocol}
    exec(declared.replace("np.random", "random"), found)
    assert found["Stateless"].state_envpool == {
        "t": np.int64,
        "size": np.int64,
        "rng": Random,
        "grid": (np.uint8, (2, 3)),
        "speed": np.float64,
    }
    assert "# 'names' is a dict, which a record cannot hold" in declared


@pytest.mark.parametrize("env", ["CartPole-v1", lambda envid: None, [1]])
def test_only_classes_with_hooks_are_compiled(env: Any, registry: None) -> None:
    with pytest.raises(
        RegistrationError, match="is no subclass of EnvPoolProtocol; only hooks can be compiled"
    ):
        EnvManager.register_env(env, name="Other", compiled=True)


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        (np.uint64, "int64 holds what Python's ints are used for"),
        (np.complex128, "expected a dtype"),
        ("nonsense", "expected a dtype"),
        ((np.float32, (2, 0)), "expected positive ints"),
        ((Random, 3), "an array of records"),
    ],
)
def test_a_field_that_no_record_holds(form: Any, reason: str) -> None:
    with pytest.raises(SpecError, match=rf"Bad\.state_envpool\['x'\].*{reason}"):
        type("Bad", (Plain,), {"state_envpool": {"x": form}})


def test_a_constant_that_an_instance_hides_is_refused() -> None:
    class Hides(Here):
        gravity = 9.8

        def __init__(self, envid: int, gravity: float = 9.8) -> None:
            self.gravity = gravity

        def _step_envpool(self, action: Any) -> None:
            self.x += self.gravity

    hooks(Hides).object_code()
    with pytest.raises(
        BuildError, match=r"__init__ sets self\.gravity, which hides the class's gravity = 9.8"
    ):
        hooks(Hides, gravity=1.6).object_code()
