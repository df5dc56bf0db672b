#include "models/film_network.h"

#include <cstring>

#include "parallel/parallel_for.h"

namespace tessera {
namespace {

struct Chain {
  const FilmLayers& layers;
  FilmState& state;
  ForwardContext& context;
  const FrameSink& next;

  void Push(size_t index, Tensor& frame) const noexcept {
    if (index == layers.size()) {
      next(frame);
      return;
    }
    layers[index]->Push(state, frame, context, [&](Tensor& out) { Push(index + 1, out); });
  }
};

// The mean over groups of a patch's values: values in the order (channel, frame, row, column), `group` of them each.
class AveragedLayer final : public FilmLayer {
 public:
  AveragedLayer(FilmBuilder& builder, FilmLayers inner, const FilmFactors& factors)
      : inner_(std::move(inner)), factors_(factors), ring_(factors.frames > 1 ? builder.rings++ : -1) {}

  void Push(FilmState& state, Tensor& frame, ForwardContext& context, const FrameSink& next) const noexcept override {
    Workspace::Scope scope(context.workspace);
    Tensor shortcut = context.workspace.Take(
        {1, frame.dim(1) / factors_.side, frame.dim(2) / factors_.side, factors_.out}, DType::kF32);
    if (factors_.frames > 1) {
      FrameRing& ring = state.rings[static_cast<size_t>(ring_)];
      Tensor& slot = ring.Next();
      std::memcpy(slot.mutable_raw(), frame.raw(), frame.bytes());
      if (ring.pushed() % 2 == 1) Average(ring.Ago(1), *ring.Ago(0), shortcut);  // 1, 3, 5, ...: pairs end here
    } else {
      Average(nullptr, frame, shortcut);
    }
    Chain{inner_, state, context,
          [&](Tensor& out) {
            AddTo(shortcut, out);
            next(out);
          }}
        .Push(0, frame);
  }

  void Measure(FilmCost& cost) const noexcept override {
    const Shape seen = cost.frame;
    cost.workspace_bytes +=
        static_cast<size_t>(seen[1] / factors_.side * (seen[2] / factors_.side) * factors_.out) * sizeof(float);
    for (const auto& layer : inner_) layer->Measure(cost);
    if (factors_.frames == 1) return;
    cost.rings.push_back({seen, factors_.frames, DType::kF32});
    cost.state_bytes += static_cast<size_t>(factors_.frames * seen.numel()) * sizeof(float);
  }

 private:
  static void AddTo(const Tensor& shortcut, Tensor& out) noexcept {
    const float* from = shortcut.data<float>();
    float* to = out.mutable_data<float>();
    ParallelFor(out.numel(), 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] += from[i];
    });
  }

  // `earlier` null: zeros (with a time factor), or no such frame.
  void Average(const Tensor* earlier, const Tensor& frame, Tensor& dst) const noexcept {
    const int64_t side = factors_.side, width = frame.dim(2), in = factors_.in, out = factors_.out;
    const int64_t volume = factors_.frames * side * side, group = in * volume / out;
    const float* newest = frame.data<float>();
    const float* before = earlier == nullptr ? nullptr : earlier->data<float>();
    float* to = dst.mutable_data<float>();
    ParallelFor(dst.dim(1) * dst.dim(2), 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t y = i / dst.dim(2) * side, x = i % dst.dim(2) * side;
        for (int64_t o = 0; o < out; ++o) {
          float sum = 0;
          for (int64_t v = o * group; v < (o + 1) * group; ++v) {
            const int64_t place = v % volume, plane = place % (side * side);
            const float* from = place / (side * side) == factors_.frames - 1 ? newest : before;
            if (from == nullptr) continue;
            sum += from[((y + plane / side) * width + x + plane % side) * in + v / volume];
          }
          to[i * out + o] = sum / static_cast<float>(group);
        }
      }
    });
  }

  FilmLayers inner_;
  FilmFactors factors_;
  int ring_;
};

// Every value repeated, then spread over frames, rows and columns; the first frame gives its last copy only.
class RepeatedLayer final : public FilmLayer {
 public:
  RepeatedLayer(FilmLayers inner, const FilmFactors& factors) : inner_(std::move(inner)), factors_(factors) {}

