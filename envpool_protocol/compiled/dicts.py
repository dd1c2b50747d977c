"""Dict displays with constant keys: a value with a field for each. Numba's own dicts hold one type, and hash.

A pass makes `{"grid": a, "pos": b}` the call of a maker, whose type is `DictType`.
"""

from __future__ import annotations

from typing import Any

from numba.core import cgutils, types
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.datamodel import models, register_default
from numba.core.imputils import lower_builtin
from numba.core.ir import Assign, Const, Expr, Global, Var
from numba.core.typing import templates
from numba.extending import typeof_impl

from envpool_protocol.compiled.refusals import refuse


class DictType(types.Type):
    """A dict display with constant keys."""

    def __init__(self, keys: tuple[str, ...], values: tuple[Any, ...]) -> None:
        self.members = dict(zip(keys, values, strict=True))
        super().__init__("{" + ", ".join(f"{key!r}: {value}" for key, value in self.members.items()) + "}")

    @property
    def key(self) -> Any:
        return tuple(self.members.items())


@register_default(DictType)
class _DictModel(models.StructModel):
    def __init__(self, manager: Any, kind: DictType) -> None:
        super().__init__(manager, kind, [(f"m{i}", v) for i, v in enumerate(kind.members.values())])


class DictMaker:
    """What a dict display is compiled to: a call of this. `keys`: the constants; None for what is none."""

    def __init__(self, keys: tuple[Any, ...]) -> None:
        self.keys = keys


@register_pass(mutates_CFG=False, analysis_only=False)
class DictDisplays(FunctionPass):
    """`{"grid": a, "pos": b}` as a value with fields: Numba's own dicts hold values of one type, and hash."""

    _name = "envpool_dict_displays"

    def __init__(self) -> None:
        FunctionPass.__init__(self)

    def run_pass(self, state: Any) -> bool:
        func_ir, changed = state.func_ir, False
        for block in func_ir.blocks.values():
            body = []
            for statement in block.body:
                if isinstance(statement, Assign) and _is_build_map(statement.value):
                    keys = tuple(_constant(func_ir, key) for key, _ in statement.value.items)
                    loc, scope = statement.loc, statement.target.scope
                    maker = Var(scope, f"$envpool_dict.{statement.target.name}", loc)
                    body.append(Assign(Global("dict", DictMaker(keys), loc), maker, loc))
                    values = [value for _, value in statement.value.items]
                    statement.value = Expr.call(maker, values, (), loc)
                    func_ir._definitions[maker.name] = [body[-1].value]
                    func_ir._definitions[statement.target.name] = [statement.value]
                    changed = True
                body.append(statement)
            block.body = body
        return changed


def _is_build_map(value: Any) -> bool:
    return isinstance(value, Expr) and value.op == "build_map"


def _constant(func_ir: Any, var: Any) -> Any:
    try:
        found = func_ir.get_definition(var)
    except KeyError:
        return None
    return found.value if isinstance(found, Const) else None


class _MakeDict(templates.AbstractTemplate):
    key = DictMaker
    keys: tuple[Any, ...]

    def generic(self, args: Any, kws: Any) -> Any:
        if not all(isinstance(key, str) for key in self.keys):
            raise refuse(
                "the keys of a dict must be constant strings; look numbers up in a tuple or an array"
            )
        if len(set(self.keys)) < len(self.keys):
            raise refuse(f"a dict has a key twice: {', '.join(map(repr, self.keys))}")
        values = tuple(map(types.unliteral, args))
        return templates.signature(DictType(self.keys, values), *values)


@lower_builtin(DictMaker, types.VarArg(types.Any))
def _make_dict(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    made = cgutils.create_struct_proxy(signature.return_type)(context, builder)
    for index, value in enumerate(values):
        setattr(made, f"m{index}", value)
    return made._getvalue()


@typeof_impl.register(DictMaker)
def _type_of_maker(maker: DictMaker, context: Any) -> Any:
    template = type("MakeDict", (_MakeDict,), {"keys": maker.keys})
    return types.Function(template)


@templates.infer
class _StaticGet(templates.AbstractTemplate):
    key = "static_getitem"

    def generic(self, args: Any, kws: Any) -> Any:
        kind, index = args
        if not isinstance(kind, DictType):
            return None
        if index not in kind.members:
            raise refuse(f"the dict has no key {index!r}; it has {', '.join(map(repr, kind.members))}")
        return templates.signature(kind.members[index], *args)


@lower_builtin("static_getitem", DictType, types.StringLiteral)
def _static_get(context: Any, builder: Any, signature: Any, values: Any) -> Any:
    kind = signature.args[0]
    return builder.extract_value(values[0], list(kind.members).index(values[1]))
