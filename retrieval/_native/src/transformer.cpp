// A BERT encoder's forward pass over texts of any lengths laid end to end, without padding, in one thread.
#include <new>

#include "attention.h"

using namespace riddle;

namespace {

struct Norm {
    const float *weight, *offset;
};

struct Layer {
    Linear attention;  // query, key and value one after another; the queries carry log2(e) / sqrt(width)
    Linear output, up, down;
    Norm attended, fed;
};

struct Model {
    const int8_t* words;
    const float* word_scales;
    const float* places;    // [places, hidden]
    const float* segments;  // [segments, hidden]
    Norm embedded;
    const Layer* layers;
    int64_t hidden, inner, heads, count;
    float epsilon;
};

#if defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__AVX512BW__)

constexpr int64_t kFed = 48;  // rows of the inner layer at a time, a multiple of kRows

// What a pass writes on the way. Each thread keeps its own: fresh memory costs more than a tenth of the arithmetic.
struct Room {
    std::vector<float> x, scales, wide, mixed, most, inner_scales;
    std::vector<uint8_t> codes, inner_codes;
    Head head;

    void fit(size_t rows, size_t hidden, size_t inner) {
        grow(x, rows * hidden), grow(codes, rows * hidden), grow(scales, rows), grow(mixed, rows * hidden);
        grow(wide, std::max(rows * 3 * hidden, size_t(kFed) * inner)), grow(most, size_t(kFed) * 16);
        grow(inner_codes, size_t(kFed) * inner), grow(inner_scales, size_t(kFed));
    }

    template <class T>
    static void grow(std::vector<T>& v, size_t size) {
        if (v.size() < size) v.resize(size);
    }
};

class Pass {
public:
    Pass(const Model& model, const int64_t* starts, int64_t texts, Room& room)
        : m(model), starts_(starts), texts_(texts), rows_(starts[texts]), x_(room.x), scales_(room.scales),
          wide_(room.wide), mixed_(room.mixed), codes_(room.codes), room_(room) {
        room.fit(size_t(rows_), size_t(m.hidden), size_t(m.inner));
    }

    void embed(const int32_t* ids, const uint8_t* types) {
        for (int64_t t = 0; t < texts_; t++)
            for (int64_t row = starts_[t]; row < starts_[t + 1]; row++) {
                const int8_t* word = m.words + int64_t(ids[row]) * m.hidden;
                const __m512 scale = _mm512_set1_ps(m.word_scales[ids[row]]);
                const float* place = m.places + (row - starts_[t]) * m.hidden;
                const float* segment = m.segments + types[row] * m.hidden;
                float* x = &x_[size_t(row * m.hidden)];
                for (int64_t i = 0; i < m.hidden; i += 16) {
                    const __m512i code = _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(word + i)));
                    const __m512 rest = _mm512_add_ps(loads(place + i), loads(segment + i));
                    stores(x + i, _mm512_fmadd_ps(_mm512_cvtepi32_ps(code), scale, rest));
                }
                const float most = normalise(x, m.hidden, m.embedded.weight, m.embedded.offset, m.epsilon);
                scales_[size_t(row)] = quantise_row(x, m.hidden, most, &codes_[size_t(row * m.hidden)]);
            }
    }

    void layer(const Layer& l, bool firsts) {
        const int64_t h = m.hidden;
        float* wide = wide_.data();
        linear(codes_.data(), scales_.data(), rows_, l.attention, firsts ? h : 0, 3 * h, [=](int64_t row, int64_t column, __m512 v) {
            stores(wide + row * 3 * h + column, v);
        });
        if (firsts) only_firsts(l);
        const int64_t width = h / m.heads;
        for (int64_t t = 0; t < texts_; t++) {
            const int64_t length = starts_[t + 1] - starts_[t];
            for (int64_t head = 0; head < m.heads; head++) {
                const float* at = wide + starts_[t] * 3 * h + head * width;
                float* out = &mixed_[size_t((firsts ? t : starts_[t]) * h + head * width)];
                room_.head.run(at, at + h, at + 2 * h, 3 * h, length, width, firsts ? 1 : length, out, h);
            }
        }
        if (firsts) rows_ = texts_;
        for (int64_t row = 0; row < rows_; row++) quantise(mixed_.data(), h, row);
        residual(l.output, l.attended, codes_.data(), scales_.data(), 0, rows_);
        feed(l);
    }

    const float* vectors() const { return x_.data(); }

