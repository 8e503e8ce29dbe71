"""A stream read back: messages in, what the journal held out, and a proof that nothing is missing. No I/O.

Each message must be the next of the stream, whole, of the same journal, and its stretch must begin where the last one
ended; the parts of a stretch are put together by the sequence of their records. What comes out are frames as a
journal has them, so what is rebuilt is replayed, searched and repaired by what already does that.
A message of a lower epoch than one before it is void, and left out (see `shipment`).
Known bad case: a stream that ends inside a stretch. What is there of it is held back until the rest comes.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import parcel as parcels
from .parcel import Parcel
from .segment import META


class DeliveryError(Exception):
    """What comes is not a journal without a hole: says at which message, what was awaited, and what was found."""


class Stretch(NamedTuple):
    """Inputs from `first` to below `through`, and the records the journal has of them; `meta` of the first one only."""

    first: int
    through: int
    records: Any
    meta: bytes


class Delivery:
    """One stream, from its first message on."""

    def __init__(self, where: str) -> None:
        """`where` is for people."""
        self._where = where
        self.journal_id = b""
        self.through = 0
        self.sequence = 0  # of the last message
        self.epoch = 0
        self.records = 0
        self.void = 0
        self._parts: list[Parcel] = []

    def take(self, sequence: int, payload: bytes) -> Stretch | None:
        """The message of this stream sequence; what is whole with it. DeliveryError when it does not follow."""
        if sequence != self.sequence + 1:
            raise self._wrong(sequence, f"message {self.sequence + 1} was to come: the stream has lost it")
        try:
            parcel = parcels.decode(payload)
        except parcels.ParcelError as error:
            raise self._wrong(sequence, str(error)) from error
        if parcel.epoch < self.epoch:
            self.sequence, self.void = sequence, self.void + 1
            return None
        self._follows(sequence, parcel)
        self.sequence, self.epoch = sequence, parcel.epoch
        if parcel.kind == META:
            self.journal_id, self.through = parcel.journal_id, parcel.through
            return Stretch(parcel.first, parcel.through, parcels.joined([]), parcel.body)
        self._parts.append(parcel)
        if not parcel.is_last_part:
            return None
        records = parcels.joined([part.body for part in self._parts])
        self._parts = []
        self._hold(sequence, parcel, records)
        self.through, self.records = parcel.through, self.records + len(records)
        return Stretch(parcel.first, parcel.through, records, b"")

    def _follows(self, sequence: int, parcel: Parcel) -> None:
        if (parcel.kind == META) != (sequence == 1):
            raise self._wrong(sequence, "the description of the run is the first message, and no other")
        if parcel.kind == META:
            return
        if parcel.journal_id != self.journal_id:
            raise self._wrong(sequence, f"it is of journal {parcel.journal_id.hex()}, not {self.journal_id.hex()}")
        if parcel.part != len(self._parts):
            raise self._wrong(sequence, f"part {parcel.part} of inputs from {parcel.first}, not {len(self._parts)}")
        if parcel.first != self.through or parcel.through <= parcel.first:
            raise self._wrong(sequence, f"inputs {parcel.first} to {parcel.through}, not from {self.through}")
        before = self._parts[-1] if self._parts else parcel
        if (before.through, before.parts, before.partitions) != (parcel.through, parcel.parts, parcel.partitions):
            raise self._wrong(sequence, f"a part of other inputs from {parcel.first} than the one before")

    def _hold(self, sequence: int, parcel: Parcel, records: Any) -> None:
        """The records of a stretch are of its inputs, each once."""
        numbers = records["sequence"]
        if len(numbers) and (
            int(numbers[0]) < parcel.first or int(numbers[-1]) >= parcel.through or bool((np.diff(numbers) <= 0).any())
        ):
            raise self._wrong(sequence, f"its records are not those of inputs {parcel.first} to {parcel.through - 1}")

    def _wrong(self, sequence: int, what: str) -> DeliveryError:
        return DeliveryError(f"{self._where}, message {sequence}: {what}")
