"""One bug at a time, planted in a copy of the hot path, and the test that must see it.

A line is (file, old text, new text, test). The old text occurs exactly once. What is listed was seen to be caught;
a test that stops catching its mutant has lost its teeth, however green it is.
"""

from mutant import Mutant
from mutants_bars import BARS_LAB
from mutants_cold import COLD, WINDOWS
from mutants_lab import LAB

LEVELS = "test_levels.py::test_a_book_of_levels_behaves_as_a_dict_of_quantities"
RULE_SIX = "test_levels.py::test_our_order_in_a_book_of_levels_moves_as_rule_six_says"
BARS = "test_bar.py::test_a_bar_is_read_as_it_was_written"
NEAR = "test_math.py::test_a_function_is_as_near_to_the_true_value_as_it_says"
PLANTED = "test_strategy_check.py::test_what_can_not_be_in_a_hook_is_shown_with_its_place_and_what_to_write"
CONTRACT = "test_contract.py::test_"
SIGNALLED = "test_contract.py::test_a_signal_is_of_one_instrument_or_of_all_and_is_answered"
BOOK = "test_book.py::test_a_book_behaves_as_a_dict_of_orders"
LADDER = "test_ladder.py::test_a_ladder_behaves_as_sorted_lists"
POOL = "test_pool.py::test_a_pool_behaves_as_a_stack_of_free_slots"
TABLE = "test_table.py::test_a_table_behaves_as_a_dict"
FULL = "test_table.py::test_full_is_an_outcome_and_a_removal_makes_room_again"
RING = "test_ring.py::test_a_ring_behaves_as_a_bounded_deque"
POST = "test_post.py::test_a_post_behaves_as_a_bounded_deque"
FAN = "test_fan.py::test_a_fan_behaves_as_one_list_with_many_readers"
BEHIND = "test_fan.py::test_those_behind_a_dead_consumer_fall_back_on_whom_it_waited_for"
BETWEEN = "test_fan.py::test_a_consumer_that_attaches_while_the_producer_looks_is_not_overwritten"
CROWD = "test_crowd.py::test_a_crowd_behaves_as_one_list_of_claims"
MERGE = "test_merge.py::test_the_earliest_head_comes_first_and_turns_are_kept"
BELL = "test_wait.py::test_a_bell_rings_only_for_somebody_and_once"
NET = "test_net.py::test_packets_arrive_as_a_queue_of_bytes"
WINDOW = "test_mold_window.py::test_a_window_behaves_as_a_dict_of_messages"
PLAIN = "test_mold_fuzz.py::test_a_receiver_delivers_what_a_plain_reading_delivers"
UNANSWERED = "test_mold.py::test_without_its_server_a_gap_makes_the_books_stale_and_asking_ends"
EACH_TRY = "test_mold.py::test_each_try_waits_twice_as_long"
OTHER = "test_mold.py::test_another_session_is_an_outcome_and_a_restart_begins_it"
DATAGRAM = "test_mold_ends.py::test_a_packet_is_what_it_says_or_malformed"
SENDER = "test_mold_ends.py::test_a_sender_sends_the_archive_in_full_packets_on_every_line"
ANSWER = "test_mold_ends.py::test_a_request_is_answered_to_whom_it_came_from"
FAULT = "test_mold_ends.py::test_each_fault_does_what_it_is_called_and_is_counted"
SEGMENTS = "test_pcap.py::test_segments_in_any_order_and_overlap_are_the_stream_once"
FOLLOWED = "test_pcap.py::test_numbers_are_followed"
ORDERS = "test_orders.py::test_orders_behave_as_a_dict_of_states"
SAMPLE = "test_histogram.py::test_a_percentile_is_at_most_a_thirty_second_above_the_sorted_sample"
RATE = "test_risk.py::test_no_second_holds_more_orders_than_the_rate"
BOUNDARY = "test_risk.py::test_the_market_decides_just_at_the_boundary"
LOCKSTEP = "test_apart.py::test_whoever_is_ahead_it_is_the_same_engine"
REBORN = "test_apart.py::test_a_feed_that_dies_anywhere_sends_nothing_twice"
GATED = "test_apart.py::test_a_gated_request_waits_until_its_cause_is_on_disk"
AGENTS = "test_agents.py::test_agents_know_of_their_orders_what_a_dict_knows"
SAID = "test_itch_feed.py::test_what_is_said_is_what_a_decoder_hears"
TRADED = "test_floor.py::test_clients_trade_with_each_other_and_are_told"
AGAIN = "test_floor.py::test_a_latency_holds_entries_back_and_a_log_still_gives_the_venue"
LEAVES = "test_floor.py::test_who_leaves_takes_the_orders_along_unless_they_are_kept"
PIECES = "test_floor.py::test_neither_the_length_of_a_turn_nor_the_size_of_a_ring_changes_what_is_said"
LOADED = "test_load.py::test_each_number_is_settled_once_and_only_what_rests_is_asked_for_again"
OPEN_BY = "test_background.py::test_what_is_entered_is_what_the_recording_says_is_open"
HALF = "test_agents.py::test_what_is_excited_halves_with_the_half_life"
WIRED = "test_wired.py::test_a_held_request_waits_for_the_disk_and_the_market_does_not"
WHOLE_DAY = "test_wired.py::test_a_fresh_run_on_an_account_that_traded_has_its_position_and_may_cancel_its_orders"
OPERATOR = "test_operator.py::test_an_operator_is_answered_as_a_dict_of_orders_would_be"
SWITCHED = "test_operator.py::test_a_strategy_is_switched_off_for_one_instrument_and_its_operator_is_not"
HALF_SENT = "test_operator.py::test_half_a_replacement_never_leaves"
REFILLED = "test_operator.py::test_a_strategy_that_had_every_handle_may_send_again_when_one_comes_back"
REINDEX = "test_reindex.py::test_tables_made_again_are_those_of_the_book"
WRONG_ROW = "test_reindex.py::test_a_row_that_can_not_be_right_is_counted"
UNSET = "test_risk.py::test_a_limit_that_is_not_set_refuses_even_the_smallest_order"
WHOLE = "test_ouch.py::test_an_appendage_is_tiled_by_its_tags"
PACKET = "test_ouch.py::test_a_packet_is_whole_or_not_or_hostile"
SECOND = "test_throttle.py::test_a_second_holds_exactly_the_limit"
AGREED = "test_order_session.py::test_after_any_losses_both_sides_know_the_same"
STALE = "test_order_session.py::test_an_answer_to_a_question_of_a_lost_link_proves_nothing"
ARRIVED = "test_order_session.py::test_an_order_that_the_venue_has_not_answered_yet_is_not_refused"
LOST = "test_order_session.py::test_a_cancel_that_was_lost_is_asked_again"
SKIPPED = "test_order_session.py::test_a_number_whose_place_is_held_is_skipped"
CANCELS = "test_order_session.py::test_orders_above_the_rate_are_refused_and_cancels_still_leave"
BELIEF = "test_order_desk.py::test_clients_believe_what_the_engine_knows"
REPEATED = "test_order_desk.py::test_a_number_that_does_not_increase_is_ignored"
ALONG = "test_order_desk.py::test_a_lost_link_takes_the_orders_along_unless_they_are_kept"
HEIRS = "test_order_desk.py::test_an_order_that_ends_takes_its_replacement_with_it"
INHERITS = "test_order_desk.py::test_a_replacement_inherits_what_was_executed"
REPLAY = "test_order_desk.py::test_a_client_that_comes_back_gets_what_it_asks_for"
MATCHING = "test_matching.py::test_the_engine_and_its_twin_say_the_same"
ROOM = "test_matching.py::test_an_entry_that_fills_the_rings_goes_on_where_it_was"
NUMBERS = "test_matching.py::test_numbers_behave_as_a_dict"
RULES = "test_matching_rules.py::test_"
BOUNDS = RULES + "the_bounds_of_band_and_size_are_allowed"
TIES = RULES + "the_auction_price_and_its_tie_breaks"
QUEUE, DESK, AUCTION = "venues/matching_queue", "venues/matching_desk", "venues/matching_auction"
MUTANTS = (
    # The queue: an order taken out of the middle, or from the end.
    Mutant("book", "book.orders[after].prev = before", "book.orders[after].prev = NONE", BOOK),
    Mutant("book", "row.tail = before if after < 0", "row.tail = after if after < 0", BOOK),
    Mutant("book", "if qty >= left:", "if qty > left:", BOOK),
    Mutant("book", "        tables.remove(book.ids, order_id)\n", "", BOOK),
    # A level that is gone stays the best; one that is not new is announced again; orders among levels.
    Mutant("book", "    if qty == 0 and before > 0:", "    if qty == 0 and before > 1:", LEVELS),
    Mutant("book", "    elif qty > 0 and before == 0:", "    elif qty > 0:", LEVELS),
    Mutant("book", "        return MIXED\n", "        pass\n", LEVELS),
    Mutant("book", "        if one.levels + other.levels > 0:", "        if one.levels > 0:", LEVELS),
    Mutant("venues/paper", "row.ahead = min(row.ahead, record.qty)", "row.ahead = record.qty", RULE_SIX),
    Mutant("venues/paper", "max(record.qty - record.aux, 0) if", "record.qty if", RULE_SIX),
    Mutant("bar", "return event.price + (event.aux >> 32)", "return event.price + (event.aux >> 31)", BARS),
    Mutant(
        "engine",
        "first, last = np.int64(0), cells[INSTRUMENTS]\n            elif instrument >=",
        "pass\n            elif instrument >=",
        SIGNALLED,
    ),
    # What a strategy means: half of a replacement, an operator's order taken back, a target ordered twice, a price
    # beyond the collar; a bar that ends late, or forgets its low.
    Mutant(
        "engine_requests",
        "if rings.room(engine.output, 2) < 2",
        "if rings.room(engine.output, 2) < 1",
        CONTRACT + "half_a_replacement_never_leaves",
    ),
    Mutant(
        "engine_requests",
        " and row.owner == own.STRATEGY",
        "",
        CONTRACT + "all_orders_of_one_instrument_or_of_every_one_are_taken_back",
    ),
    Mutant(
        "outbox", " - pending(orders, instrument)", "", CONTRACT + "a_target_is_what_is_missing_to_it_and_is_sent_once"
    ),
    Mutant(
        "risk",
        "(twice + away) // 2 //",
        "(twice + away + 2) // 2 //",
        CONTRACT + "an_order_at_market_is_sent_with_the_worst_price_of_the_collar",
    ),
    Mutant(
        "engine",
        "return cells[NOW] >= cells[BAR_AT]",
        "return cells[NOW] > cells[BAR_AT]",
        CONTRACT + "a_bar_may_end_by_a_timer_and_is_stamped_at_its_border",
    ),
    Mutant(
        "bar",
        "row.low = min(row.low, price)",
        "row.low = price",
        CONTRACT + "bars_are_made_of_trades_and_end_with_the_first_input_at_or_after_the_border",
    ),
    # What the first double can't hold is dropped: the digits of 1 + x, of a product; a draw that is mixed otherwise.
    Mutant("math", "_log_of(float(k), m - 1.0, low / high)", "_log_of(float(k), m - 1.0, 0.0)", NEAR + "[log1p]"),
    Mutant(
        "math", "    rest += low * y\n", "", "test_math.py::test_powers_are_as_near_as_they_say_and_whole_ones_exact"
    ),
    Mutant(
        "random",
        "folded(value, 27)",
        "folded(value, 26)",
        "test_math.py::test_draws_are_those_of_the_seed_and_stay_in_their_range",
    ),
    # A hook is read, but what it calls is not; a caret stands a word too far; a clock passes; a float becomes a price.
    Mutant(
        "strategy_check",
        "            self.helpers.append(plain)\n",
        "            pass\n",
        PLANTED + "[state.seen = helper(1)]",
    ),
    Mutant("strategy_check", "[: column + self._indent]", "[: column + self._indent + 1]", PLANTED + "[yield 1]"),
    Mutant(
        "strategy_check",
        "return owner.__module__ if isinstance(owner, type)",
        'return "" if isinstance(owner, type)',
        PLANTED + "[now = datetime.datetime.now()]",
    ),
    Mutant("strategy_check", "return isinstance(node.op, ast.Div) or", "return", PLANTED),
    # A search that forgets what the object was given.
    Mutant(
        "accelerated",
        " if key not in parameter_ranges}",
        " if key in parameter_ranges}",
        "test_accelerated.py::test_a_search_keeps_what_the_object_was_given",
    ),
    # A step is refined, but one side keeps its own.
    Mutant("restep", "for side in (low, low + 1):", "for side in (low,):", BOOK),
    # An inner node is left set above an empty page; the page a side remembers is swept from under it.
    Mutant("ladder", "(before if occupied else after) != 0", "(before if occupied else after) == 0", LADDER),
    Mutant("ladder", "        ladder.sides[s].page_price = NO_PAGE\n", "        pass\n", LADDER),
    Mutant("ladder", "word = below(word, position) if bid", "word = below(word, position + 1) if bid", LADDER),
    # A handle outlives its slot; the pool ends one slot too early.
    Mutant("pool", "np.int64(pool.generation[slot]) != handle >> 32", "handle >> 32 < 1", POOL),
    Mutant("pool", "elif cells[FRESH] < len(pool.free):", "elif cells[FRESH] + 1 < len(pool.free):", POOL),
    # A key is left behind a gap; a run that goes round the end is not followed.
    Mutant("table", ">= ((row - gap) & (size - 1)):", "> ((row - gap) & (size - 1)):", TABLE),
    Mutant("table", "elif cells[USED] * 2 >= size:", "elif cells[USED] * 2 > size:", FULL),
    # Tables made again: with orders that are gone, without the last node; a slot that is free twice passes.
    Mutant("reindex", "if gone[slot] == 0:", "if gone[slot] >= 0:", REINDEX),
    Mutant("reindex", "leaves + book.ladder.inner.cells[pools.FRESH])", "leaves + 1)", REINDEX),
    Mutant("reindex", " or gone[slot] != 0:", ":", WRONG_ROW),
    # A stale gate is believed; a batch is published as one record.
    Mutant("ring", "if free < wanted:\n        cells[GATE", "if free < 0:\n        cells[GATE", RING),
    Mutant("ring", "ring.cells[CURSOR] + count)", "ring.cells[CURSOR] + 1)", RING),
    Mutant("ring", "            cells[FULL] += 1\n", "            pass\n", RING),
    # A mark of the lap before is believed; a slot that was not given back is filled.
    Mutant("post", "== sequence + 1 else NONE", "<= sequence + 1 else NONE", POST),
    Mutant("post", "            cells[FULL] += 1\n            return NONE\n", "            cells[FULL] += 1\n", POST),
    # A gate that is not the slowest; a dead consumer that is waited for, or whose own upstream is forgotten with it;
    # one that comes back too far behind, or ahead.
    Mutant("fan", "        _look(cells)\n", "        pass\n", FAN),
    Mutant(
        "fan", "least = min(least, load_acquire(cells, GATE + k * STRIDE))", "least = cells[GATE + k * STRIDE]", FAN
    ),
    Mutant("fan", "if least <= known:", "if least <= known + 1:", FAN),
    Mutant("fan", "upstream = mask & cells[UPSTREAM + k]", "upstream = cells[UPSTREAM + k]", FAN),
    Mutant("fan", "cells[UPSTREAM + k] |= cells[UPSTREAM + other]", "pass", BEHIND),
    Mutant("fan", "granted = max(wanted, load_acquire(cells, GATE_SEEN))", "granted = wanted", FAN),
    Mutant("fan", "wanted = min(sequence, load_acquire(cells, CURSOR))", "wanted = sequence", FAN),
    Mutant("fan", "fan.cells[CURSOR] + count)", "fan.cells[CURSOR] + 1)", FAN),
    Mutant("fan", "            cells[FULL] += 1\n", "            pass\n", FAN),
    # What the producer saw is believed though somebody came back meanwhile, or is written too late for them to see.
    Mutant("fan", "if fetch_add(cells, ATTACHES, 0) == attaches:", "if fetch_add(cells, ATTACHES, 0) >= 0:", BETWEEN),
    Mutant("fan", "    fetch_add(cells, ATTACHES, 1)\n", "", BETWEEN),
    # A batch without its first slot; a claim beyond the gate; a hole that is nobody's, filled twice, or looks valid.
    Mutant("crowd", "first + count - 1, first - 1, -1", "first + count - 1, first, -1", CROWD),
    Mutant("crowd", "FULL, 1)\n                return NONE", "FULL, 1)", CROWD),
    Mutant("crowd", "cells[own + COUNT] = count", "cells[own + COUNT] = 1", CROWD),
    Mutant("crowd", "or held >= sequence + 1:", "or held > sequence + 1:", CROWD),
    Mutant("crowd", "    crowd.slots[slot].kind = 0\n", "", CROWD),
    # A tie that the later ring wins; a turn that always begins with the first.
    Mutant("merge", "ts < least:", "ts <= least:", MERGE),
    Mutant("merge", "k = (last + step) % len(inputs)", "k = step % len(inputs)", MERGE),
    # A mark that is left behind costs a system call a record; without the count the sleeper misses the bell.
    Mutant("wait", "    store_release(cells, RING_SLEEPERS, 0)\n", "", BELL),
    Mutant("wait", "    fetch_add(cells, RING_BELL, 1)\n", "", BELL),
    # A packet sent with all of its room; a block that the kernel says less about each time; a cut that nobody counts.
    Mutant("net", "+ 1] = packets.lengths[k]\n", "+ 1] = packets.stride\n", NET),
    Mutant("net", "            _control(packets, k, headers[at + CONTROL_BYTES] >> 3)\n", "            pass\n", NET),
    Mutant("net", "(headers[at + PACKET_FLAGS] & TRUNC) != 0", "0", NET),
    # A message one slot too far ahead; one that came twice and is held for ever; a wait that is counted twice.
    Mutant("mold_window", "sequence >= cells[NEXT] + len(", "sequence > cells[NEXT] + len(", WINDOW),
    Mutant("mold_window", "            cells[HELD] -= 1\n            cells[DUP", "            cells[DUP", WINDOW),
    Mutant("mold_window", "        window.since[slot] = 0\n", "        pass\n", WINDOW),
    # A message delivered twice; a packet of another session; a gap that is shown as whole; no back-off.
    Mutant("mold_receiver", "mold.skip(receiver.packets.block, cells[POSITION], behind)", "cells[POSITION]", PLAIN),
    Mutant("mold_receiver", "cells[HIGH] and low == cells[LOW]", "cells[HIGH]", OTHER),
    Mutant("mold_receiver", "state, why = STALE, GAP", "state, why = LIVE, GAP", UNANSWERED),
    Mutant("mold_receiver", "limits.backoff_ns << min(cells[TRIES], 32)", "limits.backoff_ns", EACH_TRY),
    # A packet with something behind it; a packet too long; a batch that only one line gets; what does not exist.
    Mutant("moldudp64", "found == many and body == stop", "found == many", DATAGRAM),
    Mutant("mold_archive", "mold.PAYLOAD_MAX) - mold.HEADER", "mold.PAYLOAD_MAX)", SENDER),
    Mutant("mold_sender", "            sender.sent[line] = 0\n", "            pass\n", SENDER),
    Mutant("mold_server", "first + min(many, cells[MESSAGES_MAX])", "first + many", ANSWER),
    Mutant("faults", " and due <= faults.numbers[line]", "", FAULT),
    # A segment that overlaps is given twice; a SYN that takes no number; a restart that is a repetition.
    Mutant("capture", "body[(self._next - behind) % WRAP :]", "body", SEGMENTS),
    Mutant("capture", "(packet.sequence + bool(packet.flags & SYN))", "packet.sequence", SEGMENTS),
    Mutant("pcap", "elif first < due and first == 1:", "elif first < due and first == 0:", FOLLOWED),
    # A fill that overtakes its acceptance; a fill that says too much; what is open when an order ends.
    Mutant("orders", "(SENT, ON_FILL, LIVE)", "(SENT, ON_FILL, SENT)", ORDERS),
    Mutant("orders", "if qty > row.qty - row.filled:", "if qty > row.qty:", ORDERS),
    Mutant("orders", "left = row.qty - row.filled\n", "left = row.qty\n", ORDERS),
    Mutant("histogram", "low + (1 << shift) - 1", "low + (1 << shift) - 2", SAMPLE),
    Mutant("histogram", "if value > histogram.largest[0]:", "if value < histogram.largest[0]:", SAMPLE),
    # A limit off by one, a limit not set, what is open not counted, a slice that is never emptied.
    Mutant("risk", "if view.open_orders >= limits", "if view.open_orders > limits", BOUNDARY),
    Mutant("risk", "view.position + view.open_bid_qty if", "view.position if", BOUNDARY),
    Mutant("risk", "if bps <= 0 or abs", "if abs", UNSET),
    Mutant("risk", "        risk.recent[SLICES + k] = 0\n", "", RATE),
    Mutant("risk", "if risk.recent[k] > oldest:", "if risk.recent[k] > oldest + 1:", RATE),
    # Matching: time without its tail, a slice that keeps its place, hidden before displayed, lots lost off a level.
    Mutant(QUEUE, "    order.prev = tail\n", "    order.prev = head\n", MATCHING),
    Mutant(
        QUEUE,
        "    leave(venue, slot)\n    lots = min(order.reserve, venue.more[slot].display)\n    order.reserve -= lots\n",
        "    lots = min(order.reserve, venue.more[slot].display)\n    order.reserve -= lots\n    return\n",
        RULES + "an_iceberg_shows_a_slice_and_the_next_one_goes_to_the_back",
    ),
    Mutant(
        QUEUE,
        "hidden < shown if side == BID else hidden > shown) else lit",
        "hidden <= shown if side == BID else hidden >= shown) else lit",
        RULES + "displayed_orders_trade_before_hidden_ones_at_a_price_and_hidden_ones_print_as_trades",
    ),
    Mutant(QUEUE, "    unseen = min(off, order.reserve)\n", "    unseen = np.int64(0)\n", MATCHING),
    # A replacement with more keeps its place; a stop that was passed waits; nothing outlives the day.
    Mutant(
        DESK,
        "same and entry.qty <= open_lots(order)",
        "same",
        RULES + "a_replacement_keeps_its_place_only_with_less_at_the_same_price",
    ),
    Mutant(DESK, "if up == NONE or up > last:", "if up == NONE or up >= last:", MATCHING),
    Mutant(DESK, "order.flag & GOOD_TILL_CANCEL == 0", "True", MATCHING),
    # A band or a size that is off by one; nobody prevents a self-trade.
    Mutant("venues/matching_rules", "price > listing.high", "price >= listing.high", BOUNDS),
    Mutant("venues/matching_rules", "qty > listing.qty_max", "qty >= listing.qty_max", BOUNDS),
    Mutant(
        "venues/matching",
        "order.flag & STP_BOTH != 0:",
        "order.flag & STP_BOTH == STP_BOTH:",
        RULES + "an_order_that_meets_one_of_its_owner",
    ),
    # An auction that prefers the lower price, or does not look at what is left over, or lets that stand.
    Mutant(AUCTION, "else nearer >= 0", "else nearer > 0", TIES),
    Mutant(AUCTION, "return fewer > 0 if fewer != 0 else nearer", "return nearer", TIES),
    Mutant(DESK, "queue_of(order) == DARK and", "queue_of(order) == LIT and", MATCHING),
    # A blocked entry that forgets what it traded; a number that is free again when its order ends.
    Mutant(
        "venues/matching",
        "                order.reserve = left\n                return TAKE",
        "                return TAKE",
        ROOM,
    ),
    Mutant("venues/matching_numbers", "number & (SIZE - 1))] = DEAD", "number & (SIZE - 1))] = UNUSED", NUMBERS),
    # An operator: the strategy goes on though it is off, or hears of orders that are not its own; half a replacement
    # leaves; what was killed is resumed; one order is left when all are taken back. And a handle is lost for good.
    Mutant("engine_requests", "or view.off != 0):", "or view.off == 2):", SWITCHED),
    Mutant("engine", "if legal and heard:", "if legal:", OPERATOR),
    Mutant("engine_command", "rings.room(engine.output, 2) < 2", "rings.room(engine.output, 2) < 1", HALF_SENT),
    Mutant("engine_command", "elif engine.risk.gates[risks.KILL] == risks.KILLED:", "elif halted == 2:", OPERATOR),
    Mutant(
        "engine_command", "range(engine.orders.pool.cells[pools.FRESH])", "range(engine.orders.pool.cells[0])", OPERATOR
    ),
    Mutant("engine", "        refill(engine)\n        if legal", "        if legal", REFILLED),
    # Apart: the venue is not asked while one order rests, or is let ahead of the engine; a feed comes back and drops a
    # ring too many; a request leaves one record early, when only one journal has its cause, or beside one that may.
    Mutant("apart", "open_orders > 0", "open_orders > 9", LOCKSTEP),
    Mutant("apart", "run.venue.link, run.feed.cells[rings.GATE]", "run.venue.link, run.feed.cells[0]", LOCKSTEP),
    Mutant("apart", "count = min(waiting, cells[SKIP])", "count = waiting", REBORN),
    Mutant(
        "apart",
        "    store_release(link, LINK_ASK, number)",
        "    store_release(link, LINK_DONE, at)\n    store_release(link, LINK_ASK, number)",
        WINDOWS,
    ),
    Mutant("inline", "processed(run)  # before `decode`", "pass  # before `decode`", WINDOWS),
    Mutant("inline", "if cause >= load_acquire(", "if cause > load_acquire(", GATED),
    Mutant("inline", "return run.cells[MIRRORED] == 0 or", "return run.cells[MIRRORED] >= 0 or", GATED),
    Mutant(
        "inline",
        "cause = max(cause, request.sequence)",
        "cause = output.slots[rings.polled(output, 0)].sequence",
        GATED,
    ),
    # On the wire: a request that is held leaves; a day is believed to be over before it is; a fill of nobody's order.
    Mutant("wired", "not on_disk(run, request.sequence)", "not on_disk(run, 0)", WIRED),
    Mutant("order_replies", "cells[sessions.SEQUENCE] >= cells[sessions.HEAD]", "cells[sessions.HEAD] >= 0", WHOLE_DAY),
    Mutant(
        "order_replies",
        "        if kind == _A:\n            _adopt",
        "        if kind == _E:\n            _adopt",
        WHOLE_DAY,
    ),
    # A message whose appendage ends too soon, an empty packet; one message too many in a second.
    Mutant("layout", "return WHOLE if place == end else BAD_APPENDAGE", "return WHOLE", WHOLE),
    Mutant("soupbin", "if length == 0 or length", "if length", PACKET),
    Mutant("throttle", "& mask] >= WINDOW_NS", "& mask] >= WINDOW_NS - 1", SECOND),
    # A message is heard twice; an old answer is believed; what arrived is said not to have; lots off are forgotten.
    Mutant("order_replies", "            cells[sessions.SEQUENCE] += 1\n", "", AGREED),
    Mutant(
        "order_replies", "cells[sessions.NEEDED] = cells[sessions.QUESTIONS] + 1", "cells[sessions.NEEDED] = 1", STALE
    ),
    Mutant("order_replies", "row.ref >= cells[sessions.SETTLE_REF]", "row.ref >= 0", ARRIVED),
    Mutant("order_replies", "row.open + row.cut, NONE)", "row.open, NONE)", AGREED),
    # Two orders in one place; a cancel lost with its link; orders that leave nothing to cancels.
    Mutant("order_session", "while session.rows[ref & mask].state != FREE:", "while ref < 0:", SKIPPED),
    Mutant("order_session", "row.cancel == ASKED_FOR:", "row.cancel == 9:", LOST),
    Mutant("order_session", "cells[RATE] - cells[RESERVE], now)", "cells[RATE], now)", CANCELS),
    # A number is taken twice; orders outlive their link; a replacement its order; a replay begins one too late.
    Mutant("order_entry", "if ref < account.next_ref:", "if ref < 0:", REPEATED),
    Mutant("order_desk", "if account.keeps == 0 and", "if account.keeps == 1 and", ALONG),
    Mutant("order_desk", "while number < wanted:", "while number <= wanted:", REPLAY),
    Mutant("order_reports", "    while heir != NONE:\n", "    while heir > 99:\n", HEIRS),
    Mutant(
        "order_reports", "desk.rows[row.heir].executed += record.qty", "desk.rows[row.heir].executed += 0", INHERITS
    ),
    Mutant("order_reports", "    row.open -= lots\n", "", BELIEF),
    # Agents: the number of a moved order stays; an order with nothing open stays; what is excited never fades.
    # What is public: a cross is printed twice; shares a byte off.
    Mutant("agents", "        own.order_id = report.order_id\n        own.price", "        own.price", AGENTS),
    Mutant("agents", "if own.qty <= 0:", "if own.qty < 0:", AGENTS),
    Mutant("itch_feed", "printable = _NO if", "printable = _YES if", SAID),
    Mutant("itch_feed", "(letter << 56) | (record.qty << 24))", "(letter << 56) | (record.qty << 16))", SAID),
    # The floor: a message is logged without its last byte, or done at another time than the log says; an entry
    # overtakes one whose time has not come; whoever leaves forgets the orders; what the rings cut short is forgotten.
    Mutant("floor", "floor.owners[index], length\n", "floor.owners[index], length - 1\n", TRADED),
    Mutant("floor", "    item.ts_event = cells[ITEM_TS]\n", "", TRADED),
    Mutant("floor", "cells[EFFECT] = max(cells[EFFECT], ", "cells[EFFECT] = max(0, ", AGAIN),
    Mutant("floor", "            desks.ask_mass(floor.desk, np.int64(item.owner), entries, ts)\n", "", LEAVES),
    Mutant("floor", "        if done:\n", "        if done or True:\n", PIECES),
    # The load: a number is used twice; what was filled is asked for; what was moved is asked for again.
    Mutant("volley", "client.next_ref += 1", "client.next_ref += 0", LOADED),
    Mutant("volley", "        if own[k] == ref:\n", "        if own[k] < 0:\n", LOADED),
    Mutant("volley", "        client.opened -= 1  # it", "        client.opened -= 0  # it", LOADED),
    # A recorded cancel that takes all; an execution on the side of the order that it executes.
    Mutant(
        "background",
        "entry.kind, entry.qty = CANCEL_ORDER, row.qty",
        "entry.kind, entry.qty = CANCEL_ORDER, 0",
        OPEN_BY,
    ),
    Mutant("background", "NEW, IMMEDIATE, row.side ^ 1", "NEW, IMMEDIATE, row.side", OPEN_BY),
    Mutant("arrivals", "(value >> whole >> 4) * factor", "(value >> 4) * factor", HALF),
    *COLD,
    *LAB,
    *BARS_LAB,
)
