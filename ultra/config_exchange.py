"""`[exchange]`: the venue that `ultra venue` is: what is traded, by whom, over which sockets, with whom inside.

`[exchange.instrument.SYMBOL]`, `[exchange.account.USER]` and `[exchange.generator.NAME]` are tables of the user's; a
file that names one of these three replaces all of its defaults. Passwords are no keys, and never words of a command
line, where every process of the machine may read them: an account's is in its `password_file`, or in the environment
as ULTRA_PASSWORD_USER or ULTRA_PASSWORD, or else made up and left in the venue's folder, readable by its owner only.
Ground floor: of ours only `rules`. Known bad case: what a generator says of an instrument that is not there is found
when the venue starts, by `contradictions`, not when the file is read.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from . import rules
from .rules import KeyPath, Problem, Rule, Table, address, show, wrong

PASSWORD: str = "ULTRA_PASSWORD"
KINDS: tuple[str, ...] = ("zero-intelligence", "hawkes", "maker", "replay")
_HOST = r"[A-Za-z0-9.-]{1,253}:[0-9]{1,5}"
_IPV4 = r"[0-9.]{7,15}:[0-9]{1,5}"  # names of groups are not looked up


def _symbol(doc: str) -> dict[str, Rule]:
    return {"rule": Rule("symbol string", "1..8 printable ASCII characters", doc, rules.is_symbol)}


def _prefix(doc: str) -> dict[str, Rule]:
    def accepts(value: object) -> bool:
        return isinstance(value, str) and re.fullmatch(r"[A-Z0-9]{1,4}", value) is not None

    return {"rule": Rule("prefix string", "1..4 capital letters and digits", doc, accepts)}


def _model(doc: str) -> dict[str, Rule]:
    def accepts(value: object) -> bool:
        return (
            isinstance(value, str) and re.fullmatch(r"[a-z-]{1,40}|[\w.]{1,200}:[A-Za-z_]\w{0,80}", value) is not None
        )

    return {"rule": Rule("model string", "one of ours by name, or package.module:function", doc, accepts)}


@dataclass(frozen=True, slots=True)
class Instrument:
    """One thing that is traded."""

    tick: str = field(default="0.01", metadata=rules.money("1000", "currency between two prices"))
    lot: int = field(default=1, metadata=rules.whole(1, 10**6, "shares that every quantity is a multiple of"))
    price: str = field(default="100", metadata=rules.money("200000", "reference price of the first auction"))
    band_bps: int = field(
        default=5000, metadata=rules.whole(1, 9999, "distance from `price` in which orders are taken")
    )
    order_qty_max: int = field(default=1_000_000, metadata=rules.whole(1, 10**9, "lots of one order"))

    @property
    def tick_units(self) -> int:
        """The tick in 1/10000, the unit of prices in ITCH and OUCH; 0 when it is finer than that."""
        exact = Decimal(self.tick).scaleb(4)
        return int(exact) if exact == int(exact) else 0

    @property
    def price_units(self) -> int:
        """The reference price in 1/10000, on the tick."""
        tick = max(1, self.tick_units)
        return int(Decimal(self.price).scaleb(4)) // tick * tick

    @property
    def band_units(self) -> tuple[int, int]:
        """Lowest and highest price of an order, in 1/10000, both on the tick; the lowest is two ticks at least."""
        tick, price = max(1, self.tick_units), self.price_units
        low, high = price * (10_000 - self.band_bps) // 10_000, price * (10_000 + self.band_bps) // 10_000
        return max(2 * tick, -(-low // tick) * tick), high // tick * tick


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may log in."""

    password_file: str = field(default="", metadata=rules.folder("file whose first line is the password"))
    cancel_on_disconnect: bool = field(
        default=True, metadata=rules.switch("cancel what is open when the connection is gone")
    )


