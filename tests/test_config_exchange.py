"""The venue's configuration: what it comes to in units of ITCH, who sits at which index, what contradicts itself."""

from pathlib import Path

import pytest

from ultra.config import ConfigError, load, parse
from ultra.config_exchange import Account, Exchange, Instrument, contradictions, password

FILE = """
[exchange.instrument.ZZZ]
tick = "0.05"
price = "10.02"
band_bps = 100
[exchange.instrument.AAA]
[exchange.account.BOB]
[exchange.account.ANN]
cancel_on_disconnect = false
[exchange.generator.crowd]
instrument = "ZZZ"
rate_per_s = 5
account = "CROWD"
"""


def exchange(text: str) -> Exchange:
    return parse(text, "here.toml").exchange


def test_the_defaults_are_a_venue_that_can_start() -> None:
    assert list(contradictions(load(None).exchange)) == []


def test_indices_do_not_depend_on_the_order_of_the_file() -> None:
    found = exchange(FILE)
    assert list(found.instruments()) == ["AAA", "ZZZ"]
    assert list(found.accounts()) == ["ANN", "BOB", "CROWD"]
    assert not found.accounts()["ANN"].cancel_on_disconnect and found.accounts()["BOB"].cancel_on_disconnect
    assert found.generators()["crowd"].rate_per_s == 5
    assert parse(parse(FILE, "here.toml").to_toml(), "again").exchange == found


def test_prices_are_exact_multiples_of_the_tick() -> None:
    found = exchange(FILE).instruments()["ZZZ"]
    assert (found.tick_units, found.price_units, found.band_units) == (500, 100_000, (99_000, 101_000))
    low = Instrument(tick="0.01", price="0.03", band_bps=9999)
    assert low.band_units == (200, 500)
    assert Instrument(tick="0.00005").tick_units == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[exchange.instrument.A]\ntick = "0.00001"', "unit of ITCH"),
        ('[exchange.instrument.A]\nprice = "0.01"', "two ticks at least"),
        ("[exchange]\ninstrument = {}\ngenerator = {}", "at least one instrument"),
        ('[exchange.generator.g]\ninstrument = "NONE"', "there are ULTRA"),
        ('[exchange.generator.g]\naccount = "TRADER"', "clients log in as that"),
        ('[exchange.generator.g]\nkind = "replay"', "needs a recorded file"),
        ("[exchange.generator.g]\ncancel_permille = 900\nmove_permille = 900", "more than 1000 together"),
    ],
)
def test_what_contradicts_itself_is_named(text: str, said: str) -> None:
    found = list(contradictions(exchange(text)))
    assert len([line for line in found if said in line]) == 1, found


@pytest.mark.parametrize(
    "text",
    [
        "[exchange.instrument.TOOLONGNAME]", "[exchange.account.TOOLONG]", "[exchange.account.BOB]\npassword = 'x'",
        "[exchange.generator.g]\nkind = 'magic'", "[exchange.instrument]\nA = 1", "[exchange]\nqueue = 'a b'",
        "[exchange]\nname = 'FIVES'", "[exchange]\norders = 'ouch://127.0.0.1:0'",
    ],
)  # fmt: skip
def test_a_wrong_key_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="1 problem"):
        exchange(text)


def test_a_password_is_in_a_file_or_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ULTRA_PASSWORD", "ULTRA_PASSWORD_BOB"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "secret"
    file.write_text("from a file\n")
    assert password("BOB", Account()) == ""
    monkeypatch.setenv("ULTRA_PASSWORD", "anybody's")
    assert password("BOB", Account()) == "anybody's"
    monkeypatch.setenv("ULTRA_PASSWORD_BOB", "his own")
    assert password("BOB", Account()) == "his own"
    assert password("BOB", Account(password_file=str(file))) == "from a file"
