/* tests/bench/alloc_count.c: counts the heap allocations of a program. Loaded by LD_PRELOAD, it stands before the
 * allocator and keeps its counts in the file that ALLOC_COUNT_FILE names, mapped and shared: two unsigned 64-bit
 * numbers of this machine's byte order, allocations and frees, which another process may read at any time. Without that
 * variable, or when the file cannot be made, nothing is counted.
 *
 * The counts are totals since the start; steady state is the difference of two runs of different lengths.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* The allocator's own entries: no look-up that would itself allocate before we are ready. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *ptr, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *ptr);

typedef struct counts {
    _Atomic uint64_t allocations, frees;
} counts;

static counts until_mapped;
static counts *now = &until_mapped;

__attribute__((constructor)) static void map_counts(void)
{
    const char *path = getenv("ALLOC_COUNT_FILE");
    int fd = path ? open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    void *shared = ftruncate(fd, sizeof(counts)) == 0
                       ? mmap(NULL, sizeof(counts), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
                       : MAP_FAILED;
    close(fd);
    if (shared != MAP_FAILED)
        now = shared;
}

static void count_allocation(void)
{
    atomic_fetch_add_explicit(&now->allocations, 1, memory_order_relaxed);
}

void *malloc(size_t size)
{
    count_allocation();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    count_allocation();
    return __libc_calloc(count, size);
}

void *realloc(void *ptr, size_t size)
{
    count_allocation();
    return __libc_realloc(ptr, size);
}

void *memalign(size_t alignment, size_t size);
void *memalign(size_t alignment, size_t size)
{
    count_allocation();
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **ret_ptr, size_t alignment, size_t size)
{
    void *ptr = memalign(alignment, size);
    if (!ptr)
        return ENOMEM;
    *ret_ptr = ptr;
    return 0;
}

void free(void *ptr)
{
    if (ptr)
        atomic_fetch_add_explicit(&now->frees, 1, memory_order_relaxed);
    __libc_free(ptr);
}