@dataclass(frozen=True, slots=True)
class Generator:
    """A trader inside the venue, or a recording that trades like one."""

    kind: str = field(default="zero-intelligence", metadata=rules.choice(KINDS, "how it trades"))
    instrument: str = field(default="ULTRA", metadata=_symbol("what it trades"))
    account: str = field(default="HOUSE", metadata=rules.word("whose orders they are; nobody logs in as that"))
    seed: int = field(default=1, metadata=rules.whole(0, 1 << 62, "the same seed acts the same"))
    rate_per_s: int = field(default=1000, metadata=rules.whole(1, 10**6, "how often it acts in a second, on average"))
    burst_permille: int = field(
        default=0, metadata=rules.whole(0, 950, "of these, how many follow from another: Hawkes bursts")
    )
    half_life_ms: int = field(default=50, metadata=rules.whole(1, 60_000, "time in which a burst calms by half"))
    cancel_permille: int = field(default=450, metadata=rules.whole(0, 900, "of its acts: an order taken back"))
    move_permille: int = field(default=50, metadata=rules.whole(0, 900, "of its acts: an order moved"))
    take_permille: int = field(default=40, metadata=rules.whole(0, 900, "of its acts: the other side's best taken"))
    depth_ticks: int = field(default=5, metadata=rules.whole(1, 10_000, "scale of the distance of its quotes"))
    lots_max: int = field(default=10, metadata=rules.whole(1, 10**6, "lots of one order"))
    lean_lots: int = field(
        default=200, metadata=rules.whole(1, 10**9, "of a maker: position that moves its quotes by a tick")
    )
    file: str = field(default="", metadata=rules.folder("of a replay: ITCH 5.0, or LOBSTER when it ends in .csv[.gz]"))
    speed_permille: int = field(
        default=1000, metadata=rules.whole(1, 10**6, "of a replay: how fast its time passes, 1000 = as it did")
    )


_INSTRUMENT: dict[str, Rule] = {f.name: f.metadata["rule"] for f in fields(Instrument)}
_ACCOUNT: dict[str, Rule] = {f.name: f.metadata["rule"] for f in fields(Account)}
_GENERATOR: dict[str, Rule] = {f.name: f.metadata["rule"] for f in fields(Generator)}


def _each(expected: dict[str, Rule], pattern: str, wanted: str) -> Any:
    """The check of a table of tables: names by a pattern, keys by their rules."""

    def inside(path: KeyPath, given: Mapping[str, object]) -> Iterator[Problem]:
        for name, keys in given.items():
            if not re.fullmatch(pattern, name):
                yield Problem((*path, name), f": wanted {wanted}")
            if not isinstance(keys, Mapping):
                yield wrong((*path, name), keys, "a table")
                continue
            for key, value in keys.items():
                if key in expected:
                    yield from expected[key].problems((*path, name, key), value)
                else:
                    yield Problem(
                        (*path, name, key), f" = {show(value)}: unknown key; known here: {', '.join(expected)}"
                    )

    return inside


