// Late interaction: for each token of a query its best product with any token of a passage, summed, over tokens that
// are kept as the number of a centroid and a residual of a few bits a dimension, decompressed on the way.
#include <algorithm>
#include <new>
#include <vector>

#include "simd.h"

using namespace riddle;

namespace {

constexpr int64_t kLanes = 16;  // query tokens side by side; their number is filled up to whole lanes
constexpr int64_t kMostDimensions = 256;
constexpr int64_t kHead = 3;     // bytes of a token's record before its residual
constexpr int64_t kAtOnce = 4;  // tokens of a passage that share a reading of the query

// What makes the vector of a token a unit one, as a byte says it.
constexpr float kLeast = 0.75f, kStep = 1.0f / 512;

struct Late {
    const float* by_centroid;  // [centroids][lanes * kLanes]: products of the query's tokens with each centroid
    const int8_t* query;       // [d / 4][lanes * kLanes][4]: the query's tokens as int8
    const float* scales;       // [lanes * kLanes]: what a unit of the integer product is worth
    const int32_t* offsets;    // [lanes * kLanes]: what the zero of the weights adds to an integer product
    int64_t lanes;
    const uint8_t* weights;  // [16]: a code's value, 0..127
    int64_t bits, d, width, centroids;
};

// A token's residual as one byte a dimension. Byte j holds the codes of dimensions j, j + stride, j + 2 stride and so on.
inline void unpack(const Late& late, const uint8_t* packed, uint8_t* out) {
    const int64_t planes = 8 / late.bits, stride = late.d / planes;
    const uint8_t mask = uint8_t((1 << late.bits) - 1);
#if defined(__AVX2__)
    if (stride >= 16) {
        const __m128i table = _mm_loadu_si128(reinterpret_cast<const __m128i*>(late.weights));
        const __m128i low = _mm_set1_epi8(char(mask));
        for (int64_t at = 0; at < stride; at += 16) {
            const int64_t j = std::min(at, stride - 16);  // the last step goes over some bytes again
            __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packed + j));
            for (int64_t plane = 0; plane < planes; plane++) {
                _mm_storeu_si128(reinterpret_cast<__m128i*>(out + plane * stride + j), _mm_shuffle_epi8(table, _mm_and_si128(bytes, low)));
                bytes = _mm_srl_epi16(bytes, _mm_cvtsi64_si128(late.bits));  // what comes in from the next byte is masked
            }
        }
        return;
    }
#endif
    for (int64_t plane = 0; plane < planes; plane++)
        for (int64_t j = 0; j < stride; j++) out[plane * stride + j] = late.weights[packed[j] >> (plane * late.bits) & mask];
}

// The integer products of up to kAtOnce tokens with sixteen tokens of the query. Weights end at 127, so that the pairs of
// maddubs (2 * 127 * 127) never saturate.
inline void products(const Late& late, const uint8_t* const* tokens, int64_t lane, int32_t out[kAtOnce][kLanes]) {
    const int64_t groups = late.d / 4, row = late.lanes * kLanes * 4;
    const int8_t* q = late.query + lane * kLanes * 4;
#if defined(__AVX512VNNI__)
    __m512i a = _mm512_setzero_si512(), b = a, c = a, e = a;
    for (int64_t g = 0; g < groups; g++, q += row) {
        const __m512i v = _mm512_loadu_si512(q);
        int32_t four[kAtOnce];
        for (int64_t t = 0; t < kAtOnce; t++) std::memcpy(four + t, tokens[t] + g * 4, 4);
        a = _mm512_dpbusd_epi32(a, _mm512_set1_epi32(four[0]), v);
        b = _mm512_dpbusd_epi32(b, _mm512_set1_epi32(four[1]), v);
        c = _mm512_dpbusd_epi32(c, _mm512_set1_epi32(four[2]), v);
        e = _mm512_dpbusd_epi32(e, _mm512_set1_epi32(four[3]), v);
    }
    _mm512_storeu_si512(out[0], a), _mm512_storeu_si512(out[1], b), _mm512_storeu_si512(out[2], c), _mm512_storeu_si512(out[3], e);
#elif defined(__AVX2__)
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sums[kAtOnce][2];
    for (auto& each : sums) each[0] = each[1] = _mm256_setzero_si256();
    for (int64_t g = 0; g < groups; g++, q += row) {
        const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q));
        const __m256i w = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q + 32));
        for (int64_t t = 0; t < kAtOnce; t++) {
            int32_t four;
            std::memcpy(&four, tokens[t] + g * 4, 4);
            const __m256i token = _mm256_set1_epi32(four);
            sums[t][0] = _mm256_add_epi32(sums[t][0], _mm256_madd_epi16(_mm256_maddubs_epi16(token, v), ones));
            sums[t][1] = _mm256_add_epi32(sums[t][1], _mm256_madd_epi16(_mm256_maddubs_epi16(token, w), ones));
        }
    }
    for (int64_t t = 0; t < kAtOnce; t++) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out[t]), sums[t][0]);
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(out[t] + 8), sums[t][1]);
    }
