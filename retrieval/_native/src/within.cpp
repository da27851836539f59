// Best-first search of the part of a graph that a bitmap admits: nothing else is scored or kept in the beam. Nodes lie in the
// order of cells. After ACORN (Patel et al., SIGMOD 2024), but for where it begins: with what the nearest cells admit.
#include "walk.h"

using namespace riddle;

namespace {

constexpr int64_t kWord = 64;
constexpr int64_t kTogether = 4;  // nodes expanded at a time, so that more of memory is asked for at once; beside TOGETHER in within.py

// A bitmap in the order of nodes. A word is worked out when it is first asked for, by any thread: all find the same.
class Admits {
public:
    Admits(const uint32_t* row_of, const uint8_t* bits, uint64_t* words, uint8_t* known, int64_t n)
        : row_of_(row_of), bits_(bits), words_(words), known_(known), n_(n) {}

    bool operator()(uint32_t node) const { return word(node >> 6) >> (node & 63) & 1; }

    template <typename Take>
    void each(int64_t first, int64_t end, Take take) const {
        for (int64_t at = first / kWord; at * kWord < end; at++)
            for (uint64_t left = part(at, first, end); left; left &= left - 1) take(uint32_t(at * kWord + __builtin_ctzll(left)));
    }

private:
    uint64_t word(int64_t at) const {
        return __atomic_load_n(known_ + at, __ATOMIC_ACQUIRE) ? __atomic_load_n(words_ + at, __ATOMIC_RELAXED) : work_out(at);
    }
    __attribute__((noinline)) uint64_t work_out(int64_t at) const {
        uint64_t value = 0;
        const int64_t first = at * kWord, size = std::min(kWord, n_ - first);
        for (int64_t i = 0; i < size; i++) value |= uint64_t(admitted(bits_, row_of_[first + i])) << i;
        __atomic_store_n(words_ + at, value, __ATOMIC_RELAXED);
        __atomic_store_n(known_ + at, uint8_t(1), __ATOMIC_RELEASE);
        return value;
    }
    uint64_t part(int64_t at, int64_t first, int64_t end) const {
        uint64_t value = word(at);
        if (first > at * kWord) value &= ~uint64_t(0) << (first - at * kWord);
        if (end < (at + 1) * kWord) value &= (uint64_t(1) << (end - at * kWord)) - 1;
        return value;
    }

    const uint32_t* row_of_;
    const uint8_t* bits_;
    uint64_t* words_;
    uint8_t* known_;
    int64_t n_;
};

struct Cells {
    const int8_t* centroids;
    const float* scales;
    int64_t count;
    const int64_t* offsets;
};

struct Effort {
    int64_t width, seeds, enough;
};

// Cells, the nearest first.
class Nearest {
public:
    Nearest(const Int8Query& q, int64_t d, const Cells& cells) : cells_(cells), heap_(size_t(cells.count)) {
        std::vector<int32_t> products(size_t(cells.count));
        dots(q, cells.centroids, size_t(d), cells.count, products.data());
        for (int64_t l = 0; l < cells.count; l++) heap_[size_t(l)] = {float(products[size_t(l)]) * cells.scales[l], l};
        std::make_heap(heap_.begin(), heap_.end(), worse);
    }
    // Adds what the next cells admit until `seeds` nodes are there or no cell is left.
    void take(const Admits& admits, int64_t seeds, std::vector<uint32_t>& nodes) {
        while (!heap_.empty() && int64_t(nodes.size()) < seeds) {
            std::pop_heap(heap_.begin(), heap_.end(), worse);
            const int64_t l = heap_.back().row, first = cells_.offsets[l], end = cells_.offsets[l + 1];
            heap_.pop_back();
            read_ += end - first;
            admits.each(first, end, [&](uint32_t id) { nodes.push_back(id); });
        }
    }
    int64_t read() const { return read_; }

private:
    static bool worse(const Hit& a, const Hit& b) { return better(b, a); }
    const Cells cells_;
    std::vector<Hit> heap_;
    int64_t read_ = 0;
};

// Scores nodes that lie near each other in memory; the best are the beam, and what was met.
void seed(const Store& store, const Int8Query& q, size_t width, Scratch& s) {
    constexpr size_t kRun = 16;
    s.score.resize(s.fresh.size());
    s.candidates.clear();
    for (size_t i = 0; i < s.fresh.size(); i += kRun) {
        const size_t run = std::min(kRun, s.fresh.size() - i);
        for (size_t j = i + kRun; j < std::min(i + 2 * kRun, s.fresh.size()); j++) store.fetch(s.fresh[j]);
        store.scores(q, s.fresh.data() + i, run, s.score.data() + i);
        for (size_t j = i; j < i + run; j++) s.candidates.push_back({s.score[j], int64_t(s.fresh[j])});
    }
    const size_t kept = std::min(width, s.candidates.size());
    const auto end = s.candidates.begin() + int64_t(kept);
    std::partial_sort(s.candidates.begin(), end, s.candidates.end(), better);
    for (auto hit = s.candidates.begin(); hit != end; ++hit) {
        s.met.add(uint32_t(hit->row));
        s.beam.insert(hit->score, uint32_t(hit->row));
    }
}

// What is admitted among the links of `node` goes to `fresh`; while that is less than `enough`, so does what is admitted among
// the links of those that are not, each looked through once in a search.
void expand(const Store& store, const uint32_t* links, int64_t degree, uint32_t node, const Admits& admits, int64_t enough, Scratch& s) {
    const auto take = [&](uint32_t id) {
        if (!s.met.add(id)) return false;
        s.fresh.push_back(id);
        store.fetch(id);
        return true;
    };
    int64_t admitted = 0;
    s.through.clear();
    const uint32_t* list = links + int64_t(node) * degree;
    for (int64_t i = 0; i < degree && list[i] != kNone; i++) {
        if (admits(list[i])) {
            admitted++;
            take(list[i]);
        } else s.through.push_back(list[i]);
    }
    if (admitted >= enough) return;
    for (uint32_t each : s.through) prefetch(links + int64_t(each) * degree, size_t(degree) * 4);
    for (uint32_t each : s.through) {
        if (admitted >= enough) return;
        if (!s.met.add(each)) continue;
        const uint32_t* beyond = links + int64_t(each) * degree;
        for (int64_t i = 0; i < degree && beyond[i] != kNone; i++)
            if (admits(beyond[i])) admitted += take(beyond[i]);
    }
}

}  // namespace

