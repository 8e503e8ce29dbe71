"""The planted bugs of the journal, the shipper, snapshots, projections and whatever comes back from the dead."""

from mutant import Mutant

SHIPPED = "test_shipment.py::test_whatever_the_network_does_the_stream_is_the_journal"
WINDOWS = "test_comeback.py::test_an_engine_may_die_in_every_window_of_its_loop[mirrored]"
ONCE = "test_desk.py::test_the_same_id_is_done_once_and_answered_as_at_first"
ON_DISK = "test_desk.py::test_who_waits_for_the_disk_is_answered_when_it_is_there"
ALL_KILLED = "test_desk.py::test_a_kill_that_does_not_fit_goes_on_until_nothing_is_left"
PROJECTED = "test_projection.py::test_wherever_its_writer_died_a_projection_is_the_fold_and_the_engine"
ANEW = "test_projection.py::test_a_journal_that_lost_its_end_and_went_on_otherwise_is_projected_anew"
CUT = "test_image.py::test_for_any_cut_a_snapshot_and_its_tail_are_the_whole"
BETWEEN_PARTS = "test_image.py::test_no_flipped_bit_between_its_parts_passes"
INPUTS = "test_capsule.py::test_inputs_are_those_of_a_journal_that_has_them_all"
TAIL = "test_follow.py::test_a_tail_gives_each_frame_once_as_soon_as_it_is_whole"
FULLY = "test_comeback.py::test_an_engine_may_die_in_every_window_of_its_loop[full]"
TAIL_CHAIN = "test_follow.py::test_a_tail_does_not_go_on_in_a_segment_that_follows_on_other_frames"
TORN = "test_follow.py::test_a_tail_knows_a_torn_end_from_one_that_was_durable"
NOT_SHIPPED = "test_retention.py::test_what_the_stream_has_not_is_kept"
OLDEST = "test_retention.py::test_a_segment_goes_when_every_snapshot_has_it_and_enough_is_behind_it"
GOES_ON = "test_retention.py::test_a_journal_goes_on_when_all_that_is_left_is_packed_or_retired"
FAILED = "test_desk.py::test_who_waits_for_the_disk_is_told_when_the_journal_failed_and_nobody_waits_after_that"
DIES_ONCE = "test_labels.py::test_a_file_says_that_it_was_done_and_it_is_not_done_again"
DIES_THERE = "test_labels.py::test_who_is_told_to_dies_there_and_nowhere_else"
NOT_THERE = "test_chaos.py::test_what_was_acknowledged_and_is_not_there_is_seen"
OTHER_RECORD = "test_chaos.py::test_another_record_is_seen_and_so_is_what_it_does"
FOLDED = "test_chaos.py::test_projections_that_say_otherwise_are_seen"
VOUCHED = "test_superblock.py::test_a_writer_vouches_for_what_it_synced_and_no_further"
ALL = "test_full_sim.py::test_whatever_fails_all_of_it_holds_together"
SIM = "test_journal_sim.py::test_no_seed_loses_what_was_durable_or_invents_what_was_not"
CHAIN = "test_superblock.py::test_a_later_segment_says_which_frames_were_before_it"
BLOCKS = "test_superblock.py::test_the_superblock_on_disk_is_never_written_over"
NOBODY = "test_journal_repair.py::test_what_nobody_has_is_said_and_given_up_only_when_told"
TWICE = """            try:
                self._disk.fdatasync(self._file)
            except OSError:
                self._disk.fdatasync(self._file)
"""
AFTER = "processed := self.cells.load_acquire(JOURNAL_PROCESSED)"
COLD = (
    # A snapshot without what was decoded and not taken, or without who a locate is; a byte that nothing covers.
    Mutant("cold/image", "    run.feed.cells[rings.CURSOR] = len(feed.rows)\n", "", CUT),
    Mutant("cold/image", '"locates": decoder.locates, ', "", CUT),
    Mutant("cold/image", " or any(padding)", "", BETWEEN_PARTS),
    # An input under the number of another; a frame whose place nobody could find.
    Mutant("cold/inputs", "= min(len(market), first - at, until - at)", "= min(len(market), until - at)", INPUTS),
    Mutant("cold/tail", "return dataclasses.replace(found, offset=self._at)", "return found", TAIL),
    # A tail that goes on in another journal's segment; one that can't tell what a power cut tore from damage.
    Mutant("cold/tail", "self._chain not in (UNKNOWN, head.chain)", "self._chain == 1", TAIL_CHAIN),
    Mutant("cold/tail", "proof(commit, self._frames, self._through, rest", "proof(None, 0, 0, rest", TORN),
    # The desk: a command is done twice, told to be on disk too early, or changed under its id; a kill ends half way.
    Mutant("cold/desk", "        self._known[command.id] = entry\n", "", ONCE),
    Mutant("cold/desk", "entry.ack.sequence < reach[level]:", "entry.ack.sequence <= reach[level]:", ON_DISK),
    Mutant("cold/desk", "if entry.words != words_of(", "if () == words_of(", ONCE),
    Mutant("cold/desk", "                self._again.append(entry)\n", "                pass\n", ALL_KILLED),
    # Projections: a row that was committed already, one lost between two lives, a commit of what was, a limit of one
    # instrument that outlives one for all; and a journal that changed is not noticed.
    Mutant("cold/projection", "market) if row[0] >= self.sequence", "market) if row[0] >= 0", PROJECTED),
    Mutant("cold/projection", "market) if row[0] >= self.sequence", "market) if row[0] > self.sequence", PROJECTED),
    Mutant(
        "cold/projector", "self._dirty = self._through > self._projection.sequence", "self._dirty = True", PROJECTED
    ),
    Mutant("cold/projection", "                del self._limits[key]\n", "                pass\n", PROJECTED),
    Mutant("cold/projector", "and found == chain:", "and found >= 0:", ANEW),
    # An engine comes back, and a request is not sent, or a reply is seen twice; the venue or the fan is ahead of it; a
    # question is asked again, or is not asked; a timer fires twice; the mirror stays behind.
    Mutant("comeback", "for number in range(published, cursor):", "for number in range(cursor, cursor):", WINDOWS),
    Mutant("comeback", "store_release(rings.GATE, found.replies)", "store_release(rings.GATE, gate)", WINDOWS),
    Mutant("comeback", "asked[:2] < last[:2] or (", "(", WINDOWS),
    Mutant("comeback", "(asked == last and self._published_more())", "False", WINDOWS),
    Mutant("comeback", "return past and not self._published_more()", "return past", WINDOWS),
    Mutant("comeback", "            return last.taken\n", "            pass\n", WINDOWS),
    Mutant("comeback", "or (observed and last.next == following and not last.due)", "or False", FULLY),
    Mutant("comeback", "self._go_on(self._unobserved(found))", "self._go_on(None)", FULLY),
    Mutant("comeback", "row = 2 * (number & 1)", "row = 2 - 2 * (number & 1)", FULLY),
    Mutant("comeback", "        self._set_timer(run, found)\n", "", FULLY),
    Mutant("comeback", "(ring).store_release(rings.CURSOR, cursor)", "(ring).store_release(rings.CURSOR, 0)", WINDOWS),
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
    # The shipper: a message that does not say which one it follows on; an epoch that has many under way at once, while
    # some of the one before may still come; a reader who takes these for good.
    Mutant("cold/shipment", "            EXPECTED_SEQUENCE: str(self._sequence),\n", "", SHIPPED),
    Mutant("cold/shipment", "seen.last) + WINDOW_MAX\n", "seen.last)\n", SHIPPED),
    Mutant("cold/delivery", "if parcel.epoch < self.epoch:", "if parcel.epoch < 0:", SHIPPED),
    # All together: a sync that does not happen, of the journal, of a snapshot or of its name; a checksum that nobody
    # looks at; a message that does not say which one it follows on.
    Mutant("cold/image", "            disk.fdatasync(file)\n", "", ALL),
    Mutant("cold/image", "        raise\n    disk.sync_names()\n", "        raise\n", ALL),
    # An order to die that is carried out again and again; proofs that see nothing.
    Mutant("cold/labels", "os.O_CREAT | os.O_EXCL", "os.O_CREAT", DIES_ONCE),
    Mutant("cold/labels", "if self.left != 0:", "if self.left > 0:", DIES_THERE),
    Mutant("ops/proofs", "if witness.through < least:", "if witness.through < 0:", NOT_THERE),
    Mutant("ops/proofs", "if records.tobytes() != wanted.tobytes():", "if False:", OTHER_RECORD),
    Mutant("ops/fold", "self.position[instrument] += lots", "self.position[instrument] -= lots", FOLDED),
    Mutant("ops/fold", "if blotter != self.blotter:", "if False:", FOLDED),
    # Retention: only the newest snapshot counts; what the stream lacks goes; a journal whose end is packed or retired
    # is resumed in a file that is not there, or writes again what it had.
    Mutant("cold/retention", "return min(oldest, reach)", "return oldest", NOT_SHIPPED),
    Mutant("cold/retention", "else oldest\n    reach", "else oldest\n        break\n    reach", OLDEST),
    Mutant("cold/segment", "if last.kind == RECORDS or last.segment == RETIRED:", "if last.kind == RECORDS:", GOES_ON),
    Mutant("cold/segment", "or last.segment.endswith(PACKED):", "or False:", GOES_ON),
    Mutant("cold/desk", 'if level == "memory" or self._lost:', 'if level == "memory":', FAILED),
    # A snapshot of what nobody called durable.
    Mutant("cold/segment", "commit is not None and commit.through >= sequence", "commit is not None", VOUCHED),
)
