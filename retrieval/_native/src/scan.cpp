// Quantising rows, scanning codes, scoring lists of rows, choosing the best. Called through ctypes, without the GIL.
#include <new>

#include "best.h"
#include "simd.h"

using namespace riddle;

namespace {

constexpr int64_t kAhead = 8;  // rows fetched before they are scored: they lie anywhere in memory

template <typename T>
void score_rows(const T* store, const float* scales, const int64_t* rows, int64_t count, const float* query, int64_t d, float* out) {
    for (int64_t i = 0; i < std::min(count, kAhead); i++) prefetch(store + rows[i] * d, d * sizeof(T));
    for (int64_t i = 0; i < count; i++) {
        if (i + kAhead < count) prefetch(store + rows[i + kAhead] * d, d * sizeof(T));
        const float product = dot(store + rows[i] * d, query, size_t(d));
        out[i] = scales ? product * scales[rows[i]] : product;
    }
}

}  // namespace

RIDDLE_API int riddle_abi() { return 8; }

// 0 the portable code, 2 AVX2 with FMA and F16C, 4 AVX-512 with VNNI: what this processor can run.
RIDDLE_API int riddle_processor() {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vnni"))
        return 4;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 2;
#endif
    return 0;
}

// code = round(value / scale), scale = max |value| / 127; a row of zeros gets scale 0.
RIDDLE_API void riddle_quantise_int8(const float* vectors, int64_t n, int64_t d, int8_t* codes, float* scales) {
    for (int64_t i = 0; i < n; i++) {
        const float* v = vectors + i * d;
        float top = 0;
        for (int64_t j = 0; j < d; j++) top = std::max(top, std::fabs(v[j]));
        const float inverse = top > 0 ? 127.0f / top : 0;
        scales[i] = top / 127.0f;
        for (int64_t j = 0; j < d; j++) codes[i * d + j] = int8_t(std::nearbyint(v[j] * inverse));
    }
}

RIDDLE_API int64_t riddle_scan_int8(const int8_t* codes, const float* scales, int64_t n, int64_t d, const int8_t* query, float query_scale,
                         const uint8_t* bits, int64_t depth, int64_t* rows, float* scores) try {
    const Int8Query q(query, size_t(d));
    Best best{size_t(depth)};
    constexpr int64_t kRun = 64;  // rows of one word of the bitmap
    int32_t products[kRun];
    for (int64_t from = 0; from < n; from += kRun) {
        const int64_t run = std::min(kRun, n - from);
        uint64_t wanted = ~uint64_t(0);
        if (bits) std::memcpy(&wanted, bits + (from >> 3), size_t(run + 7) / 8);
        if (run < 64) wanted &= (uint64_t(1) << run) - 1;
        if (bits && __builtin_popcountll(wanted) < run / 2) {
            for (; wanted; wanted &= wanted - 1) {
                const int64_t i = from + __builtin_ctzll(wanted);
                best.offer(float(q.dot(codes + i * d)) * (scales[i] * query_scale), i);
            }
            continue;
        }
        dots(q, codes + from * d, size_t(d), run, products);
        for (int64_t i = 0; i < run; i++)
            if (wanted >> i & 1) best.offer(float(products[i]) * (scales[from + i] * query_scale), from + i);
    }
    return best.write(rows, scores);
} catch (const std::bad_alloc&) { return -1; }

RIDDLE_API void riddle_score_rows_int8(const int8_t* codes, const float* scales, const int64_t* rows, int64_t count, const float* query, int64_t d, float* out) {
    score_rows(codes, scales, rows, count, query, d, out);
}

RIDDLE_API void riddle_score_rows_f16(const uint16_t* store, const int64_t* rows, int64_t count, const float* query, int64_t d, float* out) {
    score_rows(store, nullptr, rows, count, query, d, out);
}

RIDDLE_API void riddle_score_rows_f32(const float* store, const int64_t* rows, int64_t count, const float* query, int64_t d, float* out) {
    score_rows(store, nullptr, rows, count, query, d, out);
}

RIDDLE_API int64_t riddle_top(const float* all, int64_t n, int64_t depth, int64_t* rows, float* scores) try {
    Best best{size_t(depth)};
    for (int64_t i = 0; i < n; i++) best.offer(all[i], i);
    return best.write(rows, scores);
} catch (const std::bad_alloc&) { return -1; }
