"""What is wrong with a strategy's functions, said in its own lines before anything compiles.

The compiler for the hot path knows numbers, records and functions of them. What else Python can say it refuses, in its
own words, from somewhere inside; here the source of each hook, and of the hot functions that it calls, is read first,
and each finding has the file, the line, a caret, what can't be there and what to write instead. With the JIT off the
same is refused, but for what only looks: print, text, breakpoint.
Invariant: what this refuses would not compile, would not replay, or is never meant; `tests/test_strategy_check.py` has
a line for each. Known bad case: what hides behind a variable (`f = np.zeros; f(3)`) is left to the compiler, whose
words `translated` puts into the same form. A function without a source (typed into a prompt) is not read.
"""

import ast
import builtins
import difflib
import inspect
import textwrap
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .hot import JIT
from .hot.market import DEPTH_LEVEL, MARKET
from .strategy_problem import Problem
from .strategy_words import (
    ALLOCATES,
    BUILTINS,
    FIELD,
    FLOATS,
    INEXACT,
    MODULES,
    ORDERS,
    ROLES,
    STATEMENTS,
)
from .wire import RECORD

_EVERYWHERE = "write what is the same on every machine: "
LEVELS = ("bids", "asks")
DESK = ("markets", "states", "cells")


class Field(NamedTuple):
    """A field of a strategy as far as its use can be wrong."""

    kind: str  # "parameter" or "state"
    is_float: bool
    length: int  # 0: a single number


class Subject(NamedTuple):
    """What is read: the fields of the class, and how many levels of the book it asked for."""

    fields: Mapping[str, Field]
    depth: int


def problems(subject: Subject, hooks: Mapping[str, Callable[..., Any]]) -> list[Problem]:
    """Everything that is wrong with these functions and the hot functions of the same author that they call."""
    found: list[Problem] = []
    seen: set[types.CodeType] = set()
    waiting = [(name, function, True) for name, function in hooks.items()]
    while waiting:
        name, function, is_hook = waiting.pop(0)
        if function.__code__ in seen:
            continue
        seen.add(function.__code__)
        reader = _Reader(subject, name, function, is_hook)
        found += reader.read()
        waiting += [(helper.__name__, helper, False) for helper in reader.helpers]
    return sorted(set(found), key=lambda problem: (problem.path, problem.line, problem.column))


def is_hot(value: Any) -> bool:
    """Whether a function was made for the hot path, compiled or not."""
    return hasattr(value, "py_func") or getattr(value, "is_hot", False)


