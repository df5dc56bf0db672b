// What every forward pass gets: scratch memory and attention.
#pragma once
#include "attention/layer.h"
#include "layers/trace_labels.h"
#include "tensor/workspace.h"

namespace tessera {

struct ForwardContext {
  Workspace& workspace;
  AttentionContext& attention;
};

// What a forward pass costs, computed from the configuration alone.
struct Cost {
  double linear_flops = 0, attention_flops = 0, convolution_flops = 0;
  size_t workspace_bytes = 0;  // peak activations, attention scratch excluded
  size_t state_bytes = 0;      // kept between the calls of one run, outside of the workspace
  double flops() const noexcept { return linear_flops + attention_flops + convolution_flops; }
};

}  // namespace tessera
