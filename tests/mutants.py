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
ORDERS = "test_orders.py::test_orders_behave_as_a_dict_of_states"
SAMPLE = "test_histogram.py::test_a_percentile_is_at_most_a_thirty_second_above_the_sorted_sample"
RATE = "test_risk.py::test_no_second_holds_more_orders_than_the_rate"
BOUNDARY = "test_risk.py::test_the_market_decides_just_at_the_boundary"
UNSET = "test_risk.py::test_a_limit_that_is_not_set_refuses_even_the_smallest_order"

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
    Mutant("ring", "if free < wanted:", "if free < 0:", RING),
    Mutant("ring", "ring.cells[CURSOR] + count)", "ring.cells[CURSOR] + 1)", RING),
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
)
