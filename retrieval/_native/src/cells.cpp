// Centres in two levels: which leaves a row is nearest to, sums for k-means, exact neighbours inside a cell.
#include <new>

#include "best.h"
#include "simd.h"

using namespace riddle;

namespace {

// The best `depth` of few rows, kept sorted: depth is small and most offers fail at the floor.
struct Few {
    Hit hits[64];
    int size = 0, depth;
    explicit Few(int d) : depth(d) {}
    void offer(float score, int64_t row) {
        if (size == depth && score <= hits[size - 1].score) return;
        int at = size < depth ? size++ : size - 1;
        for (; at > 0 && hits[at - 1].score < score; at--) hits[at] = hits[at - 1];
        hits[at] = {score, row};
    }
};

void offer_range(const Int8Query& q, const int8_t* codes, const float* scales, size_t d, int64_t from, int64_t to, Few& few) {
    constexpr int64_t kRun = 64;
    int32_t products[kRun];
    for (; from < to; from += kRun) {
        const int64_t run = std::min(kRun, to - from);
        dots(q, codes + size_t(from) * d, d, run, products);
        for (int64_t i = 0; i < run; i++) few.offer(float(products[i]) * scales[from + i], from + i);
    }
}

}  // namespace

// Leaves of branch b are first[b] .. first[b + 1]. For each row the best `ways` (at most 64) leaves among those of its
// best `probes` (at most 64) branches; -1 where there are fewer. `scores` may be null.
RIDDLE_API void riddle_nearest_leaves(const int8_t* codes, const float* scales, int64_t n, int64_t d, const int8_t* branches,
                                      const float* branch_scales, int64_t branch_count, const int8_t* leaves, const float* leaf_scales,
                                      const int64_t* first, int64_t probes, int64_t ways, int32_t* out, float* scores) {
    for (int64_t i = 0; i < n; i++) {
        const Int8Query q(codes + i * d, size_t(d));
        Few near{int(probes)}, best{int(ways)};
        offer_range(q, branches, branch_scales, size_t(d), 0, branch_count, near);
        for (int p = 0; p < near.size; p++)
            offer_range(q, leaves, leaf_scales, size_t(d), first[near.hits[p].row], first[near.hits[p].row + 1], best);
        for (int w = 0; w < ways; w++) {
            out[i * ways + w] = w < best.size ? int32_t(best.hits[w].row) : -1;
            if (scores) scores[i * ways + w] = w < best.size ? best.hits[w].score * scales[i] : 0;
        }
    }
}

// sums[label] += row, counts[label] += 1.
RIDDLE_API void riddle_add_rows(const int8_t* codes, const float* scales, const int64_t* rows, int64_t count, int64_t d,
                                const int32_t* labels, float* sums, int64_t* counts) {
    for (int64_t i = 0; i < count; i++) {
        if (labels[i] < 0) continue;
        const int8_t* row = codes + rows[i] * d;
        float* sum = sums + labels[i] * d;
        const float scale = scales[rows[i]];
        for (int64_t j = 0; j < d; j++) sum[j] += scale * float(row[j]);
        counts[labels[i]]++;
    }
}

// Exact: for each of the `m` members (rows of codes) the `k` others of the cell with the greatest product, as rows,
// best first, -1 where there are fewer. Every pair is multiplied once and offered to both.
RIDDLE_API int riddle_cell_neighbours(const int8_t* codes, const float* scales, int64_t d, const int32_t* members, int64_t m,
                                      int64_t k, int32_t* out) try {
    std::vector<int8_t> local(size_t(m * d));
    std::vector<float> scale(m);
    for (int64_t i = 0; i < m; i++) {
        std::memcpy(local.data() + i * d, codes + int64_t(members[i]) * d, size_t(d));
        scale[i] = scales[members[i]];
    }
    std::vector<Best> best(size_t(m), Best{size_t(k)});
    std::vector<float> floor(size_t(m), -std::numeric_limits<float>::infinity());
    constexpr int64_t kTile = 64;  // rows that stay in the first-level cache
    int32_t products[kTile];
    float score[kTile];
    for (int64_t from = 0; from < m; from += kTile)
        for (int64_t j = from + 1; j < m; j++) {
            const int64_t run = std::min(j - from, kTile);
            dots(Int8Query(local.data() + j * d, size_t(d)), local.data() + from * d, size_t(d), run, products);
            for (int64_t i = 0; i < run; i++) score[i] = float(products[i]) * scale[from + i] * scale[j];
            bool any = false;  // a loop without branches first: nearly all pairs are too far apart for both
            for (int64_t i = 0; i < run; i++) any |= score[i] >= floor[from + i] || score[i] >= floor[j];
            if (!any) continue;
            for (int64_t i = 0; i < run; i++) {
                if (score[i] >= floor[from + i]) best[from + i].offer(score[i], j), floor[from + i] = best[from + i].floor();
                if (score[i] >= floor[j]) best[j].offer(score[i], from + i);
            }
            floor[j] = best[j].floor();
        }
    std::vector<int64_t> rows(2 * size_t(k) + 64);
    std::vector<float> scores(rows.size());
    for (int64_t i = 0; i < m; i++) {
        const int64_t found = best[i].write(rows.data(), scores.data());
        for (int64_t j = 0; j < k; j++) out[i * k + j] = j < found ? members[rows[j]] : -1;
    }
    return 0;
} catch (const std::bad_alloc&) { return -1; }
