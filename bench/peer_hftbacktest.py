"""hftbacktest (PyPI) on recorded events, with the strategy of `bench_backtest`: one line of JSON.

    PYTHON bench/peer_hftbacktest.py EVENTS.npz TICK LOT ROUNDS

PYTHON is that of an environment with hftbacktest in it, which wants an older NumPy than ours. It quotes both sides at
the touch and moves a quote that the touch has left by more than DRIFT ticks, as `ultra.strategies.maker` does; it looks
at every feed event, as that does. Seconds are of this thread's processor time, so that neighbours count less.
"""

import json
import sys
import time

import numpy as np
from hftbacktest import GTX, LIMIT, BacktestAsset, HashMapMarketDepthBacktest
from numba import njit

QTY, POSITION_MAX, DRIFT = 1, 10, 10


@njit
def make(hbt, tick, lot, qty, position_max, drift):
    """Events seen, and orders sent."""
    seen, sent, fresh = 0, 0, 1
    bid_id, ask_id, bid_at, ask_at, last_bid, last_ask = 0, 0, 0, 0, 0, 0
    while hbt.wait_next_feed(False, 1_000_000_000_000) == 2:
        seen += 1
        depth = hbt.depth(0)
        bid, ask = depth.best_bid_tick, depth.best_ask_tick
        if (bid == last_bid and ask == last_ask) or ask <= bid:
            continue
        last_bid, last_ask = bid, ask
        hbt.clear_inactive_orders(0)
        orders, held = hbt.orders(0), hbt.position(0)
        if bid_id and bid_id not in orders:
            bid_id = 0
        if ask_id and ask_id not in orders:
            ask_id = 0
        if bid_id:
            if abs(bid - bid_at) > drift and orders.get(bid_id).cancellable:
                hbt.cancel(0, bid_id, False)
        elif held + qty * lot <= position_max * lot:
            hbt.submit_buy_order(0, fresh, bid * tick, qty * lot, GTX, LIMIT, False)
            bid_id, bid_at, fresh, sent = fresh, bid, fresh + 1, sent + 1
        if ask_id:
            if abs(ask - ask_at) > drift and orders.get(ask_id).cancellable:
                hbt.cancel(0, ask_id, False)
        elif held - qty * lot >= -position_max * lot:
            hbt.submit_sell_order(0, fresh, ask * tick, qty * lot, GTX, LIMIT, False)
            ask_id, ask_at, fresh, sent = fresh, ask, fresh + 1, sent + 1
    return seen, sent


@njit
def idle(hbt):
    """Nothing but the market, a second at a time: as fast as it goes."""
    while hbt.elapse(1_000_000_000) == 0:
        pass


def asset(events, tick, lot):
    """One instrument, orders 10 us away."""
    return HashMapMarketDepthBacktest([
        BacktestAsset().data([events]).linear_asset(1.0).constant_order_latency(10_000, 0).risk_adverse_queue_model()
        .no_partial_fill_exchange().trading_value_fee_model(0.0, 0.0).tick_size(tick).lot_size(lot)
    ])  # fmt: skip


def main(path, tick, lot, rounds):
    events = np.load(path)["data"]
    found = {"events": len(events)}
    for name in ("idle", "make"):
        best = float("inf")
        for _ in range(rounds + 1):  # the first compiles
            hbt = asset(events, tick, lot)
            begun = time.thread_time()
            got = idle(hbt) if name == "idle" else make(hbt, tick, lot, QTY, POSITION_MAX, DRIFT)
            best = min(best, time.thread_time() - begun)
            hbt.close()
        found[f"{name}_s"] = best
        if name == "make":
            found["seen"], found["sent"] = (int(value) for value in got)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
