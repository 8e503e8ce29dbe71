/* What C does on the same two cores: the limit to hold the rings of ultra against.
 *
 * pingpong A B N            one cache line each way between two pinned threads: ns of a round trip
 * spsc A B N CAPACITY BATCH LEAST
 *                           a minimal ring of 64-byte records: cached remote index, release and acquire; a consumer
 *                           that has caught up waits for LEAST
 *
 * Prints one JSON object. The records, their check and the waiting are those of ultra/hot/drill.py, word for word, so
 * that what differs is the compiler and the ring. Known bad case: threads of one process share their page table, the
 * processes of ultra don't; it makes no difference that was ever measured.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <immintrin.h>
static inline void relax(void) { _mm_pause(); }
static inline int64_t ticks(void) { return (int64_t)__rdtsc(); }
#else
static inline void relax(void) {}
static int64_t ticks(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000ll + now.tv_nsec;
}
#endif

typedef struct {
    int8_t kind, side;
    int16_t flag;
    int32_t instrument;
    int64_t sequence, ts_event, ts_recv, order_id, price, qty, aux;
} record;

/* Each on two cache lines of its own: the adjacent-line prefetcher would couple neighbours. */
typedef struct {
    _Alignas(128) _Atomic int64_t cursor;
    _Alignas(128) int64_t gate_seen;
    _Alignas(128) _Atomic int64_t gate;
    _Alignas(128) int64_t cursor_seen;
    _Alignas(128) record *slots;
    int64_t capacity;
} ring;

static ring the_ring;
static _Alignas(128) _Atomic int64_t there;
static _Alignas(128) _Atomic int64_t back;
static _Alignas(128) _Atomic int arrived;
static int cores[2];
static int64_t count, batch, least, began, ended, looks, wrong;
static int64_t *trips;

static void pin_and_meet(int side) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cores[side], &set);
    if (pthread_setaffinity_np(pthread_self(), sizeof set, &set)) exit(2);
    atomic_fetch_add(&arrived, 1);
    while (atomic_load(&arrived) < 2) sched_yield();
}

static void *ping(void *unused) {
    (void)unused;
    pin_and_meet(0);
    for (int64_t at = 1; at <= count; at++) {
        int64_t sent = ticks();
        atomic_store_explicit(&there, at, memory_order_release);
        while (atomic_load_explicit(&back, memory_order_acquire) != at) relax();
        trips[at - 1] = ticks() - sent;
    }
    return NULL;
}

static void *pong(void *unused) {
    (void)unused;
    pin_and_meet(1);
    for (int64_t at = 1; at <= count; at++) {
        while (atomic_load_explicit(&there, memory_order_acquire) != at) relax();
        atomic_store_explicit(&back, at, memory_order_release);
    }
    return NULL;
}

static void *produce(void *unused) {
    (void)unused;
    pin_and_meet(0);
    ring *r = &the_ring;
    int64_t mask = r->capacity - 1, at = 0;
    began = ticks();
    while (at < count) {
        if (r->capacity - (at - r->gate_seen) < batch) {
            r->gate_seen = atomic_load_explicit(&r->gate, memory_order_acquire);
            if (r->capacity - (at - r->gate_seen) < batch) {
                relax();
                continue;
            }
        }
        for (int64_t end = at + batch; at < end; at++) {
            record *slot = &r->slots[at & mask];
            slot->kind = 1, slot->side = 0, slot->flag = 0, slot->instrument = 0;
            slot->sequence = at, slot->ts_event = at * 3, slot->ts_recv = at * 5;
            slot->order_id = ~at, slot->price = at << 7, slot->qty = at * 9;
            slot->aux = at * 111 + 1;
        }
        atomic_store_explicit(&r->cursor, at, memory_order_release);
    }
    return NULL;
}

static void *consume(void *unused) {
    (void)unused;
    pin_and_meet(1);
    ring *r = &the_ring;
    int64_t mask = r->capacity - 1, at = 0;
    while (at < count) {
        if (r->cursor_seen == at) {
            int64_t cursor = atomic_load_explicit(&r->cursor, memory_order_acquire);
            if (cursor - at < (least < count - at ? least : count - at)) {
                relax();
                continue;
            }
            r->cursor_seen = cursor;
            looks++;
        }
        for (int64_t end = r->cursor_seen; at < end; at++) {
            record *slot = &r->slots[at & mask];
            int64_t total = slot->sequence + slot->ts_event + slot->ts_recv + slot->order_id + slot->price + slot->qty;
            int64_t head = (slot->kind ^ 1) | slot->side | slot->flag | slot->instrument;
            wrong += ((total + slot->aux - (at << 8)) | (slot->sequence - at) | head) != 0;
        }
        atomic_store_explicit(&r->gate, at, memory_order_release);
    }
    ended = ticks();
    return NULL;
}

static double ns_per_tick(void) {
    struct timespec first, last, pause = {0, 20000000};
    clock_gettime(CLOCK_MONOTONIC_RAW, &first);
    int64_t from = ticks();
    nanosleep(&pause, NULL);
    clock_gettime(CLOCK_MONOTONIC_RAW, &last);
    int64_t until = ticks();
    return ((last.tv_sec - first.tv_sec) * 1e9 + (last.tv_nsec - first.tv_nsec)) / (double)(until - from);
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void both(void *(*first)(void *), void *(*second)(void *)) {
    pthread_t threads[2];
    if (pthread_create(&threads[0], NULL, first, NULL) || pthread_create(&threads[1], NULL, second, NULL)) exit(2);
    pthread_join(threads[0], NULL);
    pthread_join(threads[1], NULL);
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    cores[0] = atoi(argv[2]), cores[1] = atoi(argv[3]), count = atoll(argv[4]);
    double scale = ns_per_tick();
    if (!strcmp(argv[1], "pingpong")) {
        trips = malloc((size_t)count * 8);
        if (!trips) return 2;
        memset(trips, 1, (size_t)count * 8);
        both(ping, pong);
        qsort(trips, (size_t)count, 8, by_size);
        printf("{\"p50\": %.0f, \"p99\": %.0f, \"max\": %.0f}\n", trips[count / 2] * scale,
               trips[count * 99 / 100] * scale, trips[count - 1] * scale);
    } else if (argc >= 8) {
        ring *r = &the_ring;
        r->capacity = atoll(argv[5]), batch = atoll(argv[6]), least = atoll(argv[7]), count -= count % batch;
        r->slots = aligned_alloc(4096, ((size_t)r->capacity * 64 + 4095) / 4096 * 4096);
        if (!r->slots) return 2;
        memset(r->slots, 0, (size_t)r->capacity * 64);
        both(produce, consume);
        double ns = (ended - began) * scale / (double)count;
        printf("{\"m_per_s\": %.2f, \"ns\": %.3f, \"batch_seen\": %.1f, \"bad\": %lld}\n", 1e3 / ns, ns,
               (double)count / (double)(looks ? looks : 1), (long long)wrong);
    }
    return 0;
}
