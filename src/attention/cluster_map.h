// Which key clusters a query cluster visits: those that hold most of its attention, estimated from the centroids
// (SVG2: Yang et al., arXiv 2505.18875).
#pragma once
#include <cstdint>
#include <span>

namespace tessera {

struct TopMass {
  double share = 1;       // of the mass to reach; 1 or more: everything is kept
  double least_kept = 0;  // share of the clusters, empty ones included, that are kept at least
};

// `mass` [clusters] is not negative and sums to `total`. Clusters in descending order of mass, the lower of equals
// first, are kept until those before have more than top.share of the total: the first is always kept, and so is the one
// that crosses the limit. Sets their bits in `kept` [(clusters + 63) / 64], clears the others, returns how many there
// are. `order` [clusters] is scratch.
int32_t KeepTopMass(std::span<const float> mass, float total, const TopMass& top, std::span<uint64_t> order,
                    std::span<uint64_t> kept) noexcept;

}  // namespace tessera
