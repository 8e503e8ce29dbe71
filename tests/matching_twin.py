"""A matching venue written to be read: lists in order of priority, one method a rule. Nothing is shared with the engine
but the numbers on the wire and the names of the reasons.

Every queue is one list of orders, best first; what an entry says is appended to `reports` and `public` as tuples in the
order of the fields of REPORT and RECORD.
"""

from bisect import insort_right
from typing import Any

from matching_parts import SHARES, Listing, Order, draw

from ultra.venues.matching_tape import REASONS
from ultra.wire import (
    ACCEPTED,
    ADD,
    ASK,
    AT_MARKET,
    AUCTION,
    BID,
    CANCEL,
    CANCEL_ORDER,
    CANCELLED,
    DELETE,
    END_OF_DAY,
    EXECUTE,
    FILL,
    FILL_OR_KILL,
    GOOD_TILL_CANCEL,
    HIDDEN,
    IMMEDIATE,
    MASS_CANCEL,
    NEW,
    NONE,
    NOT_PRINTABLE,
    ON_CLOSE,
    ON_OPEN,
    POST_ONLY,
    REJECTED,
    REPLACE,
    REPLACE_ORDER,
    REPLACED,
    SET_STATE,
    STATUS,
    STOP,
    STP_BOTH,
    STP_NEWEST,
    STP_OLDEST,
    TRADE,
    TRADING,
    TRIGGERED,
)  # fmt: skip

WHY = {name: number for number, name in enumerate(REASONS)}
LIT, DARK, WAITING, HELD = range(4)
AUCTIONS = ON_OPEN | ON_CLOSE
ALL_FLAGS = 2047
FOREVER = 1 << 60
BEYOND = 1 << 50  # an order at market in an auction stands beyond every price


