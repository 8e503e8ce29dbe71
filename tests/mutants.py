"""One bug at a time, planted in a copy of the hot path, and the test that must see it.

A line is (file, old text, new text, test). The old text occurs exactly once. What is listed was seen to be caught;
a test that stops catching its mutant has lost its teeth, however green it is.
"""

from typing import NamedTuple


class Mutant(NamedTuple):
    file: str
    old: str
    new: str
    test: str


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
ORDERS = "test_orders.py::test_orders_behave_as_a_dict_of_states"
SAMPLE = "test_histogram.py::test_a_percentile_is_at_most_a_thirty_second_above_the_sorted_sample"
RATE = "test_risk.py::test_no_second_holds_more_orders_than_the_rate"
BOUNDARY = "test_risk.py::test_the_market_decides_just_at_the_boundary"
LOCKSTEP = "test_apart.py::test_whoever_is_ahead_it_is_the_same_engine"
REBORN = "test_apart.py::test_a_feed_that_dies_anywhere_sends_nothing_twice"
GATED = "test_apart.py::test_a_gated_request_waits_until_its_cause_is_on_disk"
SIM = "test_journal_sim.py::test_no_seed_loses_what_was_durable_or_invents_what_was_not"
CHAIN = "test_superblock.py::test_a_later_segment_says_which_frames_were_before_it"
BLOCKS = "test_superblock.py::test_the_superblock_on_disk_is_never_written_over"
NOBODY = "test_journal_repair.py::test_what_nobody_has_is_said_and_given_up_only_when_told"
UNSET = "test_risk.py::test_a_limit_that_is_not_set_refuses_even_the_smallest_order"

# A failed sync tried again: the kernel then says that all is well.
TWICE = """            try:
                self._disk.fdatasync(self._file)
            except OSError:
                self._disk.fdatasync(self._file)
"""

AFTER = "processed := self.cells.load_acquire(JOURNAL_PROCESSED)"

MUTANTS = (
    # The queue: an order taken out of the middle, or from the end.
    Mutant("book", "book.orders[after].prev = before", "book.orders[after].prev = NONE", BOOK),
    Mutant("book", "row.tail = before if after < 0", "row.tail = after if after < 0", BOOK),
    Mutant("book", "if qty >= left:", "if qty > left:", BOOK),
    Mutant("book", "        tables.remove(book.ids, order_id)\n", "", BOOK),
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
    # Apart: the venue is not asked while one order rests, or is let ahead of the engine; a feed comes back and drops a
    # ring too many; a request leaves one record early, when only one journal has its cause, or beside one that may.
    Mutant("apart", "open_orders > 0", "open_orders > 9", LOCKSTEP),
    Mutant("apart", "fans.STRIDE] - waiting", "fans.STRIDE]", LOCKSTEP),
    Mutant("apart", "count = min(waiting, cells[SKIP])", "count = waiting", REBORN),
    Mutant("inline", "if cause >= load_acquire(", "if cause > load_acquire(", GATED),
    Mutant("inline", "return run.cells[MIRRORED] == 0 or", "return run.cells[MIRRORED] >= 0 or", GATED),
    Mutant(
        "inline",
        "cause = max(cause, request.sequence)",
        "cause = output.slots[rings.polled(output, 0)].sequence",
        GATED,
    ),
    # The journal: a sync that does not happen, of its records, its superblock, a sealed segment or a name; a frame that
    # calls itself durable; what a dead one wrote written again; a checksum that nobody looks at.
    Mutant("cold/journal", "            self._disk.fdatasync(self._file)\n", "", SIM),
    Mutant(
        "cold/journal",
        "            self._disk.fdatasync(self._block)\n        self._disk",
        "            pass\n        self._disk",
        SIM,
    ),
    Mutant(
        "cold/journal", "truncate(self._file, self._at)\n        self.sync()\n", "truncate(self._file, self._at)\n", SIM
    ),
    Mutant("cold/journal", "HEADER_BYTES\n        self._disk.sync_names()\n", "HEADER_BYTES\n", SIM),
    Mutant("cold/journal", "through, self.durable, self._frame_index", "through, through, self._frame_index", SIM),
    Mutant("cold/journal", "self._capacity) < journal.written:", "self._capacity) < 0:", SIM),
    Mutant("cold/segment", "crc32c(payload) != payload_crc or ", "", SIM),
    Mutant("cold/segment", " or crc != crc32c(data[at : at + 56])", "", SIM),
    Mutant("cold/superblock", 'crc32c(body) != struct.unpack_from("<I", data, at + BLOCK_BYTES - 4)[0]', "False", SIM),
    Mutant("cold/journal", "            self._disk.fdatasync(self._file)\n", TWICE, SIM),
    # How far the engine is, read after its records.
    Mutant("cold/journal", "if processed > journal.through:", f"if ({AFTER}) > journal.through:", SIM),
    # A chain that nobody follows, or that every header leaves the same; the only good superblock written over; a frame
    # that does not follow on what is there.
    Mutant("cold/segment", "head.chain != self.chain", "False", CHAIN),
    Mutant("cold/segment", "crc32c(header[:56], chain)", "crc32c(header, chain)", CHAIN),
    Mutant("cold/journal", "            self._generation += 1\n", "            pass\n", BLOCKS),
    Mutant("ops/repair", "found.start <= reach", "found.start <= NEVER", NOBODY),
)
