// `tessera bench linear` and `tessera bench convolution`: our layers against oneDNN's own primitives in the same run.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "cli/bench_attention.h"
#include "tensor/dtype.h"

namespace tessera {

// Prints as "1536x3072x9216 bf16": rows x in x out, and the type of src, weight and dst.
struct LinearProblem {
  int64_t rows = 0, in = 0, out = 0;
  DType dtype = DType::kBF16;
};
// Prints as "128x128x512 512 k3 s1 f32": height x width x channels in, channels out, kernel, stride, type.
struct ConvolutionProblem {
  int64_t height = 0, width = 0, in = 0, out = 0;
  int64_t kernel = 3, stride = 1;
  DType dtype = DType::kF32;
};

// The type, kernel and stride may be left out. Throws Error{kUsage}.
LinearProblem ParseLinearProblem(std::string_view line);
ConvolutionProblem ParseConvolutionProblem(std::string_view line);
std::string Print(const LinearProblem& problem);
std::string Print(const ConvolutionProblem& problem);

struct BenchLayersOptions {
  std::vector<std::string> problems;  // none: those of FLUX.2 klein-4B at 512 x 512, or of its autoencoder
  int runs = 5;                       // timed in turns with oneDNN's, after one warm-up; the medians count
  BenchFormat format = BenchFormat::kText;
};

// Print one object (or line) per problem to stdout: speed, share of the arithmetic's peak and of oneDNN's own GEMM (or
// best convolution: any layout, all threads), difference from its result. Return the exit code. Throw Error{kUsage}.
int BenchLinear(const BenchLayersOptions& options);
int BenchConvolution(const BenchLayersOptions& options);

}  // namespace tessera
