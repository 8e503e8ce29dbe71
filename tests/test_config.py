"""The configuration: one rule per key decides, every problem of a file is named at once, TOML round trips.

Ranges are tried from the words of `describe`, so a limit that its words don't tell fails here.
"""

import json
import math
import pickle
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ultra.commands import venue_at
from ultra.config import Config, ConfigError, Engine, Journal, Risk, assignment, describe, load, parse
from ultra.config_link import host_port, password, places, user
from ultra.rules import Table

RISK_KEYS = [f.name for f in fields(Risk) if f.name != "instrument"]
NOT_MONEY: list[object] = [
    "9000000000.000000001", "-1", "1e6", "1_000", "NaN", "Infinity", "", " 1", "1 ", "+1", "01", ".5", "5.",
    "0.0000000001", "\u0661", "1" * 5000, 1000000, 1000000.0, True,
]  # fmt: skip
INTEGERS = {key: limits for key, kind, _, limits, _ in describe() if kind == "integer"}


def problems(text: str, **overrides: object) -> tuple[str, ...]:
    """What is wrong with this file; fails when nothing is."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "here.toml", overrides)
    return caught.value.problems


def edges(limits: str) -> tuple[int, int, int]:
    """(low, high, step) out of the words; step 0 = powers of two."""
    low, high = map(int, re.findall(r"(\d+)\.\.(\d+)", limits)[0])
    step = re.search(r"multiple of (\d+)", limits)
    return low, high, 0 if "power of two" in limits else int(step[1]) if step else 1


def set_key(key: str, value: object) -> Config:
    """A default Config with one key changed, and its neighbours wide enough for the checks across keys."""
    wide: dict[str, object] = {}
    if key == "risk.open_order_max":
        wide = {"engine.own_order_max": 1 << 20}
    elif key == "engine.own_order_max":
        wide = {"risk.open_order_max": 0}
    elif key == "journal.batch_record_max":
        wide = {"journal.ring_records": 1 << 24, "journal.segment_bytes": 1 << 32}
    elif key.startswith("journal."):
        wide = {"journal.batch_record_max": 1}
    return load(None, wide | {key: value})


def test_defaults_are_those_of_the_manual() -> None:
    config = parse("", "empty")
    assert config == Config() == load(None)
    assert config.engine.order_live_max == 1 << 20
    assert config.risk.order_notional_max == "1000000" and config.risk.order_notional_max_e9 == 10**15
    assert config.journal.market_data == "reference" and config.journal.segment_bytes == 64 << 20
    assert config.engine.core == -1 and config.engine.prefault is True
    assert config.feed.instruments == () and config.strategy.parameters == {}
    for key, kind, default, limits, doc in describe():
        assert doc and (limits or kind == "true or false"), key
        if kind != "table":
            parse("", "default", {key: assignment(f"{key}={default}")[1]})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("link.feed", "tcp://127.0.0.1:1"), ("link.feed", "udp://127.0.0.1"), ("link.feed_b", "udp://127.0.0.1:65536"),
        ("link.request", "request://venue:1"), ("link.orders", "ouch://127.0.0.1:1"), ("link.interface", "eth0"),
        ("link.orders", "ouch://DESK:secret@127.0.0.1:1"), ("link.feed", 4001),
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_named(key: str, value: object) -> None:
    (said,) = problems("", **{key: value})
    assert said.startswith(f"{key} = ") and "wanted address string" in said


def test_a_venue_in_one_word_is_the_keys_of_its_parts() -> None:
    given = "udp://127.0.0.1:1,udp://127.0.0.1:2,request://127.0.0.1:3,ouch://DESK@127.0.0.1:4"
    assert places(given) == {
        "link.feed": "udp://127.0.0.1:1", "link.feed_b": "udp://127.0.0.1:2", "link.request": "request://127.0.0.1:3",
        "link.orders": "ouch://DESK@127.0.0.1:4",
    }  # fmt: skip
    assert host_port(places(given)["link.orders"]) == ("127.0.0.1", 4) and user(places(given)["link.orders"]) == "DESK"
    for wrong in ("", "127.0.0.1:1", "udp://a:1,udp://b:1,udp://c:1", "ouch://A@b:1,ouch://A@b:1"):
        with pytest.raises(ValueError, match="wanted udp://HOST:PORT"):
            places(wrong)


def test_a_venue_may_be_the_file_that_it_wrote(tmp_path: Path) -> None:
    addresses = "udp://127.0.0.1:1,request://127.0.0.1:3,ouch://DESK@127.0.0.1:4"
    told = tmp_path / "venue.json"
    told.write_text(json.dumps({"venue": addresses, "folder": str(tmp_path)}))
    assert venue_at(str(told)) == (addresses, {}) and venue_at(addresses) == (addresses, {})
    (tmp_path / "passwords").write_text("MAKER none\nDESK secret\n")
    found, more = venue_at(str(told))
    assert password(load(None, {**places(found), **more}).link) == "secret"
    assert password(load(None, {"link.orders": "ouch://ANN@127.0.0.1:4", **more}).link) == ""
    (tmp_path / "one").write_text("secret\n")
    assert password(load(None, {"link.password_file": str(tmp_path / "one")}).link) == "secret"
    for wrong in ("{}", "[]", "not JSON"):
        told.write_text(wrong)
        with pytest.raises(ValueError, match="port file of a running venue"):
            venue_at(str(told))
    with pytest.raises(ValueError, match="FileNotFoundError"):
        venue_at(str(tmp_path / "nowhere"))


def test_units_stand_at_the_end_of_every_number() -> None:
    units = (
        "_max",
        "_records",
        "_bytes",
        "_ns",
        "_us",
        "_ms",
        "_bps",
        "_per_s",
        "_every",
        "_priority",
        "_node",
        "core",
        "seed",
    )
    assert [key for key in INTEGERS if not key.endswith(units)] == []


@pytest.mark.parametrize("key", INTEGERS)
def test_a_number_is_taken_up_to_both_edges_and_not_beyond(key: str) -> None:
    low, high, step = edges(INTEGERS[key])
    section, name = key.split(".")
    for edge in (low, high):
        assert getattr(getattr(set_key(key, edge), section), name) == edge
    special = re.search(r"or (-?\d+) =", INTEGERS[key])
    if special:
        set_key(key, int(special[1]))
    beyond: list[object] = [low - 1 - (special is not None), high + 1, high * 2, -(1 << 70), 1 << 9000]
    beyond += [True, False, 1.0, "1", [1]]
    beyond += [low + 1, high - 1] if step != 1 else []
    for value in beyond:
        with pytest.raises(ConfigError, match=re.escape(f"{key} = ")):
            set_key(key, value)


@pytest.mark.parametrize("amount", ["0", "9000000000", "9000000000.000000000", "0.000000001", "12.50"])
def test_money_is_exact(amount: str) -> None:
    config = load(None, {"risk.order_notional_max": amount})
    whole, _, part = amount.partition(".")
    assert config.risk.order_notional_max_e9 == int(whole + part.ljust(9, "0"))
    assert f'order_notional_max = "{amount}"' in config.to_toml()


@pytest.mark.parametrize("amount", NOT_MONEY)
def test_money_is_refused_in_any_other_form(amount: object) -> None:
    with pytest.raises(ConfigError, match="wanted decimal string"):
        load(None, {"risk.order_notional_max": amount})


@pytest.mark.parametrize("day", ["", "1970-01-01", "2024-02-29", "2261-12-31"])
def test_a_day_is_taken(day: str) -> None:
    assert load(None, {"feed.date": day}).feed.date == day


@pytest.mark.parametrize("day", ["1969-12-31", "2262-01-01", "2023-02-29", "20240102", "2024-W01-1", " ", 20240102])
def test_a_day_is_refused(day: object) -> None:
    with pytest.raises(ConfigError, match="wanted date string"):
        load(None, {"feed.date": day})


def test_a_day_without_quotes_is_refused_with_the_form_that_works() -> None:
    assert "feed.date = 2024-01-30: wanted date string, " in problems("[feed]\ndate = 2024-01-30")[0]


@pytest.mark.parametrize("symbols", [["TOOLONG99"], [""], ["A B"], ["A", "A"], ["Ä"], [1], "AAPL", [["A"]], [{}]])
def test_symbols_are_refused(symbols: object) -> None:
    with pytest.raises(ConfigError, match=re.escape("feed.instruments = ")):
        load(None, {"feed.instruments": symbols})


def test_a_parameter_fits_64_bits() -> None:
    for value in (-(1 << 63), (1 << 63) - 1, -0.0, 1e300, 5e-324, True):
        read = parse(load(None, {"strategy.parameters.x": value}).to_toml(), "again").strategy.parameters["x"]
        assert repr(read) == repr(value)
    for refused in (-(1 << 63) - 1, 1 << 63, math.inf, math.nan, "1", [1]):
        with pytest.raises(ConfigError, match=r"strategy\.parameters\.x = "):
            load(None, {"strategy.parameters.x": refused})


def test_every_problem_is_reported_at_once() -> None:
    found = problems(
        """
        order_qty_max = 3
        [engine]
        core = true
        instrument_mx = 5
        order_qty_max = 7
        order_live_max = 1000
        [jornal]
        sync = true
        [journal]
        sync = 1
        market_data = "ful"
        [risk]
        order_notional_max = 1000.5
        [risk.instrument.TOOLONGSYM]
        [risk.instrument.AAPL]
        collar_bps = -1
        collar_bp = 3
        [risk.instrument.MSFT.collar_bps]
        [strategy.parameters]
        depth = "deep"
        edge = nan
        "a b" = 1
        """
    )
    expected = [
        "order_qty_max = 3: unknown key; did you mean risk.order_qty_max?",
        "engine.core = true: wanted integer, 0..1023, or -1 = not pinned",
        "engine.instrument_mx = 5: unknown key; did you mean engine.instrument_max?",
        "engine.order_qty_max = 7: unknown key; did you mean risk.order_qty_max?",
        "engine.order_live_max = 1000: wanted integer, a power of two in 1024..67108864",
        "jornal: unknown table; did you mean journal?",
        "journal.sync = 1: wanted true or false",
        'journal.market_data = "ful": wanted string, "reference" or "full"',
        'risk.order_notional_max = 1000.5: wanted decimal string, "0".."9000000000", in quotes, at most 9 decimals',
        "risk.instrument.TOOLONGSYM: wanted a symbol of 1..8 printable ASCII characters",
        "risk.instrument.AAPL.collar_bps = -1: wanted integer, 0..100000",
        "risk.instrument.AAPL.collar_bp = 3: unknown key; did you mean risk.instrument.AAPL.collar_bps?",
        "risk.instrument.MSFT.collar_bps = {}: wanted integer, 0..100000",
        'strategy.parameters.depth = "deep": wanted an int64, a finite float, true or false',
        "strategy.parameters.edge = nan: wanted an int64, a finite float, true or false",
        'strategy.parameters."a b": wanted a name of ASCII letters, digits and _',
    ]
    assert sorted(found) == sorted(expected)
    assert str(ConfigError("here.toml", found)).splitlines()[:2] == [
        "here.toml: 16 problems",
        "  " + found[0],
    ]


def test_a_key_like_no_other_is_answered_with_the_keys_there_are() -> None:
    assert problems("[venue]\nzzz = 1") == ("venue.zzz = 1: unknown key; known here: latency_ns",)
    assert "known here: engine, risk, venue" in problems("[zzz]")[0]


def test_a_value_where_a_table_belongs() -> None:
    assert problems("risk = 5\nvenue = [1]\n[strategy]\nparameters = 3") == (
        "risk = 5: wanted a table",
        "venue = [1]: wanted a table",
        "strategy.parameters = 3: wanted table, NAME -> integer, float or bool",
    )


def test_keys_are_checked_against_one_another() -> None:
    text = "[risk]\nopen_order_max = 5000\n[risk.instrument.A]\nopen_order_max = 6000"
    assert problems("[journal]\nring_records = 1024\n" + text) == (
        "journal.batch_record_max = 4096: wanted at most 1024 because journal.ring_records = 1024 "
        "(a batch comes out of the ring)",
        "risk.open_order_max = 5000: wanted at most 4096 because engine.own_order_max = 4096 "
        "(they are among all of ours)",
        "risk.instrument.A.open_order_max = 6000: wanted at most 4096 because engine.own_order_max = 4096 "
        "(they are among all of ours)",
    )
    text = "[journal]\nring_records = 16384\nbatch_record_max = 8193\nsegment_bytes = 1048576"
    assert "wanted at most 8192 because journal.segment_bytes = 1048576" in problems(text)[0]
    text = '[engine]\ninstrument_max = 1\n[feed]\ninstruments = ["A", "B"]'
    assert "wanted at most 1 because engine.instrument_max = 1" in problems(text)[0]


def test_a_wrong_value_is_not_compared_with_others() -> None:
    assert len(problems("[journal]\nring_records = 100\nbatch_record_max = 1048576")) == 2  # 128 MiB > half a segment
    assert len(problems("[journal]\nring_records = 100")) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a = 1\n[engine\ncore = 1\n", 2),
        ("[engine]\ncore = 1\ncore = 2\n[risk]\n", 3),
        ('x = 1\ny = "open', 2),
        ("a", 1),
        ("\n\nx = \x00\n\n", 3),
    ],
)
def test_broken_toml_names_the_line(text: str, line: int) -> None:
    (problem,) = problems(text)
    assert problem.startswith(f"line {line}: ") and len(problem) < 250


@pytest.mark.parametrize("text", ["x = " + "9" * 5000, "x = " + "[" * 100_000])
def test_what_the_parser_itself_can_not_stand_is_an_error_like_any_other(text: str) -> None:
    (problem,) = problems(text)
    assert problem.startswith("not readable as TOML: ") and len(problem) < 250


def test_a_file_is_read_and_named(tmp_path: Path) -> None:
    path = tmp_path / "ultra.toml"
    with pytest.raises(ConfigError, match=r"ultra\.toml: 1 problem\n  can't be read: No such file"):
        load(path)
    path.write_bytes(b"[engine]\ncore = \xff")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 16"):
        load(path)
    path.write_text("[engine]\r\ncore = 3\r\n", newline="")
    assert load(path).engine.core == 3
    path.write_text("[engine]\ncore = -3\n")
    with pytest.raises(ConfigError, match=r"ultra\.toml: 1 problem\n  engine\.core = -3: wanted"):
        load(path)


def test_the_command_line_comes_before_the_file_and_the_file_before_the_default() -> None:
    text = '[risk]\norder_qty_max = 5\ncollar_bps = 10\n[risk.instrument."BRK.A"]\norder_qty_max = 7'
    given = {"risk.order_qty_max": 6, 'risk.instrument."BRK.A".collar_bps': 1, "feed.instruments": ("A",)}
    config = parse(text, "x", given)
    assert (config.risk.order_qty_max, config.risk.collar_bps, config.risk.open_order_max) == (6, 10, 64)
    assert config.risk.of("BRK.A") == Risk(order_qty_max=7, collar_bps=1)
    assert config.risk.of("MSFT") == Risk(order_qty_max=6, collar_bps=10)
    assert config.feed.instruments == ("A",)


def test_a_wrong_override_says_that_it_came_from_the_command_line() -> None:
    found = problems(
        "venue = 3\n[engine]\ncore = -9",
        **{"engine.cor": 1, "risk.collar_bps": -1, "venue.latency_ns": 1, "": 1, "a=1\nb": 2},
    )
    assert [problem.endswith(" (command line)") for problem in found] == [False] * 2 + [True] * 4
    assert found[0] == "venue = 3: wanted a table"


def test_assignments_of_the_command_line() -> None:
    assert assignment("engine.core=3") == ("engine.core", 3)
    assert assignment("engine.prefault = false") == ("engine.prefault", False)
    assert assignment("risk.order_notional_max=500.25") == ("risk.order_notional_max", "500.25")
    assert assignment('risk.instrument."BRK.A".order_notional_max=5')[1] == "5"
    assert assignment('feed.date="2024-01-02"')[1] == assignment("feed.date=2024-01-02")[1] == "2024-01-02"
    assert assignment('feed.instruments=["A"]')[1] == ["A"]
    assert assignment("journal.market_data=full")[1] == "full"
    assert assignment("strategy.parameters.edge=0.5")[1] == 0.5
    with pytest.raises(ConfigError, match="wanted KEY=VALUE"):
        assignment("engine.core")


def test_a_config_made_in_code_is_checked_too() -> None:
    with pytest.raises(ConfigError) as caught:
        Config(engine=Engine(core=-2), journal=Journal(ring_records=3), risk=5)  # type: ignore[arg-type]
    assert [line.split(":")[0][-8:] for line in caught.value.problems] == ["ore = -2", "risk = 5", "ords = 3"]
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert str(error).startswith("Config: 3 problems\n  engine.core = -2: wanted")


def test_a_config_is_frozen_hashable_and_travels_between_processes() -> None:
    config = parse("[risk.instrument.A]\ncollar_bps = 1\n[strategy.parameters]\nn = 1", "x")
    copy = pickle.loads(pickle.dumps(config))
    assert copy == config and hash(copy) == hash(config)
    with pytest.raises(AttributeError):
        config.engine.core = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        config.strategy.parameters["n"] = 2  # type: ignore[index]


# ---- the round trip

SYMBOLS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=8)
AMOUNTS = st.decimals(0, 9_000_000_000, places=9).map(lambda amount: f"{amount:f}")
NUMBERS = st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True)


def values(key: str) -> st.SearchStrategy[Any]:
    """What this key accepts, from its words."""
    if key in INTEGERS:
        low, high, step = edges(INTEGERS[key])
        if step == 0:
            return st.sampled_from([1 << n for n in range(low.bit_length() - 1, high.bit_length())])
        return st.integers(math.ceil(low / step), high // step).map(lambda n: n * step)
    kinds = {kind: name for name, kind, *_ in describe()}
    return {
        kinds["decimal string"]: AMOUNTS,
        kinds["date string"]: st.dates().filter(lambda day: 1970 <= day.year <= 2261).map(str) | st.just(""),
        kinds["array of symbols"]: st.lists(SYMBOLS, unique=True, max_size=5),
        kinds["name string"]: st.from_regex(r"[A-Za-z0-9_-]{0,64}", fullmatch=True),
        "journal.market_data": st.sampled_from(["reference", "full"]),
        "journal.durability": st.sampled_from(["async", "gated"]),
        "journal.on_failure": st.sampled_from(["halt", "shed"]),
        "journal.mirror": st.from_regex(r"[ -~]{0,80}", fullmatch=True),
        "host.preset": st.sampled_from(["inline", "pipeline", "diamond"]),
        "host.wait": st.sampled_from(["yield", "spin"]),
        "link.feed": st.sampled_from(["", "udp://127.0.0.1:4001"]),
        "link.feed_b": st.sampled_from(["", "udp://239.1.1.1:0"]),
        "link.interface": st.sampled_from(["", "10.0.0.7"]),
        "link.request": st.sampled_from(["", "request://10.0.0.9:65535"]),
        "link.orders": st.sampled_from(["", "ouch://DESK1@127.0.0.1:4003"]),
        "link.password_file": st.from_regex(r"[ -~]{0,80}", fullmatch=True),
        "host.on_feed_loss": st.sampled_from(["drain", "halt"]),
        "engine.huge_pages": st.sampled_from(["none", "2M", "1G"]),
        "risk.instrument": st.dictionaries(SYMBOLS, st.fixed_dictionaries({}, optional=PER_SYMBOL), max_size=3),
        "strategy.parameters": st.dictionaries(NAMES, NUMBERS, max_size=5),
        **EXCHANGE,
    }.get(key, st.booleans())


LISTED = {"tick": st.decimals(0, 1000, places=4).map(str), "lot": st.integers(1, 10**6)}
OWNED = {"cancel_on_disconnect": st.booleans()}
MADE = {"kind": st.sampled_from(["hawkes", "replay"]), "seed": st.integers(0, 1 << 62)}
EXCHANGE: dict[str, st.SearchStrategy[Any]] = {
    f"exchange.{key}": given
    for key, given in {
        "name": st.sampled_from(["ULTR", "X"]),
        "feed_a": st.sampled_from(["", "udp://127.0.0.1:4001"]),
        "feed_b": st.sampled_from(["", "udp://239.1.1.1:0"]),
        "interface": st.sampled_from(["", "10.0.0.7"]),
        "request": st.sampled_from(["", "request://127.0.0.1:0"]),
        "orders": st.sampled_from(["", "tcp://venue-1.example:65535"]),
        "socket": st.from_regex(r"[ -~]{0,80}", fullmatch=True),
        "queue": st.sampled_from(["fifo", "pro-rata", "my.own_models:queue"]),
        "fee": st.sampled_from(["none", "maker-taker"]),
        "latency": st.sampled_from(["none", "jitter"]),
        "instrument": st.dictionaries(SYMBOLS, st.fixed_dictionaries({}, optional=LISTED), max_size=3),
        "account": st.dictionaries(st.sampled_from(["A", "DESK01"]), st.fixed_dictionaries({}, optional=OWNED)),
        "generator": st.dictionaries(NAMES, st.fixed_dictionaries({}, optional=MADE), max_size=3),
    }.items()
}  # fmt: skip


PER_SYMBOL: dict[str, st.SearchStrategy[Any]] = {}
PER_SYMBOL |= {key: values(f"risk.{key}") for key in RISK_KEYS}


def mend(keys: dict[str, Any]) -> dict[str, Any]:
    """Values that are each right, made right together."""
    room = keys.get("engine.own_order_max", 4096)
    for own in keys.get("risk.instrument", {}).values():
        if "open_order_max" in own:
            own["open_order_max"] %= room + 1
    keys["risk.open_order_max"] = keys.get("risk.open_order_max", 64) % (room + 1)
    fits = min(keys.get("journal.ring_records", 65_536), keys.get("journal.segment_bytes", 1 << 26) // 128)
    keys["journal.batch_record_max"] = 1 + keys.get("journal.batch_record_max", 4096) % fits
    if "feed.instruments" in keys:
        keys["engine.instrument_max"] = 5 + keys.get("engine.instrument_max", 5) % 65_000
    return keys


ANY = st.fixed_dictionaries({}, optional={key: values(key) for key, *_ in describe()}).map(mend)


@settings(max_examples=150, deadline=None)
@given(ANY)
def test_to_toml_round_trips_exactly(overrides: dict[str, Any]) -> None:
    config = load(None, overrides)
    text = config.to_toml()
    again = parse(text, "again")
    assert again == config and again.to_toml() == text
    for key, value in overrides.items():
        section, name = key.split(".")
        read = getattr(getattr(again, section), name)
        assert read == (tuple(value) if isinstance(value, list) else value)
        if isinstance(read, Table):  # True == 1 == 1.0, but not to a strategy
            assert {k: type(v) for k, v in read.items() if not isinstance(v, Table)} == {
                k: type(v) for k, v in value.items() if not isinstance(v, dict)
            }


@settings(max_examples=100, deadline=None)
@given(
    st.text(max_size=40),
    st.dictionaries(st.text(max_size=8), st.integers() | st.text(max_size=8), max_size=3),
)
def test_no_text_and_no_override_ends_in_anything_but_an_answer(text: str, overrides: dict[str, object]) -> None:
    try:
        parse(text, "x", overrides)
    except ConfigError as error:
        assert error.problems


def test_equal_configs_give_equal_text() -> None:
    first = parse("[strategy.parameters]\nb = 1\na = 2\n[risk.instrument.B]\n[risk.instrument.A]", "x")
    second = parse("[risk.instrument.A]\n[risk.instrument.B]\n[strategy.parameters]\na = 2\nb = 1", "x")
    assert first == second and first.to_toml() == second.to_toml()
