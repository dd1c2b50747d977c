"""The fused functions of an env: seed, reset and step of cpp_core/kernel_abi.h, as one object file.

Each hook is a function of its own that ends in a status; the fused ones call them in the order of the
protocol (py_hooks.h) and return the number of the hook that raised. LLVM inlines them into each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.target_extension import target_override
from numba.np.numpy_support import from_dtype

from envpool_protocol.compiled import (
    assignments,  # noqa: F401  # registers how attributes are set
    refusals,
    rows,
    self_types,
    target,
)
from envpool_protocol.compiled.arithmetic import kind_of
from envpool_protocol.compiled.dicts import DictType
from envpool_protocol.compiled.library import emitted
from envpool_protocol.compiled.refusals import refuse
from envpool_protocol.compiled.self_types import StateType, array_at
from envpool_protocol.compiled.state import random_fields
from envpool_protocol.descriptions import Description
from envpool_protocol.envpool_protocol import EnvPoolProtocol
from envpool_protocol.info_spec import masks_of
from envpool_protocol.spec import DTYPES, Leaf, SpaceSpec

# Of EnvpoolHook in module_abi.h.
HOOKS = {
    "_seed_envpool": 2,
    "_reset_envpool": 3,
    "_step_envpool": 4,
    "_make_obs_envpool": 5,
    "_done_envpool": 6,
    "_truncated_envpool": 7,
    "_reward_envpool": 8,
    "_info_envpool": 9,
}
_BYTES, _INT32 = ir.IntType(8).as_pointer(), ir.IntType(32)
# Where a function writes a row: EnvpoolKernelLeaf.
_REWARD, _TERMINATED, _TRUNCATED, _FIRST_OBS = range(4)
_FLAG = Leaf("flag", DTYPES["bool"], (), "array")


def object_code(cls: type, description: Description, instance: Any) -> bytes:
    """The object file with `envpool_{kernel,checked}_{seed,reset,step}`.

    Args:
        cls: declares its state.
        description: of its env.
        instance: one env, whose attributes help messages.

    Raises:
        BuildError: something does not compile; class, hook, line and reason are in the message.
    """
    with global_compiler_lock, target_override(target.TARGET), refusals.explained(cls):
        self_types.attributes = {cls: dict(getattr(instance, "__dict__", {}))}
        typing, context = target.contexts()
        library = context.codegen().create_library(f"{description.spec.name}_hooks")
        names: list[str] = []
        for prefix, checked in (("kernel", False), ("checked", True)):
            target.start(checked)
            kernel = _Kernel(cls, description, typing, context, library)
            names += [f"envpool_{prefix}_{name}" for name in ("seed", "reset", "step")]
            kernel.add_functions(names[-3:])
        return emitted(library, names)


class _Kernel:
    """The functions of one env, checked or not."""

    def __init__(self, cls: type, description: Description, typing: Any, context: Any, library: Any) -> None:
        self.cls, self.spec = cls, description.spec
        self.typing, self.context, self.library = typing, context, library
        self.state = StateType(cls)

    def add_functions(self, names: Sequence[str]) -> None:
        module = self.context.create_module(names[0])
        pointers = _BYTES.as_pointer()
        self._function(module, names[0], [_BYTES, ir.IntType(64), pointers], self._seed)
        self._function(module, names[1], [_BYTES, pointers, pointers], self._reset)
        self._function(module, names[2], [_BYTES, _BYTES, pointers, pointers], self._step)
        self.library.add_ir_module(module)

    def _function(self, module: Any, name: str, given: Sequence[Any], fill: Callable[..., None]) -> None:
        made = ir.Function(module, ir.FunctionType(_INT32, given), name)
        for argument in made.args:
            if isinstance(argument.type, ir.PointerType):
                argument.add_attribute("noalias")
        builder = ir.IRBuilder(made.append_basic_block("entry"))
        fill(builder, *made.args)
        builder.call(_end(module), [])
        builder.ret(_INT32(0))

    # The three

    def _seed(self, builder: Any, state: Any, seed: Any, error: Any) -> None:
        if self.cls._seed_envpool is EnvPoolProtocol._seed_envpool:  # type: ignore[attr-defined]
            paths = enumerate(random_fields(self.cls))
            body = [f"    self.{path}.seed(seed, {stream})" for stream, path in paths] or ["    pass"]
        else:
            body = ["    self._seed_envpool(seed)"]
        call = rows.function("\n".join(["def seed(self, seed):", *body]), {})
        self._call(builder, "_seed_envpool", call, [(self.state, state), (types.int64, seed)], error)

    def _reset(self, builder: Any, state: Any, leaves: Any, error: Any) -> None:
        self._plain(builder, "_reset_envpool", [], state, error)
        self._observe(builder, state, leaves, error)

    def _step(self, builder: Any, state: Any, action: Any, leaves: Any, error: Any) -> None:
        self._plain(builder, "_step_envpool", [self._action(builder, action)], state, error)
        self._observe(builder, state, leaves, error)
        self._flag(builder, "_done_envpool", _TERMINATED, state, leaves, error)
        if self.spec.has_truncated:
            self._flag(builder, "_truncated_envpool", _TRUNCATED, state, leaves, error)
        else:
            builder.store(ir.IntType(8)(0), self._leaf_place(builder, leaves, _TRUNCATED))
        reward = Leaf("reward", self.spec.reward, (), "array")
        returned = self._returned("_reward_envpool")
        with refusals.of_hook(self.cls, "_reward_envpool"):
            copy = rows.leaf_copier(reward, returned)
        self._store(builder, "_reward_envpool", copy, (reward, _REWARD), state, leaves, error)
        if self.spec.has_info:
            self._info(builder, state, leaves, error)

    # Their parts

    def _call(
        self,
        builder: Any,
        hook: str,
        function: Callable[..., Any],
        given: Sequence[tuple[Any, Any]],
        error: Any,
    ) -> None:
        """Call a function, and leave with the number of its hook if it raised."""
        with refusals.of_hook(self.cls, hook):
            dispatcher = target.compiled(function)
            kinds = tuple(kind for kind, _ in given)
            dispatcher.compile(kinds)
            compiled = dispatcher.overloads[kinds]
        self.library.add_linking_library(compiled.library)
        descriptor = compiled.fndesc
        callee = self.context.declare_function(builder.module, descriptor)
        values = [value for _, value in given]
        status, _ = self.context.call_conv.call_function(
            builder, callee, descriptor.restype, descriptor.argtypes, values
        )
        with builder.if_then(status.is_error, likely=False):
            builder.store(builder.bitcast(status.excinfoptr, _BYTES), error)
            builder.call(_end(builder.module), [])
            builder.ret(_INT32(HOOKS[hook]))

    def _plain(
        self, builder: Any, hook: str, given: Sequence[tuple[Any, Any]], state: Any, error: Any
    ) -> None:
        """Call a hook whose result nobody needs."""
        names = "".join(f", given{index}" for index in range(len(given)))
        function = rows.function(f"def call(self{names}):\n    self.{hook}({names[2:]})", {})
        self._call(builder, hook, function, [(self.state, state), *given], error)

    def _returned(self, hook: str, *given: Any) -> Any:
        """The type of what a hook returns."""
        with refusals.of_hook(self.cls, hook):
            names = "".join(f", given{index}" for index in range(len(given)))
            function = rows.function(f"def call(self{names}):\n    return self.{hook}({names[2:]})", {})
            signature = types.Dispatcher(target.compiled(function)).get_call_type(
                self.typing, (self.state, *given), {}
            )
            return signature.return_type

    def _flag(self, builder: Any, hook: str, number: int, state: Any, leaves: Any, error: Any) -> None:
        returned = self._returned(hook)
        with refusals.of_hook(self.cls, hook):
            if kind_of(returned) is None:
                raise refuse(f"{hook} returns {returned}; expected a bool")
        copy = rows.function("def copy(to, value):\n    to[()] = bool(value)", {})
        self._store(builder, hook, copy, (_FLAG, number), state, leaves, error)

    def _store(
        self,
        builder: Any,
        hook: str,
        copy: Callable[..., Any],
        leaf: tuple[Leaf, int],
        state: Any,
        leaves: Any,
        error: Any,
    ) -> None:
        function = rows.function(f"def call(self, leaf):\n    copy(leaf, self.{hook}())", {"copy": copy})
        self._call(builder, hook, function, [(self.state, state), self._leaf(builder, leaves, *leaf)], error)

    def _observe(self, builder: Any, state: Any, leaves: Any, error: Any) -> None:
        hook, spec = "_make_obs_envpool", self.spec.obs
        given = [self._leaf(builder, leaves, leaf, _FIRST_OBS + i) for i, leaf in enumerate(spec.leaves)]
        names = ", ".join(f"leaf{index}" for index in range(len(given)))
        out = []
        if self.spec.obs_takes_out:
            out = [self._tree(builder, spec, given)]
        returned = self._returned(hook, *(kind for kind, _ in out))
        head = f"def observe(self, {names}{', out' if out else ''}):"
        found: dict[str, Any] = {}
        if out and (returned == types.none or returned == out[0][0]):
            lines = [f"    self.{hook}(out)"]
        else:
            with refusals.of_hook(self.cls, hook):
                lines, found = rows.space_lines(spec, returned, "obs", "obs")
            lines = [f"    obs = self.{hook}({'out' if out else ''})", *lines]
        function = rows.function("\n".join([head, *lines]), found)
        self._call(builder, hook, function, [(self.state, state), *given, *out], error)

    def _info(self, builder: Any, state: Any, leaves: Any, error: Any) -> None:
        hook, spec = "_info_envpool", self.spec.info
        returned = self._returned(hook)
        with refusals.of_hook(self.cls, hook):
            if not isinstance(returned, DictType):
                raise refuse(f"{hook} returns {returned}; expected a dict, written as {{'key': ...}}")
            if spec is None:
                if returned.members:
                    raise refuse("its dict needs an info_space, a Dict of a space for each key")
                return
            lines, names = rows.info_lines(spec, returned)
        declared = (*spec.leaves, *masks_of(spec))
        first = _FIRST_OBS + len(self.spec.obs.leaves)
        given = [self._leaf(builder, leaves, leaf, first + i) for i, leaf in enumerate(declared)]
        arguments = ", ".join(f"leaf{index}" for index in range(len(given)))
        head = f"def info(self, {arguments}):\n    info = self.{hook}()"
        function = rows.function("\n".join([head, *lines]), names)
        self._call(builder, hook, function, [(self.state, state), *given], error)

    # Values

    def _leaf_place(self, builder: Any, leaves: Any, number: int) -> Any:
        return builder.load(builder.gep(leaves, [_INT32(number)]))

    def _leaf(self, builder: Any, leaves: Any, leaf: Leaf, number: int) -> tuple[Any, Any]:
        return self._array(builder, leaf, self._leaf_place(builder, leaves, number), readonly=False)

    def _array(self, builder: Any, leaf: Leaf, place: Any, readonly: bool) -> tuple[Any, Any]:
        _check_leaf(leaf)
        kind = types.Array(from_dtype(leaf.dtype.numpy), len(leaf.shape), "C", readonly=readonly)
        value = array_at(self.context, builder, leaf.dtype.numpy, leaf.shape, place, readonly)
        return kind, value

    def _action(self, builder: Any, action: Any) -> tuple[Any, Any]:
        """What `_step_envpool` is given: as interpreted, an int for Discrete and arrays for other leaves."""
        given, at = [], 0
        for leaf in self.spec.action.leaves:
            place = cgutils.pointer_add(builder, action, at)
            at += -(-leaf.nbytes // 8) * 8  # layout.h: each action leaf at a multiple of 8
            if leaf.kind == "discrete":
                given.append((types.int64, builder.load(builder.bitcast(place, ir.IntType(64).as_pointer()))))
            else:
                given.append(self._array(builder, leaf, place, readonly=True))
        return self._tree(builder, self.spec.action, given)

    def _tree(self, builder: Any, spec: SpaceSpec, leaves: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
        """The value of a space: the dicts and tuples above its leaves."""

        def visit(index: int) -> tuple[Any, Any]:
            node = spec.nodes[index]
            if node.kind == "leaf":
                return leaves[node.leaf]
            kinds, values = zip(*map(visit, node.children), strict=True)
            if node.kind == "tuple":
                kind = types.Tuple(kinds)
                return kind, self.context.make_tuple(builder, kind, values)
            kind = DictType(tuple(str(spec.nodes[child].key) for child in node.children), kinds)
            made = cgutils.create_struct_proxy(kind)(self.context, builder)
            for index, value in enumerate(values):
                setattr(made, f"m{index}", value)
            return kind, made._getvalue()

        return visit(0)


def _check_leaf(leaf: Leaf) -> None:
    if leaf.kind == "text":
        raise refuse(f"{leaf.name} is Text, which compiled hooks have no type for; use MultiDiscrete codes")
    if leaf.dtype.name == "float16":
        raise refuse(f"{leaf.name} is float16, which compiled hooks have no arithmetic for; use float32")


def _end(module: Any) -> Any:
    return cgutils.get_or_insert_function(module, ir.FunctionType(ir.VoidType(), []), "envpool_kernel_end")
