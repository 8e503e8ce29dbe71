/* The few functions of ultra that cannot be Python. Everything else is; keep it that way.
 *
 * Idea: the operations on memory shared with another process, and the checksum instruction, as plain C functions,
 * reached from cold code through cffi. Hot code has the same operations inlined by `ultra/hot/atomics.py`.
 * Invariant: both sides mean the same by each operation; `tests/` holds them to it.
 * Known bad case: cffi gives up Python's interpreter lock around every call, so a thread that waits for the lock may
 * take it there. That costs a cold thread a switch; it is one more reason why hot code never comes here.
 */
#ifndef ULTRA_NATIVE_H
#define ULTRA_NATIVE_H

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* C because: Python has no load that orders later ones. Pairs with the other side's store_release: what was written
 * before that store is visible after this load. */
static int64_t ultra_load_acquire(const int64_t *cell) { return __atomic_load_n(cell, __ATOMIC_ACQUIRE); }

/* C because: Python has no store that orders earlier ones. Pairs with the other side's load_acquire. */
static void ultra_store_release(int64_t *cell, int64_t value) { __atomic_store_n(cell, value, __ATOMIC_RELEASE); }

/* C because: Python has no barrier. What was read before it stays before what is read after it, which a load_acquire
 * alone does not promise: it holds back later loads, not earlier ones. */
static void ultra_fence(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }

/* C because: read, add and write must be one step for all processes, and Python's lock covers only its own. */
static int64_t ultra_fetch_add(int64_t *cell, int64_t value) {
    return __atomic_fetch_add(cell, value, __ATOMIC_ACQ_REL);
}

/* C because: compare and write must be one step, as above. Returns 1 if the cell held `expected` and was written.
 * The strong form: it never fails for another reason, so a caller need not retry. */
static int32_t ultra_compare_and_set(int64_t *cell, int64_t expected, int64_t desired) {
    return __atomic_compare_exchange_n(cell, &expected, desired, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
}

/* C because: it is one machine instruction that no Python source can name. In a waiting loop it gives the sibling
 * hardware thread its share and makes leaving the loop cheap. */
static void ultra_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* ---- Sleep. The other half is ultra/hot/wait.py. ---- */

/* C because: Python has no futex. Sleeps while the low half of the cell is that of `seen`, at most `timeout_ns`; may
 * return early. Not FUTEX_PRIVATE: the cell is shared with other processes. */
static void ultra_sleep(const int64_t *cell, int64_t seen, int64_t timeout_ns) {
    struct timespec timeout = {timeout_ns / 1000000000, timeout_ns % 1000000000};
    const uint32_t *half = (const uint32_t *)cell + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
    syscall(SYS_futex, half, FUTEX_WAIT, (uint32_t)seen, &timeout, NULL, 0);
}

/* C because: Python has no membarrier. A full fence on every core that now runs a process which has signed up for it,
 * so that those need none of their own. Returns 0, or -1 where the kernel has none. */
static int32_t ultra_fence_others(void) {
    return (int32_t)syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0);
}

/* C because: as above. Signs this process up for the fences that others ask for; 0, or -1. */
static int32_t ultra_accept_fences(void) {
    return (int32_t)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0);
}

/* ---- CRC32C (Castagnoli, reflected polynomial 0x82F63B78). Check value: "123456789" gives 0xE3069283. ----
 * `crc` is 0, or the CRC of the bytes before these, as in zlib.crc32. */

static uint32_t ultra_crc_tables[8][256];

/* Runs when the library is loaded, so no later call has to ask whether the tables are there. */
__attribute__((constructor)) static void ultra_crc_fill_tables(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t value = byte;
        for (int bit = 0; bit < 8; bit++) value = (value >> 1) ^ (value & 1 ? 0x82F63B78u : 0);
        ultra_crc_tables[0][byte] = value;
    }
    for (int k = 1; k < 8; k++)
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = ultra_crc_tables[k - 1][byte];
            ultra_crc_tables[k][byte] = (before >> 8) ^ ultra_crc_tables[0][before & 255];
        }
}

/* C because: byte loops over large files; this is the fallback of the function below, and the tests' second opinion.
 * Slicing-by-8 (Intel 2006). Bytes are put together by shifts, so it means the same on a big-endian machine. */
static uint32_t ultra_crc32c_table(uint32_t crc, const uint8_t *data, size_t length) {
    const uint32_t(*table)[256] = ultra_crc_tables;
    crc = ~crc;
    for (; length >= 8; data += 8, length -= 8) {
        crc ^= (uint32_t)data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
        crc = table[7][crc & 255] ^ table[6][crc >> 8 & 255] ^ table[5][crc >> 16 & 255] ^ table[4][crc >> 24] ^
              table[3][data[4]] ^ table[2][data[5]] ^ table[1][data[6]] ^ table[0][data[7]];
    }
    for (; length; data++, length--) crc = (crc >> 8) ^ table[0][(crc ^ *data) & 255];
    return ~crc;
}

#if defined(__x86_64__)
/* Compiled for SSE4.2 whatever the rest is compiled for, and called only where the processor has it. */
__attribute__((target("sse4.2"))) static uint32_t ultra_crc32c_sse42(uint32_t crc, const uint8_t *data, size_t length) {
    uint64_t value = ~crc;
    for (; length >= 8; data += 8, length -= 8) {
        uint64_t word;
        memcpy(&word, data, 8); /* one load; data need not be aligned */
        value = __builtin_ia32_crc32di(value, word);
    }
    crc = (uint32_t)value;
    for (; length; data++, length--) crc = __builtin_ia32_crc32qi(crc, *data);
    return ~crc;
}
#endif

/* C because: the processor's CRC32C instruction has no name in Python. Chosen at run time, so that one wheel serves
 * old processors too; __builtin_cpu_supports reads a variable, it does not execute CPUID. */
static uint32_t ultra_crc32c(uint32_t crc, const uint8_t *data, size_t length) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) return ultra_crc32c_sse42(crc, data, length);
#endif
    return ultra_crc32c_table(crc, data, length);
}

#endif
