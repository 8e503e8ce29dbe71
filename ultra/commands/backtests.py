"""`ultra backtest`: a strategy on recorded data, with costs and latencies of choice, and what came of it."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from ..config import ConfigError
from . import DAMAGED, DONE, NO, command, configuration, fail, load_config, show_compiling
from .figures import shown


def add(commands: Any) -> None:
    """The one."""
    parser = command(
        commands, "backtest", _backtest,
        "Run a strategy on recorded data through the engine's own loop, and measure it. An ITCH file gives the "
        "decisions of ultra run.",
        "ultra backtest ultra.strategies.maker:MarketMaker day.itch50.gz --fees maker=-0.2,taker=0.3 --html sheet.html",
    )  # fmt: skip
    parser.add_argument("strategy", metavar="SPEC", help="package.module:Class or path/to/file.py:Class")
    parser.add_argument("data", type=Path, metavar="DATA", help="ITCH 5.0, or whatever ultra data reads")
    parser.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="a parameter of the strategy (repeatable)"
    )
    parser.add_argument("--cash", default="1000000", metavar="AMOUNT", help="to begin with (default 1000000)")
    parser.add_argument(
        "--fees", default="", metavar="WORDS", help="maker=BPS,taker=BPS,maker_lot=,taker_lot=,minimum= (default none)"
    )
    parser.add_argument("--slippage", default="", metavar="WORDS", help="of takers: ticks=N,bps=BPS (default none)")
    parser.add_argument(
        "--latency", default="", metavar="TIME|WORDS",
        help="10us, or order=,answer=,sell=,cancel=,jitter=,seed= (default venue.latency_ns there, none back)",
    )  # fmt: skip
    parser.add_argument("--interest", default="", metavar="WORDS", help="borrow=,debit= percent a year; margin=PERCENT")
    parser.add_argument(
        "--venue", dest="exchange", choices=["paper", "matching"], default="paper",
        help="paper: the recorded market does not react; matching: our orders are in one book with it (default paper)",
    )  # fmt: skip
    parser.add_argument(
        "--queue", default="risk-averse", metavar="MODEL",
        help="of feeds of levels: risk-averse, log, power or power:N (default risk-averse)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the strategy's random draws")
    parser.add_argument("--check-lookahead", action="store_true", help="change the future: does the past change?")
    parser.add_argument("--allow", action="append", default=[], metavar="NAME", help="with it: a table, not a series")
    parser.add_argument("--latency-sweep", action="store_true", help="again with orders 1, 10, 100 us and 1 ms later")
    parser.add_argument("--capacity", action="store_true", help="again with orders 2 to 50 times as large")
    parser.add_argument("--html", type=Path, metavar="FILE", help="also write the tear sheet")
    parser.add_argument("--explain", type=int, metavar="N", help="say why the first N fills came")
    parser.add_argument("--instrument", action="append", default=[], metavar="SYMBOL", help="only these (repeatable)")
    parser.add_argument("--date", default=None, metavar="YYYY-MM-DD", help="day of the session, New York")
    configuration(parser)


def _backtest(given: argparse.Namespace) -> int:
    from ..lab import backtest, sensitivity
    from ..lab.performance import plain

    config = load_config(given) if given.config or given.set or given.instrument or given.date else None
    wanted: dict[str, Any] = {"terms": terms_of(given), "config": config, "parameters": parameters_of(given.param)}
    show_compiling()
    if given.check_lookahead:
        return _lookahead(given, wanted)
    told = _told if sys.stderr.isatty() and not given.json else None
    result = backtest.backtest(given.strategy, given.data, progress=_progress(given), **wanted)
    found = result.as_json()
    if given.latency_sweep:
        rows = sensitivity.latencies(given.strategy, given.data, told=told, **wanted)
        found["latency"] = [{name: plain(value) for name, value in row._asdict().items()} for row in rows]
    if given.capacity:
        larger = sensitivity.capacity(given.strategy, given.data, told=told, **wanted)
        found["capacity"] = [
            {**row._asdict(), "pnl": f"{row.pnl:f}", "pnl_per_lot": f"{row.pnl_per_lot:.9f}"} for row in larger
        ]
    if given.html:
        found["sheet"] = str(result.html(given.html, found))
    if given.explain is not None:
        found["explained"] = [result.explain(k) for k in range(min(given.explain, len(result.fills)))]
    print(json.dumps(found) if given.json else as_text(found))
    return fail(DAMAGED, result.damage) if result.damage else DONE


def terms_of(given: argparse.Namespace) -> Any:
    """What the words on the command line say. TermsError."""
    from ..lab import backtest
    from ..lab import terms as costs

    model, _, exponent = given.queue.partition(":")
    if exponent and not exponent.isdigit():
        raise ConfigError("command line", (f"--queue {given.queue}: wanted power:N",))
    return backtest.Terms(
        cash=given.cash,
        fees=costs.fees_of(given.fees),
        latency=costs.latency_of(given.latency) if given.latency else None,
        slippage=costs.slippage_of(given.slippage),
        interest=costs.interest_of(given.interest),
        queue=model,
        exponent=int(exponent or 2),
        venue=given.exchange,
        seed=given.seed,
    )


def parameters_of(words: list[str]) -> dict[str, Any]:
    """`qty=100` and `edge=0.2` as whole numbers, floats or truths. ConfigError."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError:
            equals = ""
        if not equals or not isinstance(found[name], int | float):
            raise ConfigError("command line", (f"--param {word}: wanted NAME=NUMBER, or true, false",))
    return found


