// A graph over int8 rows: best-first search, and the steps that build it from lists of near neighbours.
#include "walk.h"

using namespace riddle;

namespace {

// Best-first search, as if `hidden` were not there. Each row that is scored is also shown to `seen`, scores without the
// query's scale.
template <typename Seen>
int64_t search(const Store& store, const uint32_t* links, int64_t degree, const Int8Query& q, const uint32_t* entries, int64_t entry_count,
               size_t width, uint32_t hidden, Scratch& s, Seen seen) {
    s.met.clear();
    if (hidden != kNone) s.met.add(hidden);
    s.beam.reset(width);
    s.fresh.clear();
    int64_t scored = 0;
    for (int64_t i = 0; i < entry_count; i++)
        if (entries[i] != kNone) s.take(entries[i]);
    for (;;) {
        s.score.resize(s.fresh.size());
        store.scores(q, s.fresh.data(), s.fresh.size(), s.score.data());
        for (size_t i = 0; i < s.fresh.size(); i++) {
            const uint32_t id = s.fresh[i];
            const float score = s.score[i];
            seen(score, id);
            if (s.beam.wants(score)) {
                s.beam.insert(score, id);
                prefetch(links + int64_t(id) * degree, size_t(degree) * 4);
            }
        }
        scored += int64_t(s.fresh.size());
        const Node* node = s.beam.next();
        if (!node) return scored;
        s.fresh.clear();
        const uint32_t* list = links + int64_t(node->id) * degree;
        for (int64_t i = 0; i < degree && list[i] != kNone; i++)
            if (s.met.add(list[i])) {
                s.fresh.push_back(list[i]);
                store.fetch(list[i]);
            }
    }
}

// The rule of relative neighbourhood graphs, relaxed by alpha as in Vamana (Subramanya et al., NeurIPS 2019): a candidate
// stays out when a chosen neighbour is nearer to it than the row itself, alpha times. Distance is 1 - cosine. With alpha 0
// the best stay, whatever their positions. Candidates must be sorted, best first, and not hold the row.
void prune(const Store& store, const std::vector<Hit>& candidates, float alpha, int64_t degree, uint32_t* out) {
    int64_t kept = 0;
    float chosen_scale[256];
    for (size_t c = 0; c < candidates.size() && kept < degree; c++) {
        const uint32_t id = uint32_t(candidates[c].row);
        bool stays = true;
        if (alpha > 0) {
            const Int8Query q(store.row(id), size_t(store.d));
            const float limit = 1 - candidates[c].score, scale = store.scales[id];
            for (int64_t k = 0; k < kept && stays; k++)
                stays = alpha * (1 - float(q.dot(store.row(out[k]))) * scale * chosen_scale[k]) > limit;
        }
        if (stays) {
            chosen_scale[kept] = store.scales[id];
            out[kept++] = id;
        }
    }
    for (; kept < degree; kept++) out[kept] = kNone;
}

// Scores what was collected for `row` and sorts it, best first.
void gather(const Store& store, uint32_t row, Scratch& s) {
    const Int8Query q(store.row(row), size_t(store.d));
    const float scale = store.scales[row];
    s.candidates.clear();
    s.score.resize(s.fresh.size());
    constexpr size_t kRun = 16;
    for (size_t i = 0; i < s.fresh.size(); i += kRun) {
        for (size_t j = i + kRun; j < std::min(i + 2 * kRun, s.fresh.size()); j++) store.fetch(s.fresh[j]);
        store.scores(q, s.fresh.data() + i, std::min(kRun, s.fresh.size() - i), s.score.data() + i);
    }
    for (size_t i = 0; i < s.fresh.size(); i++) s.candidates.push_back({s.score[i] * scale, int64_t(s.fresh[i])});
    std::sort(s.candidates.begin(), s.candidates.end(), better);
}

}  // namespace

// Searches for one query. `row_of` gives the caller's number of a row, by which `bits` (may be null) are asked. The best
// `depth` admitted rows that were scored, by their number here; `hidden` (kNone for none) is left out. `scored`: how many rows were looked at.
RIDDLE_API int64_t riddle_graph_search(const int8_t* codes, const float* scales, int64_t d, const uint32_t* links, int64_t degree,
                                       const int8_t* query, const uint32_t* entries, int64_t entry_count, int64_t width,
                                       const uint32_t* row_of, const uint8_t* bits, int64_t hidden, int64_t depth, int64_t* rows,
                                       float* scores, int64_t* scored) try {
    const Store store{codes, scales, d};
    Best best{size_t(depth)};
    *scored = search(store, links, degree, Int8Query(query, size_t(d)), entries, entry_count, size_t(width), uint32_t(hidden), scratch(),
                     [&](float score, uint32_t id) {
                         if (score >= best.floor() && (!bits || admitted(bits, row_of[id]))) best.offer(score, id);
                     });
    return best.write(rows, scores);
} catch (const std::bad_alloc&) { return -1; }

