// What a BERT encoder's forward pass is made of, in int8 products (AVX-512 VNNI) with one scale for each row of
// activations: nothing that is computed for one token depends on what else is in the batch.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

// gcc 12 takes the undefined registers inside its own intrinsics for mistakes (bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include "simd.h"

namespace riddle {

// A linear layer as packed by Python: `codes` are [outputs / 64][inputs / 4][64][4] int8.
struct Linear {
    const int8_t* codes;
    const float* scales;   // [outputs]
    const float* offsets;  // [outputs]
    const int32_t* sums;   // [outputs]: 128 times the sum of the output's codes
    int64_t outputs, inputs;
};

#if defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__AVX512BW__)

constexpr int64_t kPanel = 64, kRows = 6;

inline __m512 loads(const float* p) { return _mm512_loadu_ps(p); }
inline void stores(float* p, __m512 v) { _mm512_storeu_ps(p, v); }

// 2^x for x <= 0, off by 8e-6 of itself at most.
inline __m512 exp2_ps(__m512 x) {
    const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m512 part = _mm512_sub_ps(x, whole);
    __m512 p = _mm512_set1_ps(0.009670773f);
    p = _mm512_fmadd_ps(p, part, _mm512_set1_ps(0.055875574f));
    p = _mm512_fmadd_ps(p, part, _mm512_set1_ps(0.240222116f));
    p = _mm512_fmadd_ps(p, part, _mm512_set1_ps(0.693127259f));
    p = _mm512_fmadd_ps(p, part, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, whole);
}

// x * Phi(x), Phi the normal distribution, off by 2e-4 at most: less than a step of the int8 that it becomes.
inline __m512 gelu_ps(__m512 x) {
    const __m512 c = _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-4.0f)), _mm512_set1_ps(4.0f));
    const __m512 u = _mm512_mul_ps(c, c);
    __m512 p = _mm512_set1_ps(2.2775521823679267e-08f);
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(-1.598278067045788e-06f));
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(4.79485794057824e-05f));
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(-0.0008139424679579779f));
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(0.008772000151387885f));
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(-0.0645721604658814f));
    p = _mm512_fmadd_ps(p, u, _mm512_set1_ps(0.3978825682847903f));
    return _mm512_mul_ps(x, _mm512_fmadd_ps(p, c, _mm512_set1_ps(0.5f)));
}

inline __m512 larger(__m512 most, __m512 v) { return _mm512_max_ps(most, _mm512_abs_ps(v)); }

// Codes of one row, 128 added so that they are unsigned; returns the scale.
inline float quantise_row(const float* row, int64_t n, float most, uint8_t* codes) {
    most = std::max(most, 1e-12f);
    const __m512 inverse = _mm512_set1_ps(127.0f / most);
    const __m512i middle = _mm512_set1_epi32(128);
    for (int64_t i = 0; i < n; i += 16) {
        const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(loads(row + i), inverse));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + i), _mm512_cvtepi32_epi8(_mm512_add_epi32(q, middle)));
    }
    return most / 127.0f;
}

inline float quantise_row(const float* row, int64_t n, uint8_t* codes) {
    __m512 most = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) most = larger(most, loads(row + i));
    return quantise_row(row, n, _mm512_reduce_max_ps(most), codes);
}

// R rows by C * 16 columns: `a` rows are `stride` bytes apart, `b` holds 4-byte groups, `step` bytes for each four inputs.
// The sums of R rows by C * 16 columns.
template <int R, int C>
struct Sums {
    alignas(64) int32_t at[R * C][16];

    __m512i of(int row, int c) const { return _mm512_load_si512(at[row * C + c]); }
};

inline __m512i four_of_row(const uint8_t* a) {
    int32_t four;
    std::memcpy(&four, a, 4);
    return _mm512_set1_epi32(four);
}

