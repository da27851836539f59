// Attention of one head over one text: products in int8, weights in sixteen bits as two planes of eight.
#pragma once
#include <vector>

#include "transformer.h"

namespace riddle {

#if defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__AVX512BW__)

// Room for one head of one text; grows and is used again.
class Head {
public:
    // `rows` are the text's [length] rows of query, key and value, `stride` floats apart, of one head of `width` values
    // each; the queries carry log2(e) / sqrt(width). Mixes the values for the first `asked` queries into `out`.
    void run(const float* query, const float* key, const float* value, int64_t stride, int64_t length, int64_t width, int64_t asked, float* out, int64_t out_stride) {
        length_ = length, width_ = width;
        wide_ = (length + 15) / 16 * 16;
        keys(key, stride);
        values(value, stride);
        queries_.resize(size_t(asked * width));
        steps_.resize(size_t(asked));
        for (int64_t i = 0; i < asked; i++) steps_[i] = quantise_row(query + i * stride, width, &queries_[size_t(i * width)]);
        logits_.resize(size_t(kRows * wide_));
        weights_.resize(size_t(2 * kRows * wide_));
        int64_t row = 0;
        for (; row + kRows <= asked; row += kRows) block<kRows>(row, out, out_stride);
        for (; row + 2 <= asked; row += 2) block<2>(row, out, out_stride);
        for (; row < asked; row++) block<1>(row, out, out_stride);
    }

private:
    // [width / 4][wide][4] codes, a scale for each key; what lies behind the last key is masked by its offset.
    void keys(const float* key, int64_t stride) {
        keys_.assign(size_t(width_ * wide_), 0);
        key_scales_.assign(size_t(wide_), 0.0f);
        key_sums_.assign(size_t(wide_), 0);
        masked_.assign(size_t(wide_), 0.0f);
        uint8_t codes[128];
        for (int64_t j = 0; j < length_; j++) {
            key_scales_[j] = quantise_row(key + j * stride, width_, codes);
            int32_t sum = 0;
            for (int64_t d = 0; d < width_; d += 4) {
                uint32_t four;
                std::memcpy(&four, codes + d, 4);
                four ^= 0x80808080u;
                std::memcpy(&keys_[size_t((d * wide_) + 4 * j)], &four, 4);
            }
            for (int64_t d = 0; d < width_; d++) sum += int32_t(codes[d]) - 128;
            key_sums_[j] = 128 * sum;
        }
        for (int64_t j = length_; j < wide_; j++) masked_[j] = -1e30f;
    }

    // [wide / 4][width][4] codes, a scale for each column.
    void values(const float* value, int64_t stride) {
        values_.resize(size_t(wide_ * width_));
        value_scales_.resize(size_t(width_));
        const __m512i byte = _mm512_set1_epi32(255);
        for (int64_t c = 0; c < width_; c += 16) {
            __m512 most = _mm512_set1_ps(1e-12f);
            for (int64_t j = 0; j < length_; j++) most = larger(most, loads(value + j * stride + c));
            stores(&value_scales_[c], _mm512_div_ps(most, _mm512_set1_ps(127.0f)));
            const __m512 inverse = _mm512_div_ps(_mm512_set1_ps(127.0f), most);
            for (int64_t j = 0; j < wide_; j += 4) {
                __m512i four = _mm512_setzero_si512();
                for (int64_t t = 0; t < 4 && j + t < length_; t++) {
                    const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(loads(value + (j + t) * stride + c), inverse));
                    four = _mm512_or_si512(four, _mm512_sll_epi32(_mm512_and_si512(q, byte), _mm_cvtsi32_si128(int(8 * t))));
                }
                _mm512_storeu_si512(&values_[size_t(j * width_ + 4 * c)], four);
            }
        }
    }

    template <int R>
    void block(int64_t row, float* out, int64_t out_stride) {
        for (int64_t at = 0; at < wide_; at += 64) {
            if (wide_ - at >= 64) logits<R, 4>(row, at);
            else if (wide_ - at == 48) logits<R, 3>(row, at);
            else if (wide_ - at == 32) logits<R, 2>(row, at);
            else logits<R, 1>(row, at);
        }
        float rates[R];
        for (int r = 0; r < R; r++) rates[r] = 1.0f / weigh(&logits_[size_t(r * wide_)], &weights_[size_t(2 * r * wide_)]);
        for (int64_t c = 0; c < width_; c += 32) mix<R>(row, c, rates, out, out_stride);
    }

    template <int R, int C>
    void logits(int64_t row, int64_t at) {
        Sums<R, C> sums;
        product<R, C>(&queries_[size_t(row * width_)], width_, &keys_[size_t(4 * at)], 4 * wide_, width_, sums);
#pragma GCC unroll 4
        for (int c = 0; c < C; c++) {
            const int64_t key = at + 16 * c;
            const __m512i less = _mm512_loadu_si512(&key_sums_[key]);
            const __m512 scale = loads(&key_scales_[key]), mask = loads(&masked_[key]);
#pragma GCC unroll 16
            for (int r = 0; r < R; r++) {
                const __m512 value = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sums.of(r, c), less)), scale);
                stores(&logits_[size_t(r * wide_ + key)], _mm512_fmadd_ps(value, _mm512_set1_ps(steps_[row + r]), mask));
            }
        }
    }

    // exp2 of the logits, the greatest 65535: high bytes to `high`, low ones behind them; returns their sum.
    float weigh(const float* logits, uint8_t* high) const {
        __m512 most = loads(logits);
        for (int64_t j = 16; j < wide_; j += 16) most = _mm512_max_ps(most, loads(logits + j));
        const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most) - 15.99997798f);  // log2(65535)
        __m512i total = _mm512_setzero_si512();
        for (int64_t j = 0; j < wide_; j += 16) {
            const __m512i weight = _mm512_cvtps_epi32(exp2_ps(_mm512_sub_ps(loads(logits + j), top)));
            total = _mm512_add_epi32(total, weight);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(high + j), _mm512_cvtepi32_epi8(_mm512_srli_epi32(weight, 8)));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(high + wide_ + j), _mm512_cvtepi32_epi8(weight));
        }
        return float(_mm512_reduce_add_epi32(total));
    }

    template <int R>
    void mix(int64_t row, int64_t c, const float (&rates)[R], float* out, int64_t out_stride) {
        Sums<2 * R, 2> sums;
        product<2 * R, 2>(weights_.data(), wide_, &values_[size_t(4 * c)], 4 * width_, wide_, sums);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            const __m512 scale = loads(&value_scales_[c + 16 * half]);
#pragma GCC unroll 16
            for (int r = 0; r < R; r++) {
                const __m512 high = _mm512_cvtepi32_ps(sums.of(2 * r, half)), low = _mm512_cvtepi32_ps(sums.of(2 * r + 1, half));
                const __m512 both = _mm512_fmadd_ps(high, _mm512_set1_ps(256.0f), low);
                stores(out + (row + r) * out_stride + c + 16 * half, _mm512_mul_ps(_mm512_mul_ps(both, scale), _mm512_set1_ps(rates[r])));
            }
        }
    }

    int64_t length_ = 0, width_ = 0, wide_ = 0;
    std::vector<int8_t> keys_, values_;
    std::vector<uint8_t> queries_, weights_;
    std::vector<float> key_scales_, masked_, value_scales_, steps_, logits_;
    std::vector<int32_t> key_sums_;
};

#endif

}  // namespace riddle