#else
    for (int64_t t = 0; t < kAtOnce; t++)
        for (int64_t l = 0; l < kLanes; l++) out[t][l] = 0;
    for (int64_t g = 0; g < groups; g++, q += row)
        for (int64_t t = 0; t < kAtOnce; t++)
            for (int64_t l = 0; l < kLanes; l++)
                for (int64_t i = 0; i < 4; i++) out[t][l] += int32_t(tokens[t][g * 4 + i]) * q[l * 4 + i];
#endif
}

// The sum over the query's tokens of the best product with a token among `count` that lie one after another.
float max_sim(const Late& late, const uint8_t* tokens, int64_t count, int64_t query_tokens, float* best) {
    const int64_t wide = late.lanes * kLanes;
    alignas(64) uint8_t open[kAtOnce][kMostDimensions];
    alignas(64) int32_t sums[kAtOnce][kLanes];
    const uint8_t* opened[kAtOnce];
    const float* centroid[kAtOnce];
    float factor[kAtOnce];
    std::fill(best, best + wide, -1e30f);
    for (int64_t from = 0; from < count; from += kAtOnce) {
        const int64_t here = std::min(kAtOnce, count - from);
        for (int64_t t = 0; t < kAtOnce; t++) {
            const uint8_t* record = tokens + (from + std::min(t, here - 1)) * late.width;
            if (t < here) unpack(late, record + kHead, open[t]);
            opened[t] = open[std::min(t, here - 1)];
            factor[t] = kLeast + float(record[2]) * kStep;
            // A damaged file must not lead outside.
            centroid[t] = late.by_centroid + std::min<int64_t>(record[0] | record[1] << 8, late.centroids - 1) * wide;
        }
        for (int64_t lane = 0; lane < late.lanes; lane++) {
            products(late, opened, lane, sums);
            for (int64_t t = 0; t < here; t++)
                for (int64_t l = 0; l < kLanes; l++) {
                    const int64_t at = lane * kLanes + l;
                    const float score = (centroid[t][at] + late.scales[at] * float(sums[t][l] - late.offsets[at])) * factor[t];
                    best[at] = score > best[at] ? score : best[at];
                }
        }
    }
    float total = 0;
    for (int64_t q = 0; q < query_tokens; q++) total += best[q];
    return total;
}

}  // namespace

// Passage `rows[i]` has the tokens `starts[row] .. starts[row + 1]`, `width` bytes each: two of the centroid's number, little
// end first, one of the factor that makes it a unit vector, then the residual. A passage without tokens scores NaN.
RIDDLE_API int riddle_max_sim(const uint8_t* tokens, int64_t width, const int64_t* starts, const int64_t* rows, int64_t count,
                              const float* by_centroid, int64_t centroids, const int8_t* query, const float* scales, const int32_t* offsets, int64_t lanes,
                              int64_t query_tokens, const uint8_t* weights, int64_t bits, int64_t d, float* out) try {
    const Late late{by_centroid, query, scales, offsets, lanes, weights, bits, d, width, centroids};
    std::vector<float> best(size_t(lanes * kLanes));
    for (int64_t i = 0; i < count; i++) {
        if (i + 1 < count) {  // the first lines of the next one: the rest follows by itself
            const int64_t next = starts[rows[i + 1]];
            prefetch(tokens + next * width, size_t(std::min<int64_t>((starts[rows[i + 1] + 1] - next) * width, 512)));
        }
        const int64_t start = starts[rows[i]], length = starts[rows[i] + 1] - start;
        out[i] = length ? max_sim(late, tokens + start * width, length, query_tokens, best.data()) : NAN;
    }
    return 0;
} catch (const std::bad_alloc&) { return -1; }