// Folds, not loops, and one store at the end: else the compiler keeps the sums in memory and takes 2.4 times as long.
template <int R, int C, size_t... N>
inline __attribute__((always_inline)) void product(const uint8_t* a, int64_t stride, const int8_t* b, int64_t step, int64_t inputs, Sums<R, C>& out, std::index_sequence<N...>) {
    __m512i sums[R * C];
    ((sums[N] = _mm512_setzero_si512()), ...);
    for (int64_t k = 0; k < inputs; k += 4, b += step)
        ((sums[N] = _mm512_dpbusd_epi32(sums[N], four_of_row(a + int64_t(N / C) * stride + k), _mm512_loadu_si512(b + 64 * (N % C)))), ...);
    ((_mm512_store_si512(out.at[N], sums[N])), ...);
}

// `a` rows are `stride` bytes apart, `b` holds groups of four inputs a column, `step` bytes for each group.
template <int R, int C>
inline __attribute__((noinline)) void product(const uint8_t* a, int64_t stride, const int8_t* b, int64_t step, int64_t inputs, Sums<R, C>& out) {
    product<R, C>(a, stride, b, step, inputs, out, std::make_index_sequence<size_t(R * C)>());
}

template <int R, class Store>
inline void panel(const uint8_t* a, const float* scales, int64_t row, const Linear& w, int64_t at, Store&& store) {
    Sums<R, 4> sums;
    product<R, 4>(a + row * w.inputs, w.inputs, w.codes + at * w.inputs, 4 * kPanel, w.inputs, sums);
#pragma GCC unroll 4
    for (int c = 0; c < 4; c++) {
        const int64_t column = at + 16 * c;
        const __m512i less = _mm512_loadu_si512(w.sums + column);
        const __m512 scale = loads(w.scales + column), offset = loads(w.offsets + column);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sums.of(r, c), less)), scale);
            store(row + r, column, _mm512_fmadd_ps(value, _mm512_set1_ps(scales[row + r]), offset));
        }
    }
}

// Rows of codes `a` [rows, inputs] with their scales times columns [first, last) of w; `store` gets row, column, 16 values.
template <class Store>
inline void linear(const uint8_t* a, const float* scales, int64_t rows, const Linear& w, int64_t first, int64_t last, Store&& store) {
    for (int64_t at = first; at < last; at += kPanel) {
        int64_t row = 0;
        for (; row + kRows <= rows; row += kRows) panel<kRows>(a, scales, row, w, at, store);
        switch (rows - row) {
            case 5: panel<5>(a, scales, row, w, at, store); break;
            case 4: panel<4>(a, scales, row, w, at, store); break;
            case 3: panel<3>(a, scales, row, w, at, store); break;
            case 2: panel<2>(a, scales, row, w, at, store); break;
            case 1: panel<1>(a, scales, row, w, at, store); break;
            default: break;
        }
    }
}

// (x - mean) / deviation * weight + offset in place; returns the largest magnitude of what comes out.
inline float normalise(float* x, int64_t n, const float* weight, const float* offset, float epsilon) {
    __m512 total = _mm512_setzero_ps(), squares = total;
    for (int64_t i = 0; i < n; i += 16) total = _mm512_add_ps(total, loads(x + i));
    const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(total) / float(n));
    for (int64_t i = 0; i < n; i += 16) {
        const __m512 d = _mm512_sub_ps(loads(x + i), mean);
        squares = _mm512_fmadd_ps(d, d, squares);
    }
    const __m512 rate = _mm512_set1_ps(1.0f / std::sqrt(_mm512_reduce_add_ps(squares) / float(n) + epsilon));
    __m512 most = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) {
        const __m512 d = _mm512_mul_ps(_mm512_sub_ps(loads(x + i), mean), rate);
        const __m512 y = _mm512_fmadd_ps(d, loads(weight + i), loads(offset + i));
        most = larger(most, y);
        stores(x + i, y);
    }
    return _mm512_reduce_max_ps(most);
}

#endif

}  // namespace riddle
