#include "ip/checksum.h"

#include <string.h>

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

struct way {
    const char *name;
    uint32_t (*add)(uint32_t sum, const void *p, size_t n);
    uint32_t (*copy)(uint32_t sum, void *to, const void *from, size_t n);
};

/*
 * A ones'-complement sum of 64-bit words, its carries added back, folds to that of their 16-bit words, in any byte
 * order. What is not zero stays so: 0 and 0xffff, the two zeros of this arithmetic, are not mixed up.
 */
static inline uint32_t fold64(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    return (uint32_t)((sum & 0xffff) + (sum >> 16));
}

static inline uint64_t add64(uint64_t sum, uint64_t v)
{
    uint64_t carry = __builtin_add_overflow(sum, v, &sum);
    return sum + carry; /* cannot overflow again: after a carry sum is at most 2^64 - 2 */
}

/*
 * Both halves of 64-bit words, each to a sum that has 32 bits for its carries: enough for 2^35 bytes. Copies too, if it
 * is to; the compiler makes two functions of each of these.
 */
INLINE uint64_t words_add(uint64_t sum, uint8_t *to, const uint8_t *from, size_t n, bool copy)
{
    uint64_t v, low = 0, high = 0;
    for (; n >= 8; n -= 8, from += 8) {
        memcpy(&v, from, 8);
        if (copy) {
            memcpy(to, &v, 8);
            to += 8;
        }
        low += v & 0xffffffff;
        high += v >> 32;
    }
    uint32_t four = 0; /* words of any size add up, as long as each begins at an even byte */
    uint16_t two = 0, one = 0;
    if (n & 4)
        memcpy(&four, from, 4);
    if (n & 2)
        memcpy(&two, from + (n & 4), 2);
    if (n & 1)
        memcpy(&one, from + (n & 6), 1);
    if (copy) {
        if (n & 4)
            memcpy(to, &four, 4);
        if (n & 2)
            memcpy(to + (n & 4), &two, 2);
        if (n & 1)
            memcpy(to + (n & 6), &one, 1);
    }
    return add64(add64(sum, low), high + four + two + one);
}

static uint32_t add_plain64(uint32_t sum, const void *p, size_t n)
{
    return fold64(words_add(sum, NULL, p, n, false));
}

static uint32_t copy_plain64(uint32_t sum, void *to, const void *from, size_t n)
{
    return fold64(words_add(sum, to, from, n, true));
}

#ifdef __x86_64__
#define AVX2 __attribute__((target("avx2")))

/* The same, four words at once. */
INLINE AVX2 uint64_t vectors_add(uint64_t sum, uint8_t *to, const uint8_t *from, size_t n, bool copy)
{
    const __m256i low = _mm256_set1_epi64x(0xffffffff);
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (; n >= 64; n -= 64, from += 64) {
        __m256i v = _mm256_loadu_si256((const __m256i_u *)(const void *)from);
        __m256i w = _mm256_loadu_si256((const __m256i_u *)(const void *)(from + 32));
        if (copy) {
            _mm256_storeu_si256((__m256i_u *)(void *)to, v);
            _mm256_storeu_si256((__m256i_u *)(void *)(to + 32), w);
            to += 64;
        }
        a = _mm256_add_epi64(a, _mm256_and_si256(v, low));
        b = _mm256_add_epi64(b, _mm256_srli_epi64(v, 32));
        c = _mm256_add_epi64(c, _mm256_and_si256(w, low));
        d = _mm256_add_epi64(d, _mm256_srli_epi64(w, 32));
    }
    a = _mm256_add_epi64(_mm256_add_epi64(a, b), _mm256_add_epi64(c, d));
    __m128i half = _mm_add_epi64(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    sum = add64(sum, (uint64_t)_mm_cvtsi128_si64(half));
    sum = add64(sum, (uint64_t)_mm_extract_epi64(half, 1));
    return words_add(sum, to, from, n, copy);
}

AVX2 static uint32_t add_avx2(uint32_t sum, const void *p, size_t n)
{
    return fold64(vectors_add(sum, NULL, p, n, false));
}

AVX2 static uint32_t copy_avx2(uint32_t sum, void *to, const void *from, size_t n)
{
    return fold64(vectors_add(sum, to, from, n, true));
}
#endif

uint32_t checksum_add_plain(uint32_t sum, const void *p, size_t n)
{
    const uint8_t *at = p;
    uint64_t all = sum;
    for (size_t i = 0; i < n; i += 2) {
        uint8_t two[2] = { at[i], i + 1 < n ? at[i + 1] : 0 };
        uint16_t word;
        memcpy(&word, two, 2);
        all += word;
    }
    return fold64(all);
}

static const struct way plain64 = { "plain64", add_plain64, copy_plain64 };
#ifdef __x86_64__
static const struct way avx2 = { "avx2", add_avx2, copy_avx2 };
#endif
static const struct way *way = &plain64;

bool checksum_use(const char *name)
{
    if (strcmp(name, plain64.name) == 0) {
        way = &plain64;
        return true;
    }
#ifdef __x86_64__
    __builtin_cpu_init();
    if (strcmp(name, avx2.name) == 0 && __builtin_cpu_supports("avx2")) {
        way = &avx2;
        return true;
    }
#endif
    return false;
}

/* Before main, so that no thread ever sees it change. */
__attribute__((constructor)) static void choose(void)
{
    (void)checksum_use("avx2");
}

const char *checksum_way(void)
{
    return way->name;
}

uint32_t checksum_add(uint32_t sum, const void *p, size_t n)
{
    return way->add(sum, p, n);
}

uint32_t checksum_copy(uint32_t sum, void *to, const void *from, size_t n)
{
    return way->copy(sum, to, from, n);
}
