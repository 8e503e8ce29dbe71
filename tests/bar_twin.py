"""A bar backtest in plain Python: lists, whole numbers without an end, one bar and one order at a time.

It shares nothing with `ultra.lab` but the strategy's `plan` and the numbers of the wire. What it does slowly and
obviously, the compiled loop must do to the last unit.
"""

from dataclasses import dataclass, field

from ultra.wire import AT_MARKET, BID, FILL_OR_KILL, IMMEDIATE, POST_ONLY, STOP

ONE, PPM, YEAR, SECOND = 10**9, 10**6, 365 * 86_400 + 21_600, 10**9
FILL, CANCELLED, REJECTED = 17, 18, 19
BAD_QTY, BAD_PRICE, NOTIONAL, POSITION, NO_ROOM, UNKNOWN, WOULD_TRADE, OFF = 3, 4, 6, 9, 13, 14, 16, 22
NOTHING, SEND, CANCEL, CANCEL_ALL, CANCEL_EVERY, REPLACE, TARGET = range(7)


def up(value, rate, whole=ONE):
    return -(-value * rate // whole)


@dataclass
class Bar:
    ts: int
    instrument: int
    opened: int
    high: int
    low: int
    close: int
    volume: int = 0


@dataclass
class Order:
    handle: int
    instrument: int
    side: int
    price: int
    qty: int
    flag: int
    since: int


@dataclass
class Terms:
    cash: int
    worth: list
    lots_max: list
    price_max: list
    maker: int  # rates of the value, in 1e-9
    taker: int
    maker_lot: int
    taker_lot: int
    least: int
    slip_ticks: int
    slip: int
    borrow: int  # a year, in 1e-6, as the next two
    debit: int
    margin: int
    touch: bool
    trade_from: int


@dataclass
class Twin:
    terms: Terms
    plan: object
    seed: int
    fills: list = field(default_factory=list)
    equity: list = field(default_factory=list)
    orders: list = field(default_factory=list)
    refused: int = 0
    fees: int = 0
    carry: int = 0
    rounds: int = 0
    won: int = 0
    held_ns: int = 0
    ruined: bool = False
    over: bool = False

    def __post_init__(self):
        count = len(self.terms.worth)
        self.cash = self.terms.cash
        self.position, self.last, self.so_far = [0] * count, [-1] * count, [0] * count
        self.newest, self.heard = [0] * count, [0] * count
        self.handles, self.next_handle = list(range(1, 9)), 9

    def run(self, bars):
        before = None
        for ts in sorted({bar.ts for bar in bars}):
            if self.ruined:
                self.equity.append(self.equity[-1])
                continue
            now = [bar for bar in bars if bar.ts == ts]
            if before is not None:
                self.time_passes(before, ts)
            for bar in now:
                self.meet(bar)
                self.last[bar.instrument] = bar.close
            for bar in now:
                self.ask(bar.instrument, ts, bar.close, 0)
            self.equity.append(self.worth())
            if self.worth() <= 0 or self.over:
                self.ruined, self.cash, self.orders = True, self.worth(), []
                self.position = [0] * len(self.position)
            before = ts
        return self

    def worth(self):
        return self.cash + sum(p * q * w for p, q, w in zip(self.position, self.last, self.terms.worth, strict=True))

    def time_passes(self, before, ts):
        if any(self.position):
            self.held_ns += ts - before
        seconds = ts // SECOND - before // SECOND
        shorts = sum(-p * q * w for p, q, w in zip(self.position, self.last, self.terms.worth, strict=True) if p < 0)
        cost = up(up(shorts, self.terms.borrow, PPM), seconds, YEAR)
        cost += up(up(max(-self.cash, 0), self.terms.debit, PPM), seconds, YEAR)
        self.cash -= cost
        self.carry += cost
        self.over |= max(abs(self.cash), abs(self.carry)) >= 1 << 61

    def meet(self, bar):
        waiting = [o for o in self.orders if o.instrument == bar.instrument and o.since < bar.ts]
        for order in waiting:
            if order not in self.orders:
                continue  # a hook took it back meanwhile
            outcome = self.price_of(order, bar)
            if outcome is None:
                continue
            self.orders.remove(order)
            if outcome == "cancel":
                kind, reason = (REJECTED, WOULD_TRADE) if order.flag & POST_ONLY else (CANCELLED, 0)
                self.refused += kind == REJECTED
                self.hear(order.instrument, kind, order.handle, reason)
                continue
            price, took = outcome
            cost = self.fee(order, price, took)
            if not self.carries(order, price, cost):
                self.refused += 1
                self.hear(order.instrument, REJECTED, order.handle, NOTIONAL)
                continue
            self.trade(order, price, took, cost, bar.ts)
            self.hear(order.instrument, FILL, order.handle, 0)
            self.ask(order.instrument, bar.ts, price, 1)

    def fee(self, order, price, took):
        terms, value = self.terms, order.qty * price * self.terms.worth[order.instrument]
        cost = value * (terms.taker if took else terms.maker) // ONE
        cost += order.qty * (terms.taker_lot if took else terms.maker_lot)
        return max(cost, terms.least) if cost >= 0 else cost

    def price_of(self, order, bar):
        buys, flag, limit = order.side == BID, order.flag, order.price
        sign = 1 if buys else -1

        def slipped(price):
            return max(0, price + sign * (self.terms.slip_ticks + up(price, self.terms.slip)))

        if flag & STOP:
            if buys and bar.high >= limit:
                return slipped(max(bar.opened, limit)), True
            if not buys and bar.low <= limit:
                return slipped(min(bar.opened, limit)), True
            return None
        if flag & AT_MARKET:
            return slipped(bar.opened), True
        if sign * bar.opened <= sign * limit:
            if flag & POST_ONLY:
                return "cancel"
            best = slipped(bar.opened)
            return (min(best, limit) if buys else max(best, limit)), True
        if flag & (IMMEDIATE | FILL_OR_KILL):
            return "cancel"
        extreme = bar.low if buys else bar.high
        through = sign * extreme < sign * limit or (self.terms.touch and extreme == limit)
        return (limit, False) if through else None

    def carries(self, order, price, cost):
        before = self.position[order.instrument]
        after = before + (order.qty if order.side == BID else -order.qty)
        if abs(after) <= abs(before) and (after >= 0) == (before >= 0):
            return True
        if not self.terms.margin:
            return True
        marks = list(self.last)
        marks[order.instrument] = price
        worth = self.terms.worth
        equity = self.cash - cost + sum(p * m * w for p, m, w in zip(self.position, marks, worth, strict=True))
        held = list(self.position)
        held[order.instrument] = after
        gross = sum(abs(p) * m * w for p, m, w in zip(held, marks, worth, strict=True))
        return gross * self.terms.margin <= equity * PPM

    def trade(self, order, price, took, cost, ts):
        i, worth = order.instrument, self.terms.worth[order.instrument]
        before, signed = self.position[i], order.qty if order.side == BID else -order.qty
        self.position[i] += signed
        self.cash -= signed * price * worth + cost
        self.fees += cost
        self.over |= max(abs(self.cash), abs(self.fees)) >= 1 << 61
        self.fills.append((ts, i, order.side, int(took), price, order.qty, cost, order.handle))
        closing = min(order.qty, abs(before)) if before * signed < 0 else 0
        paid = cost * closing // order.qty
        self.so_far[i] += closing * (1 if before > 0 else -1) * price * worth - paid if closing else 0
        if closing and closing == abs(before):
            self.rounds += 1
            self.won += self.so_far[i] > 0
            self.so_far[i] = 0
        opening = (order.qty - closing) * (1 if signed > 0 else -1)
        if opening:
            self.so_far[i] -= opening * price * worth + cost - paid

    def ask(self, instrument, ts, price, moment):
        """What the strategy does: at most one request of its plan at a time."""
        opens = sum(o.instrument == instrument for o in self.orders)
        what, other, side, at, qty, flag = self.plan(
            self.seed, ts, price, instrument, self.position[instrument], opens, moment, len(self.terms.worth)
        )
        if what == CANCEL:
            self.take_back([o for o in self.orders if o.handle == self.newest[instrument]])
        elif what == CANCEL_ALL:
            self.take_back([o for o in self.orders if o.instrument == instrument])
        elif what == CANCEL_EVERY:
            self.take_back(list(self.orders))
        elif what == REPLACE:
            old = next((o for o in self.orders if o.handle == self.newest[instrument]), None)
            if old is None:
                self.place(instrument, instrument, ts, BID, at, qty, flag, UNKNOWN)
            else:
                self.place(instrument, old.instrument, ts, old.side, at, qty, flag, 0, old)
        elif what == TARGET:
            missing = qty - self.position[instrument]
            missing -= sum(o.qty if o.side == BID else -o.qty for o in self.orders if o.instrument == instrument)
            if missing:
                self.place(
                    instrument, instrument, ts, BID if missing > 0 else 1 - BID, 0, abs(missing), AT_MARKET | IMMEDIATE
                )
        elif what == SEND:
            self.place(instrument, other, ts, side, at, qty, flag)

    def take_back(self, orders):
        for order in orders:
            self.orders.remove(order)
            self.hear(order.instrument, CANCELLED, order.handle, 0)

    def place(self, instrument, other, ts, side, at, qty, flag, reason=0, old=None):
        handle, self.handles[0] = self.handles[0], self.next_handle
        self.next_handle += 1
        self.newest[instrument] = handle
        reason = reason or self.judged(other, ts, side, at, qty, flag)
        if reason:
            self.refused += 1
            self.hear(other, REJECTED, handle, reason)
            return
        if old:
            self.take_back([old])
        self.orders.append(Order(handle, other, side, at, qty, flag, ts))

    def judged(self, i, ts, side, price, qty, flag):
        if ts < self.terms.trade_from or self.over:
            return OFF
        if qty <= 0:
            return BAD_QTY
        if (not flag & AT_MARKET or flag & STOP) and not 0 <= price <= self.terms.price_max[i]:
            return BAD_PRICE
        same = sum(o.qty for o in self.orders if o.instrument == i and o.side == side)
        if (
            qty > self.terms.lots_max[i]
            or same + (self.position[i] if side == BID else -self.position[i]) + qty > self.terms.lots_max[i]
        ):
            return POSITION
        return NO_ROOM if len(self.orders) >= 16 else 0

    def hear(self, instrument, kind, handle, aux):
        self.heard[instrument] = (self.heard[instrument] * 31 + kind * 7 + handle * 3 + aux) % 1_000_003