class Twin:
    """The venue."""

    def __init__(self, listings: list[Listing], orders_max: int, accounts: int, share: str = "fifo") -> None:
        self.listings, self.accounts, self.share = listings, accounts, SHARES[share]
        self.slots = list(range(orders_max))[::-1]  # the last one given back is the next one taken
        self.fresh = 0
        self.used: dict[tuple[int, int], Order | None] = {}
        self.live: dict[int, Order] = {}
        self.refs = self.matches = self.now = 0
        self.reports: list[tuple[int, ...]] = []
        self.public: list[tuple[int, ...]] = []
        self.sequence = 0

    # ---- what is said

    def report(self, kind: int, o: Order, price: int, qty: int, flag: int, why: str = "none", aux: int = NONE) -> None:
        self.reports.append(
            (kind, o.side, flag, o.instrument, o.owner, WHY[why], o.id, self.now, price, qty, o.ref, aux)
        )

    def refuse(self, entry: dict[str, int], why: str) -> None:
        e = entry
        self.reports.append(
            (REJECTED, e["side"], e["flag"], e["instrument"], e["owner"], WHY[why], e["order_id"], e["ts_event"],
             e["price"], e["qty"], NONE, NONE)
        )  # fmt: skip

    def say(self, kind: int, instrument: int, side: int, ref: int, price: int, qty: int, flag: int, aux: int) -> None:
        self.public.append((kind, side, flag, instrument, self.sequence, self.now, self.now, ref, price, qty, aux))
        self.sequence += 1

    # ---- queues

    def queue(self, o: Order) -> list[Order]:
        assert o.queue is not None
        bit = {WAITING: o.side ^ 1, HELD: 0 if o.flag & ON_OPEN else 1}.get(o.queue, o.side)
        return self.listings[o.instrument].queues[o.queue][bit]

    def join(self, o: Order, queue: int, price: int) -> None:
        o.queue = queue
        highest_first = (o.side if queue != WAITING else o.side ^ 1) == BID if queue != HELD else True
        o.rank = -price if highest_first else price
        insort_right(self.queue(o), o, key=lambda other: other.rank)

    def leave(self, o: Order) -> None:
        self.queue(o).remove(o)
        o.reserve, o.shown, o.queue = o.open, 0, None

    def finish(self, o: Order) -> None:
        self.used[o.owner, o.id] = None
        del self.live[o.slot]
        self.slots.append(o.slot)

    def cancel(self, o: Order, why: str) -> None:
        if o.queue is not None:
            if o.queue == LIT:
                self.say(DELETE, o.instrument, o.side, o.ref, NONE, 0, 0, NONE)
            self.leave(o)
        self.report(CANCELLED, o, o.price, o.reserve, o.flag, why)
        self.finish(o)

    def rest(self, o: Order, replaces: int = 0) -> None:
        o.shown = min(o.reserve, o.display) if o.display else o.reserve
        o.reserve -= o.shown
        self.join(o, DARK if o.flag & HIDDEN else LIT, o.price)
        if o.queue == LIT:
            self.show(o, replaces)

    def show(self, o: Order, replaces: int = 0) -> None:
        if replaces:
            self.say(REPLACE, o.instrument, o.side, replaces, o.price, o.shown, 0, o.ref)
        else:
            self.say(ADD, o.instrument, o.side, o.ref, o.price, o.shown, 0, NONE)

    def aside(self, o: Order, queue: int, price: int) -> None:
        o.shown, o.reserve = o.reserve, 0
        self.join(o, queue, price)

    def shrink(self, o: Order, left: int) -> None:
        off = o.open - left
        unseen = min(off, o.reserve)
        o.reserve -= unseen
        o.shown -= off - unseen
        if off > unseen and o.queue == LIT:
            self.say(CANCEL, o.instrument, o.side, o.ref, NONE, off - unseen, 0, NONE)

    def taken_off(self, o: Order, lots: int) -> None:
        o.shown -= lots
        if o.shown == 0 and o.reserve > 0:
            self.queue(o).remove(o)
            o.shown = min(o.reserve, o.display)
            o.reserve -= o.shown
            self.refs += 1
            o.ref = self.refs
            self.join(o, LIT, o.price)
            self.show(o)
        elif o.shown == 0:
            self.leave(o)
            self.finish(o)

    def best(self, instrument: int, side: int) -> list[Order]:
        """The orders of the level that trades first on a side: displayed before hidden at one price."""
        queues = self.listings[instrument].queues
        lit, dark = queues[LIT][side], queues[DARK][side]
        first = dark if dark and (not lit or dark[0].rank < lit[0].rank) else lit
        return [o for o in first if o.rank == first[0].rank]

    # ---- an entry

    def enter(self, entry: dict[str, int]) -> None:
        self.now = entry["ts_event"]
        act = {
            NEW: self.new, CANCEL_ORDER: self.take_back, REPLACE_ORDER: self.replace, MASS_CANCEL: self.mass_cancel,
            SET_STATE: self.set_state, END_OF_DAY: self.end_of_day,
        }.get(entry["kind"])  # fmt: skip
        if act is None:
            self.refuse(entry, "bad_kind")
        else:
            act(entry)

    def new(self, entry: dict[str, int]) -> None:
        why = self.refusal(entry)
        if not why and not self.slots:
            why = "orders_full"
        if not why and (entry["owner"], entry["order_id"]) in self.used:
            why = "duplicate_id"
        if why:
            self.refuse(entry, why)
            return
        self.refs += 1
        o = Order(entry, self.refs, self.slots.pop())
        self.fresh = max(self.fresh, o.slot + 1)
        self.live[o.slot] = self.used[o.owner, o.id] = o
        self.report(ACCEPTED, o, o.price, o.open, o.flag)
        self.start(o, entry["aux"])

    def refusal(self, e: dict[str, int]) -> str:
        flag, qty, price, least, display = e["flag"], e["qty"], e["price"], e["aux"], e["display"]
        if not 0 <= e["instrument"] < len(self.listings):
            return "bad_instrument"
        if not 0 <= e["owner"] < self.accounts:
            return "bad_owner"
        if e["side"] not in (BID, ASK):
            return "bad_side"
        if e["order_id"] <= 0:
            return "bad_id"
        row = self.listings[e["instrument"]]
        auction, at_once = bool(flag & AUCTIONS), bool(flag & (IMMEDIATE | FILL_OR_KILL))
        post, stop, market = bool(flag & POST_ONLY), bool(flag & STOP), bool(flag & AT_MARKET)
        wrong = self.bad_qty(row, qty)
        if not wrong and (not market or flag & ~ALL_FLAGS):
            wrong = self.bad_price(row, price)
        if wrong:
            return wrong
        if (
            flag & ~ALL_FLAGS
            or flag & AUCTIONS == AUCTIONS
            or (post and (at_once or market or stop))
            or (auction and (at_once or post or stop))
        ):
            return "bad_flag"
        if stop and self.bad_price(row, e["stop"]):
            return "bad_stop"
        if display < 0 or display % row.lot or (display and (flag & HIDDEN or market or auction)):
            return "bad_display"
        if least < 0 or least > qty or (least and (post or flag & FILL_OR_KILL or stop or auction)):
            return "bad_least"
        if row.state not in (TRADING, AUCTION):
            return "wrong_state"
        if row.state == AUCTION and not stop and (at_once or post or least):
            return "wrong_state"
        if post and row.state == TRADING and self.would_trade(e["instrument"], e["side"], price):
            return "would_trade"
        return ""

    def bad_qty(self, row: Listing, qty: int) -> str:
        return "bad_qty" if not 0 < qty <= row.qty_max else "odd_lot" if qty % row.lot else ""

    def bad_price(self, row: Listing, price: int) -> str:
        return "price_band" if not row.low <= price <= row.high else "bad_tick" if price % row.tick else ""

    def would_trade(self, instrument: int, side: int, price: int) -> bool:
        facing = self.best(instrument, side ^ 1)
        return bool(facing) and (facing[0].price <= price if side == BID else facing[0].price >= price)

    def start(self, o: Order, least: int = 0, replaces: int = 0) -> None:
        row = self.listings[o.instrument]
        if o.flag & STOP:
            self.aside(o, WAITING, o.stop)
        elif o.flag & AUCTIONS and (row.state != AUCTION or not row.auction & o.flag & AUCTIONS):
            self.aside(o, HELD, 0)
        elif row.state == TRADING:
            self.launch(o, least, replaces)
        elif o.flag & (AUCTIONS | AT_MARKET):
            self.aside(o, DARK, o.price if o.price != NONE else BEYOND if o.side == BID else -BEYOND)
        else:
            self.rest(o, replaces)
        self.release(o.instrument)

    def launch(self, o: Order, least: int, replaces: int) -> None:
        wanted = o.open if o.flag & FILL_OR_KILL else least
        if wanted and self.available(o) < wanted:
            self.cancel(o, "all_or_nothing" if o.flag & FILL_OR_KILL else "least_not_met")
            return
        self.take(o)
        if o.slot not in self.live or self.live[o.slot] is not o:
            return
        if o.reserve == 0:
            self.finish(o)
        elif o.flag & (IMMEDIATE | FILL_OR_KILL | AT_MARKET):
            self.cancel(o, "unfilled")
        else:
            self.rest(o, replaces)

    def available(self, o: Order) -> int:
        """What it would get at once: an order of the same owner gives nothing; where it would end there, no more."""
        queues = self.listings[o.instrument].queues
        facing = [(x.rank, q, x) for q in (LIT, DARK) for x in queues[q][o.side ^ 1] if o.takes(x.price)]
        found = 0
        for level in sorted({(rank, q) for rank, q, _ in facing}):
            ahead = total = 0
            for x in (x for rank, q, x in facing if (rank, q) == level):
                if x.owner != o.owner or not o.flag & STP_BOTH:
                    ahead, total = ahead + x.shown, total + x.open
                elif o.flag & STP_NEWEST:
                    return found + ahead
            found += total
        return found

    def take(self, o: Order) -> None:
        """Trade, one pass over the best level after the other."""
        while o.reserve > 0:
            level = self.best(o.instrument, o.side ^ 1)
            if not level or not o.takes(level[0].price):
                return
            total = sum(x.shown for x in level)
            wanted = min(o.reserve, total)
            for x in level:
                if wanted == 0:
                    break
                if x.owner == o.owner and o.flag & STP_BOTH:
                    if o.flag & STP_OLDEST:
                        self.cancel(x, "self_trade")
                    if o.flag & STP_NEWEST:
                        self.cancel(o, "self_trade")
                        return
                    break
                lots = self.share(x.shown, wanted, total, draw(self.matches, x.ref))
                lots = min(max(lots, wanted - (total - x.shown)), x.shown, wanted)
                total -= x.shown
                wanted -= lots
                if lots:
                    self.trade(o, x, lots)

    def trade(self, o: Order, x: Order, lots: int) -> None:
        self.matches += 1
        o.reserve -= lots
        self.listings[o.instrument].last = x.price
        self.report(FILL, o, x.price, lots, 1, aux=self.matches)
        self.report(FILL, x, x.price, lots, 0, aux=self.matches)
        if x.queue == LIT:
            self.say(EXECUTE, x.instrument, x.side, x.ref, NONE, lots, 0, self.matches)
        else:
            self.say(TRADE, x.instrument, 0, NONE, x.price, lots, 0, self.matches)
        self.taken_off(x, lots)

    def release(self, instrument: int) -> None:
        """Stop orders whose trigger the last trade reached: the next one, which then may release others."""
        row = self.listings[instrument]
        if row.state != TRADING or row.last == NONE:
            return
        sells, buys = row.queues[WAITING]
        reached = [o for o in buys[:1] if o.stop <= row.last] or [o for o in sells[:1] if o.stop >= row.last]
        if reached:
            o = reached[0]
            self.leave(o)
            o.flag &= ~STOP
            self.refs += 1
            o.ref = self.refs
            self.report(TRIGGERED, o, o.price, o.open, o.flag)
            self.start(o)

    def found(self, entry: dict[str, int]) -> Order | None:
        return self.used.get((entry["owner"], entry["order_id"]))

    def take_back(self, entry: dict[str, int]) -> None:
        o, left = self.found(entry), entry["qty"]
        if o is None:
            self.refuse(entry, "unknown_order")
        elif left == 0:
            self.cancel(o, "by_owner")
        elif left < 0 or left >= o.open:
            self.refuse(entry, "bad_qty")
        elif left % self.listings[o.instrument].lot:
            self.refuse(entry, "odd_lot")
        else:
            off = o.open - left
            self.shrink(o, left)
            self.report(CANCELLED, o, o.price, off, o.flag, "by_owner")

    def keeps_place(self, o: Order, entry: dict[str, int]) -> bool:
        same = o.price in (NONE, entry["price"]) and (o.queue != WAITING or o.stop == entry["stop"])
        return same and entry["qty"] <= o.open

    def replace(self, entry: dict[str, int]) -> None:
        o = self.found(entry)
        why = self.bad_change(o, entry) if o else "unknown_order"
        if not why and entry["aux"] <= 0:
            why = "bad_id"
        if not why and (entry["owner"], entry["aux"]) in self.used:
            why = "duplicate_id"
        if why or o is None:
            self.refuse(entry, why)
            return
        self.used[o.owner, o.id] = None
        o.id = entry["aux"]
        self.used[o.owner, o.id] = o
        if self.keeps_place(o, entry):
            self.shrink(o, entry["qty"])
            self.report(REPLACED, o, o.price, o.open, o.flag, aux=entry["order_id"])
            return
        replaces, lit = o.ref, o.queue == LIT
        self.leave(o)
        self.refs += 1
        o.ref, o.reserve = self.refs, entry["qty"]
        o.price = o.price if o.price == NONE else entry["price"]
        o.stop = entry["stop"]
        trading = self.listings[o.instrument].state == TRADING
        if lit and trading and self.would_trade(o.instrument, o.side, o.price):
            self.say(DELETE, o.instrument, o.side, replaces, NONE, 0, 0, NONE)
            lit = False
        self.report(REPLACED, o, o.price, o.open, o.flag, aux=entry["order_id"])
        self.start(o, replaces=replaces if lit else 0)

    def bad_change(self, o: Order, entry: dict[str, int]) -> str:
        row = self.listings[o.instrument]
        if row.state not in (TRADING, AUCTION):
            return "wrong_state"
        wrong = self.bad_qty(row, entry["qty"]) or ("" if o.price == NONE else self.bad_price(row, entry["price"]))
        if wrong:
            return wrong
        if o.queue == WAITING and self.bad_price(row, entry["stop"]):
            return "bad_stop"
        moves = o.flag & POST_ONLY and row.state == TRADING and not self.keeps_place(o, entry)
        return "would_trade" if moves and self.would_trade(o.instrument, o.side, entry["price"]) else ""

    # ---- the operator

    def mass_cancel(self, entry: dict[str, int]) -> None:
        instrument = entry["instrument"]
        if instrument != NONE and not 0 <= instrument < len(self.listings):
            self.refuse(entry, "bad_instrument")
        elif not 0 <= entry["owner"] < self.accounts:
            self.refuse(entry, "bad_owner")
        else:
            for _, o in sorted(self.live.items()):
                if o.owner == entry["owner"] and instrument in (NONE, o.instrument):
                    self.cancel(o, "mass")

    def end_of_day(self, entry: dict[str, int]) -> None:
        for _, o in sorted(self.live.items()):
            if not o.flag & GOOD_TILL_CANCEL:
                self.cancel(o, "day_over")
        self.used = {(o.owner, o.id): o for o in self.live.values()}

    def set_state(self, entry: dict[str, int]) -> None:
        instrument, state = entry["instrument"], entry["aux"]
        if not 0 <= instrument < len(self.listings):
            self.refuse(entry, "bad_instrument")
            return
        if not TRADING <= state <= AUCTION:
            self.refuse(entry, "bad_state")
            return
        row = self.listings[instrument]
        if state == TRADING:
            self.uncross(instrument)
            for _, o in sorted(self.live.items()):
                if o.instrument == instrument and o.queue == DARK and o.flag & (AUCTIONS | AT_MARKET):
                    self.cancel(o, "auction_over")
        row.state, row.auction = state, entry["flag"] & AUCTIONS if state == AUCTION else 0
        self.say(STATUS, instrument, 0, NONE, NONE, 0, 0, state)
        if row.auction:
            for o in list(row.queues[HELD][0 if row.auction & ON_OPEN else 1]):
                self.leave(o)
                self.start(o)
        self.release(instrument)

    def auction_price(self, instrument: int) -> tuple[int, int]:
        """The price, and how many lots trade at it."""
        row = self.listings[instrument]
        bids, asks = ([o for q in (LIT, DARK) for o in row.queues[q][side]] for side in (BID, ASK))
        prices = {o.price for o in bids + asks if o.price != NONE} | ({row.last} - {NONE})

        def merit(price: int) -> tuple[int, int, int, int]:
            demand = sum(o.open for o in bids if o.takes(price))
            supply = sum(o.open for o in asks if o.takes(price))
            away = abs(price - row.last) if row.last != NONE else 0
            return min(demand, supply), -abs(demand - supply), -away, price

        best = max(map(merit, prices), default=(0, 0, 0, NONE))
        return best[3], best[0]

    def uncross(self, instrument: int) -> None:
        price, left = self.auction_price(instrument)
        qty = left
        while left > 0:
            pair = [self.best(instrument, side)[0] for side in (BID, ASK)]
            lots = min(left, *(o.shown for o in pair))
            left -= lots
            self.matches += 1
            for o in pair:
                self.report(FILL, o, price, lots, 0, aux=self.matches)
                if o.queue == LIT:
                    self.say(EXECUTE, instrument, o.side, o.ref, price, lots, NOT_PRINTABLE, self.matches)
            for o in pair:
                self.taken_off(o, lots)
        if qty > 0:
            self.matches += 1
            self.listings[instrument].last = price
            self.say(TRADE, instrument, 0, NONE, price, qty, 0, self.matches)

    # ---- what it all comes to

    def rows(self) -> list[Any]:
        """Every order in a queue, in order of priority."""
        return [
            (i, q, bit, o.ref, o.owner, o.id, o.price, o.shown, o.reserve, o.flag, o.slot)
            for i, row in enumerate(self.listings)
            for q in range(4)
            for bit in range(2)
            for o in row.queues[q][bit]
        ]
