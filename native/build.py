"""How `ultra._native` is made: cffi compiles `ultra_native.h` into an extension module, for `setup.py`.

cffi's API mode, so the C compiler holds the declarations below to the code. Known bad case: a function added
to the header is invisible to Python until it is declared here and in `ultra/_native.pyi`.
"""

from pathlib import Path

from cffi import FFI

ffi = FFI()
ffi.cdef("""
int64_t ultra_load_acquire(const int64_t *cell);
void ultra_store_release(int64_t *cell, int64_t value);
void ultra_fence(void);
int64_t ultra_fetch_add(int64_t *cell, int64_t value);
int32_t ultra_compare_and_set(int64_t *cell, int64_t expected, int64_t desired);
void ultra_pause(void);
void ultra_sleep(const int64_t *cell, int64_t seen, int64_t timeout_ns);
int32_t ultra_fence_others(void);
int32_t ultra_accept_fences(void);
uint32_t ultra_crc32c(uint32_t crc, const uint8_t *data, size_t length);
uint32_t ultra_crc32c_table(uint32_t crc, const uint8_t *data, size_t length);
""")
ffi.set_source(
    "ultra._native",
    '#include "ultra_native.h"',
    include_dirs=["native"],
    # Without `depends` an edited header would not be compiled again.
    depends=[str(Path("native", "ultra_native.h"))],
    extra_compile_args=["-O3", "-Wall", "-Wextra"],
)