def _lookahead(given: argparse.Namespace, wanted: dict[str, Any]) -> int:
    """The verdict. What machine code holds as constants can be changed in the interpreter only: there once more."""
    from ..lab import lookahead

    told = _told if sys.stderr.isatty() and not given.json else None
    found = lookahead.check_lookahead(given.strategy, given.data, allow=given.allow, told=told, **wanted)
    if found.clean and found.unseen:
        print(f"ultra: it reads {', '.join(found.unseen)}: once more in the interpreter", file=sys.stderr)
        again = [sys.executable, "-m", "ultra", *sys.argv[1:]]
        return subprocess.run(again, env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, check=False).returncode
    answer = {"clean": found.clean, "guilty": found.guilty, "cuts": [cut._asdict() for cut in found.cuts]}
    print(json.dumps(answer) if given.json else found.as_text())
    return DONE if found.clean else NO


def as_text(found: dict[str, Any]) -> str:
    """The figures as a page of text."""
    figures = found["performance"]
    of_engine = f", {found['records_per_s']:,} a second; {found['orders']:,} orders, {found['cancels']:,} cancels"
    lines = [
        f"{found['records']:,} records{of_engine if found['state_hash'] else ''}; "
        f"{found['fills']:,} fills in {figures['trade_count']:,} round trips",
        "",
        *[f"{name:<22}{shown(name, value):>24}" for name, value in figures.items()],
    ]
    marked = [row for row in found["markouts"] if row["fills"]]
    if marked:
        lines += ["", f"{'markout after':<16}{'fills':>10}{'ticks a lot':>14}{'in all':>18}{'won':>8}"]
    for row in marked:
        lines.append(
            f"{row['after_ns'] / 1e6:>12,.0f} ms{row['fills']:>11,}{row['mean_ticks']:>14.2f}"
            f"{float(row['total']):>18,.2f}{row['won']:>8.0%}"
        )
    if float(found["interest"]):
        lines.append(f"interest paid{float(found['interest']):>33,.2f}")
    if found["margin_calls"]:
        lines.append(f"margin not covered at{found['margin_calls']:>18,} points")
    for row in found.get("latency", ()):
        lines.append(f"{row['more_ns']:>12,} ns later{float(row['pnl']):>18,.2f}{row['fills']:>10,} fills")
    for row in found.get("capacity", ()):
        lines.append(
            f"{row['multiple']:>12,} x as large{float(row['pnl']):>17,.2f}{row['traded_lots']:>12,} lots "
            f"{row['filled']:.0%} of what was wanted"
        )
    for title, rows in (("fills", found["fills_by_rule"]), ("rejects", found["rejects_by_reason"])):
        if rows:
            lines.append(f"{title}: " + ", ".join(f"{name} {count:,}" for name, count in rows.items()))
    lines += found.get("explained", ())
    if found["state_hash"]:
        lines += [f"state     {found['state_hash']}", f"decisions {found['decision_hash']}"]
    return "\n".join(lines)


def _progress(given: argparse.Namespace) -> Any:
    """A line on stderr where somebody looks."""
    if given.json or not sys.stderr.isatty():
        return None
    return lambda state: print(
        "\r" + " ".join(f"{key} {value:,}" for key, value in state.items()), end="", file=sys.stderr, flush=True
    )


def _told(text: str) -> None:
    print(f"ultra: {text}", file=sys.stderr, flush=True)
