// The best `depth` of many scored rows, ties by row: the same answer in whatever order they are offered.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace riddle {

struct Hit {
    float score;
    int64_t row;
};

inline bool better(const Hit& a, const Hit& b) { return a.score > b.score || (a.score == b.score && a.row < b.row); }

class Best {
public:
    explicit Best(size_t depth) : depth_(depth) { hits_.reserve(2 * depth + 64); }

    float floor() const { return floor_; }

    void offer(float score, int64_t row) {
        if (score < floor_) return;
        hits_.push_back({score, row});
        if (hits_.size() >= 2 * depth_ + 64) shrink();
    }

    // Writes what was kept, best first, and returns how many.
    int64_t write(int64_t* rows, float* scores) {
        if (hits_.size() > depth_) shrink();
        std::sort(hits_.begin(), hits_.end(), better);
        for (size_t i = 0; i < hits_.size(); i++) rows[i] = hits_[i].row, scores[i] = hits_[i].score;
        return int64_t(hits_.size());
    }

private:
    void shrink() {
        std::nth_element(hits_.begin(), hits_.begin() + (depth_ - 1), hits_.end(), better);
        hits_.resize(depth_);
        floor_ = hits_.back().score;
    }

    size_t depth_;
    float floor_ = -std::numeric_limits<float>::infinity();
    std::vector<Hit> hits_;
};

inline bool admitted(const uint8_t* bits, int64_t row) { return bits[row >> 3] >> (row & 7) & 1; }

}  // namespace riddle
