// Horizontal bars with labels and figures, as a picture.
#pragma once
#include <string>
#include <vector>

#include "media/picture.h"

namespace tessera {

struct Bar {
  std::string label;
  double value = 0;    // >= 0; the longest bar is the largest value of its chart
  std::string figure;  // written behind the bar: "12.3 ms"
};

struct BarChart {
  std::string title;
  std::vector<Bar> bars;
};

// Charts below each other.
Picture DrawBarCharts(const std::vector<BarChart>& charts);

}  // namespace tessera