private:
    // The first row of each text moves to the front, and only these go on; their queries are computed here.
    void only_firsts(const Layer& l) {
        const int64_t h = m.hidden;
        float* wide = wide_.data();
        std::vector<uint8_t> codes(size_t(texts_ * h));
        std::vector<float> scales(size_t(texts_), 0.0f);
        for (int64_t t = 0; t < texts_; t++) {
            std::memcpy(&codes[size_t(t * h)], &codes_[size_t(starts_[t] * h)], size_t(h));
            scales[size_t(t)] = scales_[size_t(starts_[t])];
            std::memmove(&x_[size_t(t * h)], &x_[size_t(starts_[t] * h)], size_t(h) * sizeof(float));
        }
        const int64_t* starts = starts_;
        linear(codes.data(), scales.data(), texts_, l.attention, 0, h, [=](int64_t row, int64_t column, __m512 v) {
            stores(wide + starts[row] * 3 * h + column, v);
        });
    }

    void quantise(const float* from, int64_t n, int64_t row) {
        scales_[size_t(row)] = quantise_row(from + row * n, n, &codes_[size_t(row * n)]);
    }

    // A block's end for rows [first, first + rows): a linear layer of `codes`, what went into the block added,
    // normalised, and as codes again in codes_.
    void residual(const Linear& w, const Norm& norm, const uint8_t* codes, const float* scales, int64_t first, int64_t rows) {
        const int64_t h = m.hidden;
        float* x = &x_[size_t(first * h)];
        linear(codes, scales, rows, w, 0, h, [=](int64_t row, int64_t column, __m512 v) {
            float* at = x + row * h + column;
            stores(at, _mm512_add_ps(loads(at), v));
        });
        for (int64_t row = 0; row < rows; row++) {
            const float most = normalise(x + row * h, h, norm.weight, norm.offset, m.epsilon);
            scales_[size_t(first + row)] = quantise_row(x + row * h, h, most, &codes_[size_t((first + row) * h)]);
        }
    }

    // In blocks of rows whose inner values fit into the second-level cache.
    void feed(const Layer& l) {
        for (int64_t first = 0; first < rows_; first += kFed) feed(l, first, std::min(kFed, rows_ - first));
    }

    void feed(const Layer& l, int64_t first, int64_t rows) {
        const int64_t n = m.inner, h = m.hidden;
        float *wide = wide_.data(), *most = room_.most.data(), *scales = room_.inner_scales.data();
        uint8_t* codes = room_.inner_codes.data();
        std::fill_n(most, 16 * rows, 0.0f);
        linear(&codes_[size_t(first * h)], &scales_[size_t(first)], rows, l.up, 0, n, [=](int64_t row, int64_t column, __m512 v) {
            const __m512 y = gelu_ps(v);
            stores(most + 16 * row, larger(loads(most + 16 * row), y));
            stores(wide + row * n + column, y);
        });
        for (int64_t row = 0; row < rows; row++)
            scales[row] = quantise_row(wide + row * n, n, _mm512_reduce_max_ps(loads(most + 16 * row)), codes + row * n);
        residual(l.down, l.fed, codes, scales, first, rows);
    }

    const Model& m;
    const int64_t* starts_;
    int64_t texts_, rows_;
    std::vector<float>&x_, &scales_, &wide_, &mixed_;
    std::vector<uint8_t>& codes_;
    Room& room_;
};

#endif

}  // namespace

// Vectors of the last layer, float32 [texts, hidden] of each text's first token, or [tokens, hidden] of all. `ids` and
// `types` are those of all texts one after another, `starts` [texts + 1]. Returns 0, -1 without memory, -2 where the
// library is compiled for processors without these instructions.
RIDDLE_API int32_t riddle_transformer(const void* model, const int32_t* ids, const uint8_t* types, const int64_t* starts, int64_t texts, int32_t firsts, float* out) try {
#if defined(__AVX512VNNI__) && defined(__AVX512VL__) && defined(__AVX512BW__)
    const Model& m = *static_cast<const Model*>(model);
    if (texts == 0) return 0;
    static thread_local Room room;
    Pass pass(m, starts, texts, room);
    pass.embed(ids, types);
    for (int64_t l = 0; l < m.count; l++) pass.layer(m.layers[l], firsts && l + 1 == m.count);
    std::memcpy(out, pass.vectors(), size_t((firsts ? texts : starts[texts]) * m.hidden) * sizeof(float));
    return 0;
#else
    (void)model, (void)ids, (void)types, (void)starts, (void)texts, (void)firsts, (void)out;
    return -2;
#endif
} catch (const std::bad_alloc&) { return -1; }
