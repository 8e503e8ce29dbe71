"""The same moving-average cross by `backtesting` of PyPI: the same trades at the same prices, the same equity.

Stated rules, the same on both sides: an order decided at a close fills whole at the next bar's open, at that price;
commission is a share of the value of every fill; what is still open at the end is valued at the last close. Signals
are from sums of whole ticks on both sides, so that no rounding of an average decides. backtesting reckons in floats:
agreement is to nine digits. Its trades are first in first out, as ours.
"""

import numpy as np
import pytest
from bar_rig import T0, reel
from bar_twin import Bar

from ultra.lab.bars import Terms, run_bars
from ultra.lab.terms import Fees
from ultra.strategies.whole_cross import WholeCross

DAY = 86_400_000_000_000
LOTS = 10

pytestmark = pytest.mark.filterwarnings("ignore")


def market(seed: int, bars: int = 400) -> list[Bar]:
    """Bars with gaps: an open is not the close before it."""
    draw = np.random.default_rng(seed)
    close, rows = 10_000, []
    for k in range(bars):
        opened = max(500, close + int(draw.integers(-60, 61)))
        close = max(500, opened + int(draw.integers(-150, 156)))
        high = max(opened, close) + int(draw.integers(0, 40))
        low = min(opened, close) - int(draw.integers(0, 40))
        rows.append(Bar(T0 + k * DAY, 0, opened, high, low, close, 100))
    return rows


def theirs(rows: list[Bar], fast: int, slow: int, short: bool, commission: float):
    """Statistics of backtesting.py."""
    import pandas
    from backtesting import Backtest, Strategy

    ticks = np.array([bar.close for bar in rows])
    sums = {n: np.convolve(ticks, np.ones(n, np.int64))[: len(ticks)] for n in (fast, slow)}
    frame = pandas.DataFrame(
        {
            "Open": [bar.opened / 100 for bar in rows], "High": [bar.high / 100 for bar in rows],
            "Low": [bar.low / 100 for bar in rows], "Close": [bar.close / 100 for bar in rows],
        },
        index=pandas.to_datetime([bar.ts for bar in rows]),
    )  # fmt: skip

    class Cross(Strategy):
        def init(self):
            pass

        def next(self):
            at = len(self.data) - 1
            if at + 1 < max(fast, slow) or self.orders:
                return
            near, far = int(sums[fast][at]) * slow, int(sums[slow][at]) * fast
            wanted = LOTS if near > far else (-LOTS if short else 0) if near < far else self.position.size
            change = wanted - self.position.size
            if change > 0:
                self.buy(size=change)
            elif change < 0:
                self.sell(size=-change)

    return Backtest(frame, Cross, cash=50_000, commission=commission, finalize_trades=False).run()


@pytest.mark.parametrize(
    ("seed", "fast", "slow", "short", "bps"), [(1, 5, 20, False, 0), (2, 3, 11, True, 10), (3, 10, 30, True, 2.5)]
)
def test_a_moving_average_cross_is_the_one_of_backtesting(seed, fast, slow, short, bps):
    pytest.importorskip("backtesting")
    rows = market(seed)
    stats = theirs(rows, fast, slow, short, bps / 10_000)
    found = run_bars(
        WholeCross, reel(rows), [{"fast": fast, "slow": slow, "short": short, "lots": LOTS}],
        terms=Terms(cash=50_000, fees=Fees(taker_bps=bps)),
    )  # fmt: skip
    ours = found.performance()
    assert ours.total_return == pytest.approx(stats["Return [%]"] / 100, rel=1e-9)
    assert ours.max_drawdown == pytest.approx(-stats["Max. Drawdown [%]"] / 100, rel=1e-9)
    np.testing.assert_allclose(ours.equity_e9 / 1e9, stats["_equity_curve"]["Equity"].to_numpy(), rtol=1e-11)
    trips, trades = ours.trades(), stats["_trades"].sort_values(["ExitBar", "EntryBar"])
    assert len(trips) == len(trades) > 5
    assert trips["qty"].tolist() == trades["Size"].abs().tolist()
    assert (trips["side"] == 0).tolist() == (trades["Size"] > 0).tolist()
    index = {bar.ts: k for k, bar in enumerate(rows)}
    assert [index[ts] for ts in trips["opened_ts"].tolist()] == trades["EntryBar"].tolist()
    assert [index[ts] for ts in trips["closed_ts"].tolist()] == trades["ExitBar"].tolist()
    np.testing.assert_allclose(trips["opened_price"] / 100, trades["EntryPrice"], rtol=1e-12)
    np.testing.assert_allclose(trips["closed_price"] / 100, trades["ExitPrice"], rtol=1e-12)
    np.testing.assert_allclose(trips["pnl_e9"] / 1e9, trades["PnL"], atol=1e-8)
