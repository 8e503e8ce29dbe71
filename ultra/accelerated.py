"""A strategy as an object: its parameters, a backtest, a search. Thin over `ultra.lab`, loaded when it is used.

    class My(NumbaAcceleratedStrategy):
        order_qty: int = parameter(100)
        def __init__(self, config=None):
            super().__init__("MyStrategy", config)
        def on_book(state, params, event, market, orders): ...

    result = await My({"order_qty": 50}).backtest(data)     # in Jupyter, or inside asyncio.run
    result = My({"order_qty": 50}).backtest_now(data)       # anywhere
    result.total_return

The hooks have no self and never see the object: what runs is the class with these parameters, as everywhere.
Known bad case: an awaited backtest runs in a thread of its own, and goes on when the one who awaits is interrupted.
"""

import asyncio
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from . import strategy as strategies
from .config import Config
from .config import load as load_config
from .strategy import Strategy, StrategyError


class Outcome:
    """The result of a backtest, and its performance under the same names: `outcome.total_return`, `outcome.fills`."""

    def __init__(self, result: Any) -> None:
        self.result = result

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "result":
            raise AttributeError(name)
        found = getattr(self.result, name, self)
        return getattr(self.result.performance, name) if found is self else found

    def __dir__(self) -> list[str]:
        return sorted({"result", *dir(self.result), *dir(self.result.performance)} - set(dir(object)))

    def __repr__(self) -> str:
        return repr(self.result.performance)

    def _repr_html_(self) -> str:
        owner = self.result if hasattr(self.result, "_repr_html_") else self.result.performance
        return str(owner._repr_html_())


class NumbaAcceleratedStrategy(Strategy):
    """Base class of strategies that are also objects. Hooks and fields as in `ultra.Strategy`."""

    def __init__(self, name: str = "", config: Mapping[str, Any] | str | Path | None = None) -> None:
        """`config`: values of parameters by name, or a TOML file of the whole configuration (`ultra config` shows it).

        StrategyError when the class is no strategy, or a value is not one of its parameters; ConfigError of a file."""
        self.name = name or type(self).__name__
        self.config: Config | None = (
            None if config is None or isinstance(config, Mapping) else load_config(Path(config))
        )
        given = config if isinstance(config, Mapping) else self.config.strategy.parameters if self.config else {}
        self.parameters: dict[str, Any] = dict(given)
        strategies.parameters(strategies.load(type(self)), self.parameters)

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value!r}' for key, value in self.parameters.items())})"

    async def backtest(self, data: Any, **terms: Any) -> Outcome:
        """Run over past data; the event loop goes on meanwhile. `data`, `terms`: as `ultra.lab.backtest.backtest`."""
        return await asyncio.to_thread(self.backtest_now, data, **terms)

    def backtest_now(self, data: Any, **terms: Any) -> Outcome:
        """The same at once, for a script or a notebook's cell without await."""
        parameters = self.parameters | dict(terms.pop("parameters", {}))
        if self.config is not None:
            terms.setdefault("config", self.config)
        run = _lab("backtest").backtest
        return Outcome(run(type(self), data, parameters=parameters, **terms))

    def optimize_parameters(self, data: Any, parameter_ranges: Mapping[str, Any], **options: Any) -> Any:
        """Search for the best parameters; see `ultra.lab.optimize.optimize_parameters`. Those of this object that are
        not in `parameter_ranges` stay as they are, and the limits of its file hold as in a backtest. Nothing is changed
        here: `My(found.best)` is the best one."""
        if self.config is not None:
            options.setdefault("config", self.config)
        fixed = {key: [value] for key, value in self.parameters.items() if key not in parameter_ranges}
        search = _lab("optimize").optimize_parameters
        return search(type(self), data, {**fixed, **parameter_ranges}, **options)

    def compile_to_wasm(self, path: str | Path) -> None:
        """Write the strategy as a WebAssembly module. StrategyError: this version can't."""
        raise StrategyError(
            f"{self.name}: {path} was not written: this version of ultra has no ultra.wasm. It comes with the issue "
            "'WebAssembly export' and runs with the extra ultra-engine[wasm]; backtests and runs don't need it"
        )


def _lab(name: str) -> Any:
    """A module of the lab. StrategyError when this install has none."""
    try:
        return import_module(f"ultra.lab.{name}")
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("ultra.lab"):
            raise StrategyError(f"ultra.lab needs {error.name}: pip install 'ultra-engine[lab]'") from error
        raise StrategyError(f"this install of ultra has no {error.name}: pip install 'ultra-engine[lab]'") from error
