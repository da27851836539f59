// What a walk of a graph over int8 rows needs: the rows, which of them were met, and the beam.
#pragma once
#include <new>

#include "best.h"
#include "simd.h"

namespace riddle {

constexpr uint32_t kNone = 0xffffffff;

struct Store {
    const int8_t* codes;
    const float* scales;
    int64_t d;

    const int8_t* row(uint32_t id) const { return codes + int64_t(id) * d; }
    float score(const Int8Query& q, uint32_t id) const { return float(q.dot(row(id))) * scales[id]; }
    void fetch(uint32_t id) const {
        prefetch(row(id), size_t(d));
        __builtin_prefetch(scales + id);
    }
    void scores(const Int8Query& q, const uint32_t* ids, size_t count, float* out) const {
        size_t i = 0;
        int32_t products[4];
        for (; i + 4 <= count; i += 4) {
            q.dot4(row(ids[i]), row(ids[i + 1]), row(ids[i + 2]), row(ids[i + 3]), products);
            for (int k = 0; k < 4; k++) out[i + k] = float(products[k]) * scales[ids[i + k]];
        }
        for (; i < count; i++) out[i] = score(q, ids[i]);
    }
};

// Which rows were met: open addressing, cleared by the next search of the thread.
class Met {
public:
    void clear() {
        if (slots_.empty()) slots_.resize(1 << 12);
        std::fill(slots_.begin(), slots_.end(), 0);
        used_ = 0;
    }
    bool add(uint32_t id) {
        if (2 * used_ >= slots_.size()) grow();
        for (size_t at = place(id);; at = (at + 1) & (slots_.size() - 1)) {
            if (slots_[at] == id + 1) return false;
            if (slots_[at] == 0) {
                slots_[at] = id + 1;
                used_++;
                return true;
            }
        }
    }

private:
    size_t place(uint32_t id) const { return (uint64_t(id) * 0x9e3779b97f4a7c15ull >> 32) & (slots_.size() - 1); }
    void grow() {
        std::vector<uint32_t> old(slots_.size() * 2);
        old.swap(slots_);
        used_ = 0;
        for (uint32_t value : old)
            if (value) add(value - 1);
    }
    std::vector<uint32_t> slots_;
    size_t used_ = 0;
};

struct Node {
    float score;
    uint32_t id;
    bool expanded;
};

// The best `width` nodes met so far, sorted, and the first of them that was not expanded yet.
class Beam {
public:
    void reset(size_t width) {
        width_ = width;
        nodes_.clear();
        nodes_.reserve(width + 1);
        next_ = 0;
    }
    bool wants(float score) const { return nodes_.size() < width_ || score > nodes_.back().score; }
    void insert(float score, uint32_t id) {
        size_t low = 0, high = nodes_.size();
        while (low < high) {
            const size_t middle = (low + high) / 2;
            if (nodes_[middle].score > score || (nodes_[middle].score == score && nodes_[middle].id < id)) low = middle + 1;
            else high = middle;
        }
        if (nodes_.size() == width_) {
            if (low == width_) return;
            nodes_.pop_back();
        }
        nodes_.insert(nodes_.begin() + low, Node{score, id, false});
        next_ = std::min(next_, low);
    }
    Node* next() {
        while (next_ < nodes_.size() && nodes_[next_].expanded) next_++;
        if (next_ == nodes_.size()) return nullptr;
        nodes_[next_].expanded = true;
        return &nodes_[next_];
    }
    const std::vector<Node>& nodes() const { return nodes_; }

private:
    std::vector<Node> nodes_;
    size_t width_ = 0, next_ = 0;
};

struct Scratch {
    Met met;
    Beam beam;
    std::vector<uint32_t> fresh, through;
    std::vector<float> score;
    std::vector<Hit> candidates;

    // Candidates for the links of `row` are collected in `fresh`, each once.
    void begin(uint32_t row) {
        met.clear();
        met.add(row);
        fresh.clear();
    }
    void take(uint32_t id) {
        if (met.add(id)) fresh.push_back(id);
    }
};

inline Scratch& scratch() {
    thread_local Scratch one;
    return one;
}

}  // namespace riddle