class _Reader(ast.NodeVisitor):
    """Reads one function."""

    def __init__(self, subject: Subject, name: str, function: Callable[..., Any], is_hook: bool) -> None:
        self._subject, self._name, self._function = subject, name, function
        self.helpers: list[Callable[..., Any]] = []
        self._found: list[Problem] = []
        names = list(inspect.signature(function).parameters)
        self._roles = dict(zip(names, ROLES, strict=False)) if is_hook else {n: n for n in names if n in ROLES}
        self._local = set(function.__code__.co_varnames) | set(function.__code__.co_cellvars)

    def read(self) -> list[Problem]:
        """Its problems; none when there is no source."""
        try:
            lines, self._first = inspect.getsourcelines(self._function)
            self._path = inspect.getsourcefile(self._function) or "?"
            text = "".join(lines)
            tree = ast.parse(textwrap.dedent(text)).body[0]
        except (OSError, TypeError, SyntaxError, IndexError):
            return []
        if not isinstance(tree, ast.FunctionDef):
            return []
        self._lines = text.splitlines()
        self._indent = len(self._lines[0]) - len(self._lines[0].lstrip())
        body = tree.body[1:] if ast.get_docstring(tree) is not None else tree.body
        for statement in body:
            self.visit(statement)
        return self._found

    def _say(self, node: ast.AST, what: str, instead: str) -> None:
        row, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0)
        text = self._lines[row - 1]
        column = len(text.encode()[: column + self._indent].decode("utf-8", "ignore"))
        place = (self._path, self._first + row - 1, column, text.rstrip())
        self._found.append(Problem(*place, f"{self._name} {what}", instead))

    # ---- statements and expressions that have no place here

    def generic_visit(self, node: ast.AST) -> None:
        """Look up what is refused by its kind alone; else look inside."""
        words = STATEMENTS.get(type(node).__name__)
        if words is not None and (JIT or not words[2]):
            self._say(node, words[0], words[1])
            return
        super().generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """A function inside, which the compiler takes apart: its names are local too."""
        inside = list(ast.walk(node))
        self._local |= {one.arg for one in inside if isinstance(one, ast.arg)}
        self._local |= {one.id for one in inside if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store)}
        for statement in node.body:
            self.visit(statement)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._local |= {one.arg for one in ast.walk(node.args) if isinstance(one, ast.arg)}
        self.visit(node.body)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str | bytes) and JIT:
            self._say(node, "handles text", "text does not exist in the hot path: use a whole number as a code")
        elif isinstance(node.value, complex):
            self._say(node, "handles a complex number", "use two fields, one for each part")

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.visit(node.value)

    def visit_Return(self, node: ast.Return) -> None:
        if node.value is not None and not _is_none(node.value):
            self.visit(node.value)

    def visit_Compare(self, node: ast.Compare) -> None:
        for side in (node.left, *node.comparators):
            if _is_none(side):
                self._say(side, "compares with None", "a number is never None: what is missing is NONE, which is -1")
            else:
                self.visit(side)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if isinstance(node.op, ast.Pow) and not (
            isinstance(node.right, ast.Constant) and isinstance(node.right.value, int) and 0 <= node.right.value <= 4
        ):
            self._say(
                node,
                "uses ** with an exponent that is not 0 to 4",
                _EVERYWHERE + "ultra.math.pow(x, y), or ultra.math.sqrt(x)",
            )
        self.generic_visit(node)

    # ---- assignments

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._written(target, node.value)
            self.visit(target)
        self._value(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._written(node.target, ast.BinOp(node.target, node.op, node.value))
        self.visit(node.target)
        self._value(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._written(node.target, node.value)
        if node.value is not None:
            self._value(node.value)

    def _value(self, node: ast.expr) -> None:
        if _is_none(node):
            self._say(node, "assigns None", "a number is never None: what is missing is NONE, which is -1")
        else:
            self.visit(node)

    def _written(self, target: ast.expr, value: ast.expr | None) -> None:
        if isinstance(target, ast.Tuple):
            each = value.elts if isinstance(value, ast.Tuple) and len(value.elts) == len(target.elts) else ()
            for k, part in enumerate(target.elts):
                self._written(part, each[k] if each else None)
            return
        place = target.value if isinstance(target, ast.Subscript) else target
        role, name = self._of_role(place)
        if not role:
            role, name = self._owner_of(place)
        if role == "params":
            self._say(
                target,
                f"changes params.{name}",
                "parameters are set from outside; what it remembers is a field made with state()",
            )
        elif role in ("event", "market", "desk", "orders"):
            self._say(target, f"changes {role}.{name}", f"{role} belongs to the engine: keep your own numbers in state")
        elif role == "state" and name in self._subject.fields and value is not None:
            field = self._subject.fields[name]
            if field.length and place is target:
                self._say(target, f"assigns to all of state.{name}", f"it has a length: state.{name}[k] = ...")
            elif not field.is_float and self._is_float(value):
                self._say(
                    value,
                    f"puts a float into state.{name}, which is int",
                    f"use // or int(...), or declare it as `{name}: float = state()`",
                )

    def _owner_of(self, place: ast.expr) -> tuple[str, str]:
        """Of `desk.markets[k].bid`, a part of something, whose it is; the states on the desk are the strategy's own."""
        while isinstance(place, ast.Attribute | ast.Subscript):
            role, name = self._of_role(place)
            if role:
                return ("", "") if role in ("state", "params") or (role, name) == ("desk", "states") else (role, name)
            place = place.value
        return "", ""

    # ---- names and what is called

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self._local or not isinstance(node.ctx, ast.Load):
            return
        missing = object()
        value = self._global(node.id, missing)
        if value is missing:
            if node.id == "self":
                self._say(node, "uses self", "a hook has no self: state.x is what it keeps, params.x what it was given")
            else:
                self._say(node, f"names {node.id}, which is nowhere", self._nearest(node.id))
        elif isinstance(value, list | dict | set | bytearray):
            self._say(
                node,
                f"reads the global {node.id}, which is a {type(value).__name__}",
                "what can change is a field made with state(); what can not is a tuple or a parameter()",
            )
        elif isinstance(value, str) and JIT:
            self._say(node, f"reads the global {node.id}, which is text", "use a whole number as a code")
        elif isinstance(value, types.FunctionType) or is_hot(value):
            self._function_named(node, value)

    def _function_named(self, node: ast.expr, value: Any) -> None:
        plain = getattr(value, "py_func", value)
        module = (getattr(plain, "__module__", None) or "").partition(".")[0]
        if module in MODULES or module in ("numpy", "numba", "math"):
            return
        if not is_hot(value):
            self._say(
                node,
                f"calls {plain.__name__}, a plain Python function",
                f"put @hot above `def {plain.__name__}` (from ultra.hot import hot)",
            )
        elif module != "ultra":
            self.helpers.append(plain)

    def _global(self, name: str, missing: Any) -> Any:
        function = self._function
        if name in function.__code__.co_freevars and function.__closure__:
            cell = function.__closure__[function.__code__.co_freevars.index(name)]
            return cell.cell_contents
        return function.__globals__.get(name, getattr(builtins, name, missing))

    def _nearest(self, name: str) -> str:
        known = [*self._local, *self._function.__globals__, *dir(builtins)]
        close = difflib.get_close_matches(name, known, 1)
        return f"did you mean {close[0]}?" if close else "import it above the class, or assign it first"

    def visit_Call(self, node: ast.Call) -> None:
        before = len(self._found)
        self._called(node)
        if len(self._found) > before and isinstance(node.func, ast.Attribute):
            self.visit(node.func.value)
        elif not (isinstance(node.func, ast.Name) and node.func.id in BUILTINS):
            self.visit(node.func)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
            self._value(argument)

    def _called(self, node: ast.Call) -> None:
        name = ast.unparse(node.func)
        value = self._resolved(node.func)
        module = _module_of(value)
        last = name.rpartition(".")[2]
        if isinstance(node.func, ast.Name) and value is getattr(builtins, last, self) and last in BUILTINS:
            what, instead, looks = BUILTINS[last]
            if JIT or not looks:
                self._say(node, what, instead)
        elif module.partition(".")[0] in MODULES and not module.startswith("ultra"):
            what, instead = MODULES[module.partition(".")[0]]
            self._say(node, f"calls {name}, which {what}", instead)
        elif module.startswith("numpy.random"):
            self._say(node, f"calls {name}, which draws from a hidden state", MODULES["random"][1])
        elif module.startswith("numpy") and last in ALLOCATES:
            self._say(node, f"calls {name}, which allocates an array", FIELD)
        elif (module.startswith("numpy") or module == "math") and last in INEXACT:
            self._say(
                node,
                f"calls {name}, whose last bit differs from machine to machine",
                f"{_EVERYWHERE}ultra.math.{INEXACT[last]} (from ultra import math)",
            )
        elif isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Constant):
            return  # text.format(...): said of the text
        elif isinstance(node.func, ast.Attribute) and self._of_role(node.func)[0] == "orders":
            self._say(
                node, f"calls {name}", f"write {last}({ast.unparse(node.func.value)}, ...) (from ultra import {last})"
            )
        elif last in ORDERS and module.startswith("ultra"):
            self._ordered(node, last)

    def _ordered(self, node: ast.Call, name: str) -> None:
        """Prices and quantities are whole numbers."""
        given = dict(zip(ORDERS[name], node.args, strict=False))
        given |= {keyword.arg: keyword.value for keyword in node.keywords if keyword.arg}
        for word in ("price", "qty", "instrument", "handle"):
            if word in given and self._is_float(given[word]):
                unit = {"price": "ticks", "qty": "lots"}.get(word, "an index")
                self._say(
                    given[word],
                    f"gives {name} a {word} that is a float",
                    f"it is a whole number ({unit}): use // or int(...)",
                )

    def _resolved(self, node: ast.expr) -> Any:
        """The object that a dotted name stands for, as far as it is known before the run; else None."""
        if isinstance(node, ast.Name):
            return None if node.id in self._local else self._global(node.id, None)
        if isinstance(node, ast.Attribute):
            owner = self._resolved(node.value)
            return getattr(owner, node.attr, None) if isinstance(owner, types.ModuleType | type) else None
        return None

    # ---- fields

    def visit_Attribute(self, node: ast.Attribute) -> None:
        role, name = self._of_role(node)
        if role:
            self._check_field(node, role, name)
        elif isinstance(node.value, ast.Subscript):
            self._check_row(node)
        owner = self._resolved(node.value)
        if isinstance(owner, types.ModuleType):
            if not hasattr(owner, node.attr):
                close = difflib.get_close_matches(node.attr, dir(owner), 1)
                self._say(
                    node,
                    f"names {ast.unparse(node)}, which {owner.__name__} does not have",
                    f"did you mean {close[0]}?" if close else "look into its documentation",
                )
            elif is_hot(found := getattr(owner, node.attr)) or isinstance(found, types.FunctionType):
                self._function_named(node, found)
            return
        if isinstance(owner, type) and not issubclass(owner, np.generic):
            self._say(
                node,
                f"reads {ast.unparse(node)} from a class",
                "a hook sees no class: make it a parameter(), or a number above the class",
            )
            return
        self.visit(node.value)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        role, name = self._of_role(node.value)
        index = node.slice.value if isinstance(node.slice, ast.Constant) else None
        field = self._subject.fields.get(name)
        if isinstance(node.slice, ast.Slice):
            self._say(
                node, "cuts a slice", "a hook may not make arrays: loop over the indices with for k in range(...)"
            )
        elif role == "state" and field is not None and field.length == 0:
            self._say(
                node, f"indexes state.{name}, a single number", f"declare it as `{name}: int = state(length=...)`"
            )
        elif role == "state" and field is not None and isinstance(index, int) and index >= field.length:
            self._say(
                node,
                f"reads state.{name}[{index}], which has {field.length} numbers",
                f"they are 0 to {field.length - 1}; or declare it longer",
            )
        elif role == "market" and name in LEVELS and isinstance(index, int) and index >= self._subject.depth:
            self._say(
                node,
                f"reads level {index} of market.{name}, of which {self._subject.depth} are kept",
                f"write `depth: ClassVar[int] = {index + 1}` in the class (1 to 5; level 0 is the best)",
            )
        self.generic_visit(node)

    def _of_role(self, node: ast.expr) -> tuple[str, str]:
        """Of `state.x` the role and the name; else two empty words."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return self._roles.get(node.value.id, ""), node.attr
        return "", ""

    def _check_field(self, node: ast.Attribute, role: str, name: str) -> None:
        known = self._fields_of(role)
        if name in known or role == "orders":
            return
        word = {"state": "state", "params": "parameter"}.get(role, "")
        field = self._subject.fields.get(name)
        if word and field is not None:
            owner = {"state": "state", "parameter": "params"}[field.kind]
            self._say(node, f"reads {role}.{name}, but {name} is a {field.kind}", f"write {owner}.{name}")
            return
        close = difflib.get_close_matches(name, known, 1, 0.5)
        there = (
            f"there are {', '.join(known) or 'none'}" if len(known) < 12 else f"there are {', '.join(known[:11])}, ..."
        )
        own = f"declare it in the class, `{name}: int = {word}(...)`" if word else there
        self._say(
            node, f"names {role}.{name}, which does not exist", f"did you mean {close[0]}? Else {own}" if close else own
        )

    def _check_row(self, node: ast.Attribute) -> None:
        """`market.bids[k].price`, `desk.markets[k].bid`, `desk.states[k].x`."""
        assert isinstance(node.value, ast.Subscript)
        role, name = self._of_role(node.value.value)
        known: tuple[str, ...] = ()
        if role == "market" and name in LEVELS:
            known = tuple(DEPTH_LEVEL.names or ())
        elif role == "desk" and name in ("markets", "states"):
            known = self._fields_of("market" if name == "markets" else "state")
        if known and node.attr not in known:
            close = difflib.get_close_matches(node.attr, known, 1, 0.5)
            self._say(
                node,
                f"names {ast.unparse(node)}, which does not exist",
                f"did you mean {close[0]}?" if close else f"there are {', '.join(known[:12])}",
            )

    def _fields_of(self, role: str) -> tuple[str, ...]:
        if role == "event":
            return tuple(RECORD.names or ())
        if role == "market":
            return tuple(MARKET.names or ())
        if role == "desk":
            return DESK
        kind = {"state": "state", "params": "parameter"}.get(role)
        return tuple(name for name, field in self._subject.fields.items() if field.kind == kind)

    def _is_float(self, node: ast.expr) -> bool:
        """Whether an expression is a float whatever the numbers are."""
        if isinstance(node, ast.Constant):
            return isinstance(node.value, float)
        if isinstance(node, ast.BinOp):
            return isinstance(node.op, ast.Div) or self._is_float(node.left) or self._is_float(node.right)
        if isinstance(node, ast.UnaryOp):
            return self._is_float(node.operand)
        if isinstance(node, ast.IfExp):
            return self._is_float(node.body) or self._is_float(node.orelse)
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func).rpartition(".")[2]
            return name in FLOATS and (_module_of(self._resolved(node.func)).partition(".")[0] in ("ultra", "builtins"))
        if isinstance(node, ast.Subscript):
            node = node.value
        role, name = self._of_role(node)
        return role in ("state", "params") and name in self._subject.fields and self._subject.fields[name].is_float


def _is_none(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _module_of(value: Any) -> str:
    """Where a function comes from; empty when it is not known."""
    if value is None:
        return ""
    if isinstance(value, types.ModuleType):
        return value.__name__
    plain = getattr(value, "py_func", value)
    owner = getattr(plain, "__self__", None)
    if owner is not None and not isinstance(owner, types.ModuleType):
        return owner.__module__ if isinstance(owner, type) else type(owner).__module__
    if isinstance(value, np.ufunc):
        return "numpy"
    return getattr(plain, "__module__", None) or ""
