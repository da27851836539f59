// Scoring the rows of some lists, one list after another, only those that a bitmap admits.
#include <new>

#include "best.h"
#include "simd.h"

using namespace riddle;

namespace {

constexpr int64_t kAhead = 8;

struct ByCodes {
    const int8_t* codes;
    const float* scales;
    Int8Query query;
    float query_scale;
    int64_t d;
    void fetch(int64_t row) const { prefetch(codes + row * d, size_t(d)), __builtin_prefetch(scales + row); }
    float score(int64_t row) const { return float(query.dot(codes + row * d)) * (scales[row] * query_scale); }
};

struct ByHalves {
    const uint16_t* halves;
    const float* query;
    int64_t d;
    void fetch(int64_t row) const { prefetch(halves + row * d, size_t(d) * 2); }
    float score(int64_t row) const { return dot(halves + row * d, query, size_t(d)); }
};

// Goes through `lists` in order until the evidence is `goal`: the lists in which something was admitted, times the root of
// the share of their rows that was. Without a bitmap that is the number of lists.
// seen[0]: admitted rows scored, seen[1]: lists read, seen[2]: 1 when the goal was reached.
template <typename Scorer>
int64_t scan(const Scorer& scorer, const int64_t* offsets, const int32_t* members, const int64_t* lists, int64_t list_count,
             const uint8_t* bits, int64_t depth, double goal, int64_t* rows, float* scores, int64_t* seen) {
    Best best{size_t(depth)};
    std::vector<int32_t> kept;
    int64_t scored = 0, read = 0, all = 0, touched = 0;
    const auto reached = [&] { return double(touched) * double(touched) * double(scored) >= goal * goal * double(all) && touched; };
    for (; read < list_count && !reached(); read++) {
        const int32_t* from = members + offsets[lists[read]];
        int64_t count = offsets[lists[read] + 1] - offsets[lists[read]];
        const int64_t size = count;
        if (bits) {
            kept.resize(size_t(count));
            int64_t filled = 0;
            for (int64_t i = 0; i < count; i++) {  // without a branch: which bits are set cannot be guessed
                kept[size_t(filled)] = from[i];
                filled += admitted(bits, from[i]);
            }
            from = kept.data();
            count = filled;
        }
        for (int64_t i = 0; i < std::min(count, kAhead); i++) scorer.fetch(from[i]);
        for (int64_t i = 0; i < count; i++) {
            if (i + kAhead < count) scorer.fetch(from[i + kAhead]);
            best.offer(scorer.score(from[i]), from[i]);
        }
        if (count) touched++, all += size, scored += count;
    }
    seen[0] = scored;
    seen[1] = read;
    seen[2] = reached();
    return best.write(rows, scores);
}

}  // namespace

RIDDLE_API int64_t riddle_scan_lists_int8(const int8_t* codes, const float* scales, int64_t d, const int8_t* query, float query_scale,
                                          const int64_t* offsets, const int32_t* members, const int64_t* lists, int64_t list_count,
                                          const uint8_t* bits, int64_t depth, double goal, int64_t* rows, float* scores, int64_t* seen) try {
    const ByCodes scorer{codes, scales, Int8Query(query, size_t(d)), query_scale, d};
    return scan(scorer, offsets, members, lists, list_count, bits, depth, goal, rows, scores, seen);
} catch (const std::bad_alloc&) { return -1; }

RIDDLE_API int64_t riddle_scan_lists_f16(const uint16_t* halves, int64_t d, const float* query, const int64_t* offsets,
                                         const int32_t* members, const int64_t* lists, int64_t list_count, const uint8_t* bits,
                                         int64_t depth, double goal, int64_t* rows, float* scores, int64_t* seen) try {
    const ByHalves scorer{halves, query, d};
    return scan(scorer, offsets, members, lists, list_count, bits, depth, goal, rows, scores, seen);
} catch (const std::bad_alloc&) { return -1; }
