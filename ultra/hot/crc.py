"""CRC32C (Castagnoli), a table at a time: for where `native/` was not built.

Eight tables of 256 (slicing-by-8, Intel 2006). Check value: crc32c(b"123456789") = 0xE3069283.
"""

from typing import Any

import numpy as np

from . import entry

POLYNOMIAL = 0x82F63B78


def _tables() -> Any:
    tables = np.zeros((8, 256), np.int64)
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (POLYNOMIAL if value & 1 else 0)
        tables[0, byte] = value
    for byte in range(256):
        for k in range(1, 8):
            before = int(tables[k - 1, byte])
            tables[k, byte] = (before >> 8) ^ int(tables[0, before & 255])
    return tables


_TABLES = _tables()


@entry
def crc32c(buffer: Any, start: int, stop: int, crc: int) -> int:
    """CRC of `buffer[start:stop]` (uint8 array); `crc` is 0 or the CRC of what came before."""
    value = crc ^ 0xFFFFFFFF
    at = start
    while at + 8 <= stop:
        total = np.int64(0)
        for k in range(8):
            byte = np.int64(buffer[at + k])
            if k < 4:
                byte ^= (value >> (8 * k)) & 255
            total ^= _TABLES[7 - k, byte]
        value = total
        at += 8
    while at < stop:
        value = (value >> 8) ^ _TABLES[0, (value ^ np.int64(buffer[at])) & 255]
        at += 1
    return int(value ^ 0xFFFFFFFF)