// Searches for one query among the nodes that `bits` admit, asked by `row_of`; `words` and `known` (a bit and an eighth of it a
// node, zeros at first) remember them by node. The walk begins with what the nearest cells admit: `seeds` nodes. Where the cells
// that hold these hold more than `far_read` nodes, the far_* take the place of the others. The best nodes at the end, at most
// as many as the beam is wide; `scored`: how many nodes were.
RIDDLE_API int64_t riddle_graph_search_within(const int8_t* codes, const float* scales, int64_t n, int64_t d, const uint32_t* links,
                                              int64_t degree, const int8_t* query, const int8_t* centroids, const float* centroid_scales,
                                              int64_t cells, const int64_t* offsets, const uint32_t* row_of, const uint8_t* bits,
                                              uint64_t* words, uint8_t* known, int64_t width, int64_t seeds, int64_t enough,
                                              int64_t far_width, int64_t far_seeds, int64_t far_enough, int64_t far_read, int64_t* rows,
                                              float* scores, int64_t* scored) try {
    const Store store{codes, scales, d};
    const Int8Query q(query, size_t(d));
    const Admits admits{row_of, bits, words, known, n};
    Scratch& s = scratch();
    s.met.clear();
    s.fresh.clear();
    Effort effort{width, seeds, enough};
    Nearest nearest(q, d, {centroids, centroid_scales, cells, offsets});
    nearest.take(admits, effort.seeds, s.fresh);
    if (nearest.read() > far_read) {
        effort = {far_width, far_seeds, far_enough};
        nearest.take(admits, effort.seeds, s.fresh);
    }
    s.beam.reset(size_t(effort.width));
    seed(store, q, size_t(effort.width), s);
    *scored = int64_t(s.fresh.size());
    for (;;) {
        s.fresh.clear();
        uint32_t chosen[kTogether];
        int64_t count = 0;
        for (; count < kTogether; count++) {
            const Node* node = s.beam.next();
            if (!node) break;
            chosen[count] = node->id;
            prefetch(links + int64_t(node->id) * degree, size_t(degree) * 4);
        }
        if (!count) break;
        for (int64_t i = 0; i < count; i++) expand(store, links, degree, chosen[i], admits, effort.enough, s);
        s.score.resize(s.fresh.size());
        store.scores(q, s.fresh.data(), s.fresh.size(), s.score.data());
        for (size_t i = 0; i < s.fresh.size(); i++)
            if (s.beam.wants(s.score[i])) s.beam.insert(s.score[i], s.fresh[i]);
        *scored += int64_t(s.fresh.size());
    }
    const std::vector<Node>& nodes = s.beam.nodes();
    for (size_t i = 0; i < nodes.size(); i++) rows[i] = nodes[i].id, scores[i] = nodes[i].score;
    return int64_t(nodes.size());
} catch (const std::bad_alloc&) { return -1; }