@dataclass(frozen=True, slots=True)
class Exchange:
    """The venue as a process. Port 0 is one that the kernel chooses."""

    name: str = field(default="ULTR", metadata=_prefix("how the names of its sessions begin"))
    feed_a: str = field(
        default="udp://127.0.0.1:0", metadata=address("udp", rf"udp://{_IPV4}", "where line A of the feed is sent to")
    )
    feed_b: str = field(default="udp://127.0.0.1:0", metadata=address("udp", rf"udp://{_IPV4}", "the same, line B"))
    interface: str = field(
        default="", metadata=address("", r"[0-9.]{7,15}", "IPv4 of the interface that sends to a multicast group")
    )
    request: str = field(
        default="request://127.0.0.1:0",
        metadata=address("request", rf"request://{_IPV4}", "where lost packets are asked for"),
    )
    orders: str = field(
        default="tcp://127.0.0.1:0", metadata=address("tcp", rf"tcp://{_HOST}", "where clients log in with orders")
    )
    socket: str = field(default="", metadata=rules.folder("unix socket of its operator; else in its folder"))
    queue: str = field(default="fifo", metadata=_model("who of a level trades first"))
    fee: str = field(default="none", metadata=_model("what a trade costs"))
    latency: str = field(default="none", metadata=_model("time until an order takes effect"))
    pre_open_ms: int = field(
        default=0, metadata=rules.whole(0, 86_400_000, "opening auction before trading, 0 = trading at once")
    )
    trading_ms: int = field(
        default=0, metadata=rules.whole(0, 86_400_000, "then trading for so long, 0 = until it is stopped")
    )
    pre_close_ms: int = field(
        default=0, metadata=rules.whole(0, 86_400_000, "then the closing auction; at its end the day is over")
    )
    order_live_max: int = field(default=1 << 17, metadata=rules.whole(1 << 6, 1 << 24, "resting orders, all together"))
    order_day_max: int = field(
        default=1 << 20, metadata=rules.whole(1 << 8, 1 << 26, "orders of a day, all together", power=True)
    )
    level_page_max: int = field(default=1 << 13, metadata=rules.whole(64, 1 << 22, "pages of 64 price steps"))
    message_max: int = field(
        default=1 << 22, metadata=rules.whole(1 << 8, 1 << 30, "messages of the feed kept for whoever lost one")
    )
    client_max: int = field(default=64, metadata=rules.whole(1, 4096, "connections of clients at once"))
    login_ms: int = field(default=5000, metadata=rules.whole(10, 600_000, "time that a connection has to log in"))
    heartbeat_ms: int = field(default=1000, metadata=rules.whole(10, 60_000, "silence after which we say something"))
    silence_ms: int = field(default=15_000, metadata=rules.whole(100, 600_000, "silence after which a client is gone"))
    order_rate_max_per_s: int = field(
        default=1_000_000, metadata=rules.whole(1, 10**7, "messages of one client a second; more are refused")
    )
    reply_bytes: int = field(
        default=1 << 24, metadata=rules.whole(1 << 12, 1 << 32, "replies of one account kept for when it logs in again")
    )
    sync: bool = field(
        default=False, metadata=rules.switch("survive a power cut too: fdatasync before anything is said")
    )
    instrument: Table[Table[int | str]] = field(
        default=Table({"ULTRA": Table({"price": "100"})}),
        metadata=rules.table(
            "SYMBOL -> keys of an instrument", "what is traded",
            _each(_INSTRUMENT, r"[!-~]{1,8}", "a symbol of 1..8 printable ASCII characters"),
        ),
    )  # fmt: skip
    account: Table[Table[int | str | bool]] = field(
        default=Table({"TRADER": Table()}),
        metadata=rules.table(
            "USER -> keys of an account", "who may log in",
            _each(_ACCOUNT, r"[A-Za-z0-9]{1,6}", "a user of 1..6 letters and digits"),
        ),
    )  # fmt: skip
    generator: Table[Table[int | str]] = field(
        default=Table({
            "maker": Table({"kind": "maker", "account": "MAKER", "rate_per_s": 500, "seed": 2}),
            "noise": Table({"kind": "hawkes", "burst_permille": 500}),
        }),
        metadata=rules.table(
            "NAME -> keys of a generator", "traders inside the venue",
            _each(_GENERATOR, r"[A-Za-z0-9_-]{1,40}", "a name of letters, digits, - and _"),
        ),
    )  # fmt: skip

    def instruments(self) -> dict[str, Instrument]:
        """By symbol, sorted: their index is that order."""
        return {name: Instrument(**cast(Any, dict(keys))) for name, keys in sorted(self.instrument.items())}

    def accounts(self) -> dict[str, Account]:
        """Who may log in, sorted: their index is that order. Behind them those whose orders the generators place."""
        found = {name: Account(**cast(Any, dict(keys))) for name, keys in sorted(self.account.items())}
        for generator in self.generators().values():
            found.setdefault(generator.account, Account())
        return found

    def generators(self) -> dict[str, Generator]:
        """By name, sorted."""
        return {name: Generator(**cast(Any, dict(keys))) for name, keys in sorted(self.generator.items())}


def contradictions(exchange: Exchange) -> Iterator[str]:
    """What is wrong between keys that are right by themselves; a line each."""
    if not exchange.instrument:
        yield "exchange.instrument: wanted at least one instrument"
    for symbol, instrument in exchange.instruments().items():
        where = f"exchange.instrument.{symbol}"
        if instrument.tick_units == 0:
            yield f"{where}.tick = {show(instrument.tick)}: wanted a multiple of 0.0001, the unit of ITCH and OUCH"
        elif instrument.price_units < 2 * instrument.tick_units:
            yield f"{where}.price = {show(instrument.price)}: wanted two ticks at least"
    for name, generator in exchange.generators().items():
        where = f"exchange.generator.{name}"
        if generator.instrument not in exchange.instrument:
            known = ", ".join(exchange.instrument)
            yield f"{where}.instrument = {show(generator.instrument)}: there are {known}"
        if generator.account in exchange.account:
            yield f"{where}.account = {show(generator.account)}: clients log in as that; wanted another"
        if generator.kind == "replay" and not generator.file:
            yield f'{where}.file = "": a replay needs a recorded file'
        others = [other for key, other in exchange.generators().items() if key != name]
        if generator.kind == "replay" and any(other.kind == "replay" for other in others):
            yield f"{where}: one generator may replay a file, and there is another"
        if generator.kind == "replay" and any(other.account == generator.account for other in others):
            yield f"{where}.account = {show(generator.account)}: a replay needs one of its own"
        if generator.cancel_permille + generator.move_permille + generator.take_permille > 1000:
            yield f"{where}: cancel_permille, move_permille and take_permille are more than 1000 together"


def password(user: str, account: Account) -> str:
    """The password of an account, "" when nobody has said one; OSError when its file can't be read."""
    if account.password_file:
        return Path(account.password_file).read_text(encoding="ascii").split("\n")[0].strip()
    return os.environ.get(f"{PASSWORD}_{user}") or os.environ.get(PASSWORD, "")
