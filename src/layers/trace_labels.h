// How a trace shows the parts of a network.
#pragma once
#include "base/trace.h"
#include "tensor/tensor.h"

namespace tessera {

// Something done to every row of [..., channels].
inline TraceLabel RowsLabel(TraceKind kind, const Tensor& rows) noexcept {
  const int64_t channels = rows.dim(rows.rank() - 1);
  return {.kind = kind, .name = Name(kind), .sizes = {rows.numel() / channels, channels}};
}

// A layer of a network, from 0.
inline TraceLabel BlockLabel(std::string_view name, int64_t index) noexcept {
  return {.kind = TraceKind::kBlock, .name = name, .index = index};
}

// Reading a component's weights and what is prepared with them.
inline TraceLabel LoadLabel(std::string_view component) noexcept {
  return {.kind = TraceKind::kLoad, .name = "load", .place = component};
}

// A pass of a step as AttentionContext::BeginPass counts them.
inline TraceLabel PassLabel(int pass) noexcept {
  return {.kind = TraceKind::kPass, .name = pass == 0 ? "conditional" : pass == 1 ? "unconditional" : "further pass"};
}

}  // namespace tessera
