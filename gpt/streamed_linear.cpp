// A linear layer that reads its weights once, at the rate of memory, for gpt/streamed_linear.py.
//
// Shapes: R rows of input, C channels in, N channels out.

#include <algorithm>
#include <cstdint>
#include <functional>

#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/BFloat16.h>

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

namespace {

using Lanes = at::vec::Vectorized<float>;  // as many numbers as a register holds
constexpr int64_t kLanes = Lanes::size();

constexpr int64_t kStreams = 4;   // rows of weights read side by side, far from each other
constexpr int64_t kAhead = 2048;  // bytes between those in use and those asked for

void ask_for(const void* bytes) {
#ifdef __GNUC__
  __builtin_prefetch(static_cast<const char*>(bytes) + kAhead);
#endif
}

// For each stream one row (C) of weights, times Q rows of x (C), into Q rows of y.
template <int64_t Q, typename Weight>
void multiply_rows(const Weight* weight, const int64_t (&rows)[kStreams], const float* x, float* y,
                   int64_t n, int64_t c) {
  Lanes lanes[kStreams][Q];
  for (auto& each : lanes) std::fill(each, each + Q, Lanes(0));
  int64_t i = 0;
  for (; i + kLanes <= c; i += kLanes) {
    for (int64_t s = 0; s < kStreams; ++s) {
      const Weight* place = weight + rows[s] * c + i;
      ask_for(place);
      const Lanes w = at::vec::convert<float>(at::vec::Vectorized<Weight>::loadu(place, kLanes));
      for (int64_t q = 0; q < Q; ++q)
        lanes[s][q] = at::vec::fmadd(w, Lanes::loadu(x + q * c + i), lanes[s][q]);
    }
  }
  for (int64_t s = 0; s < kStreams; ++s) {
    for (int64_t q = 0; q < Q; ++q) {
      float sum = at::vec::vec_reduce_all<float>(std::plus<Lanes>(), lanes[s][q]);
      for (int64_t j = i; j < c; ++j)
        sum += static_cast<float>(weight[rows[s] * c + j]) * x[q * c + j];
      y[q * n + rows[s]] = sum;
    }
  }
}

// y (R, N) from weight (N, C) and x (R, C). No sum depends on the number of threads.
template <typename Weight>
void multiply(const Weight* weight, const float* x, float* y, int64_t r, int64_t n, int64_t c) {
  const int64_t groups = (n + kStreams - 1) / kStreams;
  torch::stable::parallel_for(0, groups, 16, [=](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < end - begin; ++i) {
      int64_t rows[kStreams];
      for (int64_t s = 0; s < kStreams; ++s)
        rows[s] = std::min(begin * kStreams + s * (end - begin) + i, n - 1);
      int64_t q = 0;
      for (; q + 4 <= r; q += 4) multiply_rows<4>(weight, rows, x + q * c, y + q * n, n, c);
      for (; q < r; ++q) multiply_rows<1>(weight, rows, x + q * c, y + q * n, n, c);
    }
  });
}

Tensor streamed_linear(const Tensor& x, const Tensor& weight) {
  STD_TORCH_CHECK(x.dim() == 2 && weight.dim() == 2 && x.size(1) == weight.size(1),
                  "x must be (R, C), weight (N, C)");
  STD_TORCH_CHECK(x.is_contiguous() && weight.is_contiguous(), "x and weight must be contiguous");
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float, "x must be float32");
  Tensor y = torch::stable::new_empty(x, {x.size(0), weight.size(0)});
  const void* weights = weight.const_data_ptr();
  const auto run = [&](const auto* numbers) {
    multiply(numbers, static_cast<const float*>(x.const_data_ptr()),
             static_cast<float*>(y.mutable_data_ptr()), x.size(0), weight.size(0), x.size(1));
  };
  switch (weight.scalar_type()) {
    case ScalarType::Float: run(static_cast<const float*>(weights)); break;
    case ScalarType::BFloat16: run(static_cast<const c10::BFloat16*>(weights)); break;
    case ScalarType::Char: run(static_cast<const int8_t*>(weights)); break;
    default: STD_TORCH_CHECK(false, "weight must be float32, bfloat16 or int8");
  }
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY(gpt, m) { m.def("streamed_linear(Tensor x, Tensor weight) -> Tensor"); }
STABLE_TORCH_LIBRARY_IMPL(gpt, CPU, m) { m.impl("streamed_linear", TORCH_BOX(&streamed_linear)); }