// For rows first..last: their lists (`width` rows each, in any order, kNone for none, repeats allowed) pruned to `degree`.
RIDDLE_API int riddle_graph_prune(const int8_t* codes, const float* scales, int64_t d, const uint32_t* lists, int64_t width, int64_t first,
                                  int64_t last, float alpha, int64_t degree, uint32_t* out) try {
    const Store store{codes, scales, d};
    Scratch& s = scratch();
    for (int64_t row = first; row < last; row++) {
        s.begin(uint32_t(row));
        for (int64_t i = 0; i < width; i++)
            if (lists[row * width + i] != kNone) s.take(lists[row * width + i]);
        gather(store, uint32_t(row), s);
        prune(store, s.candidates, alpha, degree, out + (row - first) * degree);
    }
    return 0;
} catch (const std::bad_alloc&) { return -1; }

// For rows first..last: what a search for the row itself meets, with its links of now, pruned anew. `entries` has
// `entry_count` rows for each.
RIDDLE_API int riddle_graph_improve(const int8_t* codes, const float* scales, int64_t d, const uint32_t* links, int64_t degree, int64_t first,
                                    int64_t last, const uint32_t* entries, int64_t entry_count, int64_t width, float alpha,
                                    int64_t new_degree, uint32_t* out) try {
    const Store store{codes, scales, d};
    Scratch& s = scratch();
    for (int64_t row = first; row < last; row++) {
        const Int8Query q(store.row(uint32_t(row)), size_t(d));
        search(store, links, degree, q, entries + (row - first) * entry_count, entry_count, size_t(width), kNone, s, [](float, uint32_t) {});
        s.begin(uint32_t(row));
        for (const Node& node : s.beam.nodes()) s.take(node.id);
        const uint32_t* own = links + row * degree;
        for (int64_t i = 0; i < degree && own[i] != kNone; i++) s.take(own[i]);
        gather(store, uint32_t(row), s);
        prune(store, s.candidates, alpha, new_degree, out + (row - first) * new_degree);
    }
    return 0;
} catch (const std::bad_alloc&) { return -1; }

// Who links to each row: offsets[n + 1] and the sources, ascending for each target.
RIDDLE_API void riddle_graph_incoming(const uint32_t* links, int64_t n, int64_t degree, int64_t* offsets, uint32_t* sources) {
    std::fill(offsets, offsets + n + 1, 0);
    for (int64_t i = 0; i < n * degree; i++)
        if (links[i] != kNone) offsets[links[i] + 1]++;
    for (int64_t i = 0; i < n; i++) offsets[i + 1] += offsets[i];
    const int64_t all = offsets[n];
    for (int64_t row = n - 1; row >= 0; row--)  // backwards from each end, so that offsets come out as starts
        for (int64_t i = degree - 1; i >= 0; i--)
            if (links[row * degree + i] != kNone) sources[--offsets[links[row * degree + i] + 1]] = uint32_t(row);
    for (int64_t i = 0; i < n; i++) offsets[i] = offsets[i + 1];
    offsets[n] = all;
}

// For rows first..last: links and incoming links together; where they are more than `degree`, pruned.
RIDDLE_API int riddle_graph_mutual(const int8_t* codes, const float* scales, int64_t d, const uint32_t* links, int64_t old_degree,
                                   const int64_t* offsets, const uint32_t* sources, int64_t first, int64_t last, float alpha,
                                   int64_t degree, uint32_t* out) try {
    const Store store{codes, scales, d};
    Scratch& s = scratch();
    for (int64_t row = first; row < last; row++) {
        s.begin(uint32_t(row));
        const uint32_t* own = links + row * old_degree;
        for (int64_t i = 0; i < old_degree && own[i] != kNone; i++) s.take(own[i]);
        for (int64_t i = offsets[row]; i < offsets[row + 1]; i++) s.take(sources[i]);
        const bool fits = int64_t(s.fresh.size()) <= degree;
        gather(store, uint32_t(row), s);
        prune(store, s.candidates, fits ? 0 : alpha, degree, out + (row - first) * degree);
    }
    return 0;
} catch (const std::bad_alloc&) { return -1; }
