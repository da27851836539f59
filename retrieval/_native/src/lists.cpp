// Search of inverted lists, the nearest first, only among the rows that a bitmap admits, as far as it pays.
#include <functional>
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

struct Lists {
    const int8_t* centroids;
    const float* scales;
    int64_t count;
    const int64_t* offsets;
    const int32_t* members;
    bool packed;  // vectors lie in the order of the members, not of their row numbers
};

// Reads lists, the nearest centroid first, until a centroid's product with the query and `margin` do not reach the `k`th best
// of what was admitted so far. Where nothing of the first kNear lists is admitted, `far` takes the place of `margin`: out there
// the order of centroids says less. seen[0]: admitted rows scored, seen[1]: lists read.
constexpr int64_t kNear = 4;

template <typename Scorer>
int64_t search(const Scorer& scorer, const Int8Query& query, float query_scale, const Lists& lists, const uint8_t* bits, int64_t keep,
               int64_t k, float margin, float far, int64_t* rows, float* scores, int64_t* seen) {
    struct Near {
        float score;
        int32_t list;
        bool operator<(const Near& other) const { return score < other.score || (score == other.score && list > other.list); }
    };
    std::vector<Near> heap(size_t(lists.count));
    for (int64_t l = 0; l < lists.count; l++)
        heap[size_t(l)] = {float(query.dot(lists.centroids + l * scorer.d)) * (lists.scales[l] * query_scale), int32_t(l)};
    std::make_heap(heap.begin(), heap.end());
    Best best{size_t(keep)};
    std::vector<float> top;  // a heap of the k best scores, the least of them in front
    std::vector<int32_t> kept;
    int64_t scored = 0, read = 0;
    for (; !heap.empty(); read++) {
        const Near near = heap.front();
        if (int64_t(top.size()) == k && near.score + margin <= top.front()) break;
        std::pop_heap(heap.begin(), heap.end());
        heap.pop_back();
        const int64_t start = lists.offsets[near.list], size = lists.offsets[near.list + 1] - start;
        kept.resize(size_t(size));
        int64_t count = 0;
        for (int64_t i = 0; i < size; i++) {  // without a branch: which bits are set cannot be guessed
            kept[size_t(count)] = int32_t(i);
            count += bits ? admitted(bits, lists.members[start + i]) : 1;
        }
        if (count && !scored && read >= kNear) margin = far;
        const auto place = [&](int64_t i) { return lists.packed ? start + kept[size_t(i)] : int64_t(lists.members[start + kept[size_t(i)]]); };
        for (int64_t i = 0; i < std::min(count, kAhead); i++) scorer.fetch(place(i));
        for (int64_t i = 0; i < count; i++) {
            if (i + kAhead < count) scorer.fetch(place(i + kAhead));
            const float score = scorer.score(place(i));
            best.offer(score, lists.members[start + kept[size_t(i)]]);
            if (int64_t(top.size()) < k) {
                top.push_back(score);
                std::push_heap(top.begin(), top.end(), std::greater<float>());
            } else if (score > top.front()) {
                std::pop_heap(top.begin(), top.end(), std::greater<float>());
                top.back() = score;
                std::push_heap(top.begin(), top.end(), std::greater<float>());
            }
        }
        scored += count;
    }
    seen[0] = scored;
    seen[1] = read;
    return best.write(rows, scores);
}

}  // namespace

RIDDLE_API int64_t riddle_search_lists_int8(const int8_t* codes, const float* scales, int64_t d, const int8_t* query, float query_scale,
                                            const int8_t* centroids, const float* centroid_scales, int64_t count,
                                            const int64_t* offsets, const int32_t* members, int packed, const uint8_t* bits,
                                            int64_t keep, int64_t k, float margin, float far, int64_t* rows, float* scores,
                                            int64_t* seen) try {
    const Int8Query q(query, size_t(d));
    const Lists lists{centroids, centroid_scales, count, offsets, members, packed != 0};
    return search(ByCodes{codes, scales, q, query_scale, d}, q, query_scale, lists, bits, keep, k, margin, far, rows, scores, seen);
} catch (const std::bad_alloc&) { return -1; }

RIDDLE_API int64_t riddle_search_lists_f16(const uint16_t* halves, const float* exact, int64_t d, const int8_t* query, float query_scale,
                                           const int8_t* centroids, const float* centroid_scales, int64_t count,
                                           const int64_t* offsets, const int32_t* members, int packed, const uint8_t* bits,
                                           int64_t keep, int64_t k, float margin, float far, int64_t* rows, float* scores,
                                           int64_t* seen) try {
    const Int8Query q(query, size_t(d));
    const Lists lists{centroids, centroid_scales, count, offsets, members, packed != 0};
    return search(ByHalves{halves, exact, d}, q, query_scale, lists, bits, keep, k, margin, far, rows, scores, seen);
} catch (const std::bad_alloc&) { return -1; }