  void Push(FilmState& state, Tensor& frame, ForwardContext& context, const FrameSink& next) const noexcept override {
    Workspace::Scope scope(context.workspace);
    Tensor source = context.workspace.Take(frame.shape(), DType::kF32);
    std::memcpy(source.mutable_raw(), frame.raw(), frame.bytes());
    // How many frames the inner layers give shows only as they come: the last of them is the last copy.
    const bool is_first = state.calls == 0;
    int64_t copy = is_first ? factors_.frames - 1 : 0;
    int64_t* const at = &copy;
    Chain{inner_, state, context,
          [&, at](Tensor& out) {
            Repeat(source, (*at)++, out);
            next(out);
          }}
        .Push(0, frame);
  }

  void Measure(FilmCost& cost) const noexcept override {
    cost.workspace_bytes += static_cast<size_t>(cost.frame.numel()) * sizeof(float);
    for (const auto& layer : inner_) layer->Measure(cost);
  }

 private:
  void Repeat(const Tensor& source, int64_t copy, Tensor& dst) const noexcept {
    const int64_t side = factors_.side, in = factors_.in, out = factors_.out;
    const int64_t volume = factors_.frames * side * side, repeats = out * volume / in;
    const float* from = source.data<float>();
    float* to = dst.mutable_data<float>();
    ParallelFor(dst.dim(1) * dst.dim(2), 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t y = i / dst.dim(2), x = i % dst.dim(2);
        const int64_t plane = (copy * side + y % side) * side + x % side;
        const float* position = from + (y / side * source.dim(2) + x / side) * in;
        for (int64_t o = 0; o < out; ++o) to[i * out + o] += position[(o * volume + plane) / repeats];
      }
    });
  }

  FilmLayers inner_;
  FilmFactors factors_;
};

}  // namespace

FrameRing::FrameRing(int64_t length, const Shape& frame, DType dtype) {
  for (int64_t i = 0; i < length; ++i) slots_.push_back(Tensor::Empty(frame, dtype));
}

Tensor& FrameRing::Next() noexcept {
  return slots_[static_cast<size_t>(pushed_++ % static_cast<int64_t>(slots_.size()))];
}

const Tensor* FrameRing::Ago(int64_t ago) const noexcept {
  if (ago >= pushed_ || ago >= static_cast<int64_t>(slots_.size())) return nullptr;
  return &slots_[static_cast<size_t>((pushed_ - 1 - ago) % static_cast<int64_t>(slots_.size()))];
}

std::unique_ptr<FilmLayer> FilmAveraged(FilmBuilder& builder, FilmLayers inner, const FilmFactors& factors) {
  return std::make_unique<AveragedLayer>(builder, std::move(inner), factors);
}
std::unique_ptr<FilmLayer> FilmRepeated(FilmLayers inner, const FilmFactors& factors) {
  return std::make_unique<RepeatedLayer>(std::move(inner), factors);
}

FilmState FilmNetwork::Begin(const Shape& frame) const {
  FilmState state;
  for (const auto& ring : Measure(frame, 1).rings) state.rings.emplace_back(ring.length, ring.frame, ring.dtype);
  return state;
}

void FilmNetwork::Push(FilmState& state, Tensor& frame, ForwardContext& context, const FrameSink& next) const noexcept {
  Chain{layers_, state, context, next}.Push(0, frame);
  ++state.calls;
}

FilmCost FilmNetwork::Measure(const Shape& frame, double frames) const noexcept {
  FilmCost cost;
  cost.compute = compute_;
  cost.frame = frame;
  cost.frames = frames;
  for (const auto& layer : layers_) layer->Measure(cost);
  return cost;
}

std::vector<SiteProblem> FilmNetwork::Sites(const Shape& frame) const {
  std::vector<SiteProblem> sites;
  for (const Shape& seen : Measure(frame, 1).attention) {
    sites.push_back({FilmSite(component_, static_cast<int>(sites.size())), FilmProblem(seen)});
  }
  return sites;
}

AttentionSite FilmSite(const std::string& component, int attention) {
  return {component, AttentionRole::kVae, attention};
}

AttentionProblem FilmProblem(const Shape& frame) noexcept {
  AttentionProblem problem;
  problem.head_dim = static_cast<int>(frame[3]);
  problem.q_len = problem.kv_len = frame[1] * frame[2];
  problem.role = AttentionRole::kVae;
  return problem;
}

}  // namespace tessera
