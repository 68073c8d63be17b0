// A token more of each text, or a few, as fast as memory gives the weights. For gpt/cpu_kernels.py.
//
// gpt.model.GPT written again for this one case; every number but the large weights is a float32.
// Shapes: B texts, T new tokens of each, R = B * T rows, C channels, N channels out, H heads,
// D head size, V vocabulary, S positions.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <ATen/cpu/vec/functional.h>
#include <ATen/cpu/vec/vec.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/util/BFloat16.h>

using torch::headeronly::ScalarType;
using torch::stable::parallel_for;
using torch::stable::Tensor;
using Tensors = std::vector<std::optional<Tensor>>;

namespace {

using Lanes = at::vec::Vectorized<float>;  // as many numbers as a register holds
constexpr int64_t kLanes = Lanes::size();
const auto kAdd = std::plus<Lanes>();
const auto kTimes = std::multiplies<Lanes>();

constexpr int64_t kStreams = 4;   // rows of weights read side by side, far from each other
constexpr int64_t kAhead = 2048;  // bytes between those in use and those asked for

void ask_for(const void* bytes) {
#ifdef __GNUC__
  __builtin_prefetch(static_cast<const char*>(bytes) + kAhead);
#endif
}

using Shape = std::vector<int64_t>;

// The numbers of a tensor, which must have that shape.
const float* floats(const Tensor& x, const Shape& shape) {
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float && x.is_contiguous(),
                  "all but ids and weights must be float32 and contiguous");
  const auto sizes = x.sizes();
  STD_TORCH_CHECK(std::equal(sizes.begin(), sizes.end(), shape.begin(), shape.end()),
                  "a tensor has another shape than the model");
  return static_cast<const float*>(x.const_data_ptr());
}

float* floats(Tensor& x, const Shape& shape) {
  return const_cast<float*>(floats(std::as_const(x), shape));
}

const float* floats(const std::optional<Tensor>& x, const Shape& shape) {
  return x ? floats(*x, shape) : nullptr;
}

const Tensor& required(const std::optional<Tensor>& x) {
  STD_TORCH_CHECK(x, "a tensor of the model is not there");
  return *x;
}

// A linear layer: weights (N, C) in few bits, and a scale and a bias (N), or none of these.
struct Linear {
  ScalarType type;
  const void* weight;
  const float *scale, *bias;
  int64_t n, c;

  Linear(const Tensor& weight, const std::optional<Tensor>& scale,
         const std::optional<Tensor>& bias)
      : type(weight.scalar_type()), weight(weight.const_data_ptr()) {
    STD_TORCH_CHECK(weight.dim() == 2 && weight.is_contiguous(),
                    "weight must be (N, C) and contiguous");
    n = weight.size(0), c = weight.size(1);
    this->scale = floats(scale, {n});
    this->bias = floats(bias, {n});
  }
};

// For each stream one row (C) of weights, times Q rows of x (C), into Q rows of y (N).
template <int64_t Q, typename Weight>
void multiply_rows(const Linear& layer, const int64_t (&rows)[kStreams], const float* x, float* y) {
  const auto* weight = static_cast<const Weight*>(layer.weight);
  const int64_t n = layer.n, c = layer.c;
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
    const int64_t row = rows[s];
    for (int64_t q = 0; q < Q; ++q) {
      float sum = at::vec::vec_reduce_all<float>(kAdd, lanes[s][q]);
      for (int64_t j = i; j < c; ++j) sum += static_cast<float>(weight[row * c + j]) * x[q * c + j];
      if (layer.scale) sum *= layer.scale[row];
      y[q * n + row] = layer.bias ? sum + layer.bias[row] : sum;
    }
  }
}

using Activation = void (*)(float* x, int64_t count);  // in place

// y (R, N) from x (R, C), and what `then` makes of it. No sum depends on the number of threads.
template <typename Weight>
void multiply(const Linear& layer, const float* x, float* y, int64_t r, Activation then) {
  const int64_t n = layer.n, c = layer.c, groups = (n + kStreams - 1) / kStreams;
  parallel_for(0, groups, 16, [&](int64_t begin, int64_t end) {
    for (int64_t i = 0; i < end - begin; ++i) {
      int64_t rows[kStreams];
      for (int64_t s = 0; s < kStreams; ++s)
        rows[s] = std::min(begin * kStreams + s * (end - begin) + i, n - 1);
      int64_t q = 0;
      for (; q + 4 <= r; q += 4) multiply_rows<4, Weight>(layer, rows, x + q * c, y + q * n);
      for (; q < r; ++q) multiply_rows<1, Weight>(layer, rows, x + q * c, y + q * n);
    }
    const int64_t first = begin * kStreams, count = std::min(end * kStreams, n) - first;
    for (int64_t q = 0; then && q < r; ++q) then(y + q * n + first, count);
  });
}

void linear(const Linear& layer, const float* x, float* y, int64_t r, Activation then = nullptr) {
  switch (layer.type) {
    case ScalarType::Float: return multiply<float>(layer, x, y, r, then);
    case ScalarType::BFloat16: return multiply<c10::BFloat16>(layer, x, y, r, then);
    case ScalarType::Char: return multiply<int8_t>(layer, x, y, r, then);
    default: STD_TORCH_CHECK(false, "weight must be float32, bfloat16 or int8");
  }
}

void gelu_new(float* x, int64_t count) {
  const Lanes half(0.5f), one(1), root(0.7978845608f), cubic(0.044715f);  // root: sqrt(2 / pi)
  const auto inner = [=](Lanes v) { return root * (v + cubic * v * v * v); };
  const auto gelu = [=](Lanes v) { return half * v * (one + inner(v).tanh()); };
  at::vec::map<float>(gelu, x, x, count);
}

void gelu(float* x, int64_t count) {
  const Lanes half(0.5f), one(1), root(0.7071067812f);  // sqrt(1 / 2)
  at::vec::map<float>([=](Lanes v) { return half * v * (one + (root * v).erf()); }, x, x, count);
}

void relu(float* x, int64_t count) {
  at::vec::map<float>([](Lanes v) { return at::vec::maximum(v, Lanes(0)); }, x, x, count);
}

// The MLP's nonlinearity under its name in gpt.config.
Activation activation_of(const std::string& name) {
  if (name == "gelu_new") return gelu_new;
  if (name == "gelu") return gelu;
  STD_TORCH_CHECK(name == "relu", "activation must be gelu_new, gelu or relu");
  return relu;
}

void add(const float* x, float* y, int64_t count) { at::vec::map2<float>(kAdd, y, y, x, count); }

struct Embedding {
  const float* table;  // (N, C)
  int64_t n, c;

  const float* row(int64_t i) const {
    STD_TORCH_CHECK(0 <= i && i < n, "no such token or position");
    return table + i * c;
  }
};

struct LayerNorm {
  const float *weight, *bias;  // (C)
  float epsilon;

  // y (R, C) from x (R, C).
  void operator()(const float* x, float* y, int64_t r, int64_t c) const {
    for (const float* end = x + r * c; x < end; x += c, y += c) {
      const Lanes mean(at::vec::reduce_all<float>(kAdd, x, c) / c);
      const auto square = [=](Lanes v) { return (v - mean) * (v - mean); };
      const float variance = at::vec::map_reduce_all<float>(square, kAdd, x, c) / c;
      const Lanes factor(1 / std::sqrt(variance + epsilon));
      const auto scaled = [=](Lanes v, Lanes w) { return (v - mean) * factor * w; };
      at::vec::map2<float>(scaled, y, x, weight, c);
      if (bias) add(bias, y, c);
    }
  }
};

// The past of a layer, (B, H, room, D), behind whose `past` positions come the new ones.
struct Cache {
  float *keys, *values;
  int64_t heads, room, d, past;

  Cache(Tensor& keys, Tensor& values, int64_t past, int64_t b, int64_t t, int64_t c)
      : past(past) {
    STD_TORCH_CHECK(keys.dim() == 4 && 0 <= past, "keys must be (B, H, room, D)");
    heads = keys.size(1), room = keys.size(2), d = keys.size(3);
    STD_TORCH_CHECK(heads * d == c && past + t <= room, "no place in the cache");
    this->keys = floats(keys, {b, heads, room, d});
    this->values = floats(values, {b, heads, room, d});
  }
};

// One head's y (D): the mean of `values` (S, D) by the softmax of q (D) times `keys` (S, D).
void attend(const float* q, const float* keys, const float* values, float scale, float* weights,
            float* y, int64_t s, int64_t d) {
  for (int64_t i = 0; i < s; ++i)
    weights[i] = scale * at::vec::map2_reduce_all<float>(kTimes, kAdd, q, keys + i * d, d);
  const Lanes most(*std::max_element(weights, weights + s));
  at::vec::map<float>([=](Lanes v) { return (v - most).exp(); }, weights, weights, s);
  const float total = at::vec::reduce_all<float>(kAdd, weights, s);
  std::fill(y, y + d, 0.0f);
  for (int64_t i = 0; i < s; ++i) {
    const Lanes weight(weights[i] / total);
    const auto more = [=](Lanes sum, Lanes v) { return at::vec::fmadd(weight, v, sum); };
    at::vec::map2<float>(more, y, y, values + i * d, d);
  }
}

// y (R, C) from qkv (R, 3C), of which keys and values enter the cache.
void attention(const float* qkv, const Cache& cache, float scale, float* y, int64_t b, int64_t t) {
  const int64_t d = cache.d, c = cache.heads * d;
  parallel_for(0, b * cache.heads, 1, [&](int64_t begin, int64_t end) {
    std::vector<float> weights(cache.past + t);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / cache.heads * t, channel = i % cache.heads * d;
      float* keys = cache.keys + i * cache.room * d;
      float* values = cache.values + i * cache.room * d;
      for (int64_t j = 0; j < t; ++j) {
        const float* q = qkv + (row + j) * 3 * c + channel;
        const int64_t s = cache.past + j;
        std::copy_n(q + c, d, keys + s * d);
        std::copy_n(q + 2 * c, d, values + s * d);
        attend(q, keys, values, scale, weights.data(), y + (row + j) * c + channel, s + 1, d);
      }
    }
  });
}

constexpr auto kOtherLayers = "the cache has another number of layers than the model";

// Tensors of a GPT one after the other, in the order in which gpt/decode.py lists them.
class Reader {
 public:
  Reader(const Tensors& tensors, float epsilon)
      : next_(tensors.begin()), end_(tensors.end()), epsilon_(epsilon) {}

  Embedding embedding() {
    const Tensor& table = required(*take(1));
    STD_TORCH_CHECK(table.dim() == 2, "embeddings must be (N, C)");
    const int64_t n = table.size(0), c = table.size(1);
    return {floats(table, {n, c}), n, c};
  }

  LayerNorm layer_norm(int64_t c) {
    const auto place = take(2);
    return {floats(required(place[0]), {c}), floats(place[1], {c}), epsilon_};
  }

  // From c channels to n, or to as many as the weights say.
  Linear layer(int64_t c, std::optional<int64_t> n = std::nullopt) {
    const auto place = take(3);
    const Linear layer(required(place[0]), place[1], place[2]);
    STD_TORCH_CHECK(layer.c == c && layer.n == n.value_or(layer.n),
                    "a weight has another shape than the model");
    return layer;
  }

  void finish() const { STD_TORCH_CHECK(next_ == end_, kOtherLayers); }

 private:
  Tensors::const_iterator take(int64_t count) {
    STD_TORCH_CHECK(end_ - next_ >= count, kOtherLayers);
    return std::exchange(next_, next_ + count);
  }

  Tensors::const_iterator next_, end_;
  float epsilon_;
};

// Logits (B, V) after `ids` (B, T), which come behind `past` others in the cache and enter it.
Tensor streamed_step(const Tensor& ids, std::vector<Tensor> keys, std::vector<Tensor> values,
                     int64_t past, Tensors tensors, std::vector<double> scales, double epsilon,
                     std::string activation) {
  STD_TORCH_CHECK(ids.dim() == 2 && ids.size(1) > 0 && ids.is_contiguous() &&
                      ids.scalar_type() == ScalarType::Long,
                  "ids must be (B, T), T at least 1, int64 and contiguous");
  STD_TORCH_CHECK(values.size() == keys.size() && scales.size() == keys.size(),
                  kOtherLayers);
  Reader reader(tensors, epsilon);
  const Embedding tokens = reader.embedding(), positions = reader.embedding();
  STD_TORCH_CHECK(positions.c == tokens.c, "both embeddings must be of one width");
  const int64_t b = ids.size(0), t = ids.size(1), r = b * t, c = tokens.c;
  std::vector<float> stream(r * c), normed(r * c), change(r * c), qkv(r * 3 * c), hidden;
  float* const y = stream.data();
  for (int64_t i = 0; i < r; ++i) {
    std::copy_n(tokens.row(static_cast<const int64_t*>(ids.const_data_ptr())[i]), c, y + i * c);
    add(positions.row(past + i % t), y + i * c, c);
  }
  for (size_t i = 0; i < keys.size(); ++i) {
    reader.layer_norm(c)(y, normed.data(), r, c);
    linear(reader.layer(c, 3 * c), normed.data(), qkv.data(), r);
    const Cache cache(keys[i], values[i], past, b, t, c);
    attention(qkv.data(), cache, scales[i], normed.data(), b, t);
    linear(reader.layer(c, c), normed.data(), change.data(), r);
    add(change.data(), y, r * c);
    reader.layer_norm(c)(y, normed.data(), r, c);
    const Linear expand = reader.layer(c);
    hidden.resize(r * expand.n);
    linear(expand, normed.data(), hidden.data(), r, activation_of(activation));
    linear(reader.layer(expand.n, c), hidden.data(), change.data(), r);
    add(change.data(), y, r * c);
  }
  const LayerNorm last_norm = reader.layer_norm(c);
  for (int64_t i = 0; i < b; ++i) last_norm(y + ((i + 1) * t - 1) * c, normed.data() + i * c, 1, c);
  const Linear head = reader.layer(c);
  reader.finish();
  Tensor logits = torch::stable::new_empty(required(tensors[0]), {b, head.n});
  linear(head, normed.data(), floats(logits, {b, head.n}), b);
  return logits;
}

// y (R, N) from x (R, C) by one layer.
Tensor streamed_linear(const Tensor& x, const Tensor& weight, std::optional<Tensor> scale,
                       std::optional<Tensor> bias) {
  const Linear layer(weight, scale, bias);
  STD_TORCH_CHECK(x.dim() == 2 && x.size(1) == layer.c, "x must be (R, C), weight (N, C)");
  const int64_t r = x.size(0);
  Tensor y = torch::stable::new_empty(x, {r, layer.n});
  linear(layer, floats(x, {r, layer.c}), floats(y, {r, layer.n}), r);
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY(gpt, m) {
  m.def("streamed_linear(Tensor x, Tensor weight, Tensor? scale, Tensor? bias) -> Tensor");
  m.def(
      "streamed_step(Tensor ids, Tensor(a!)[] keys, Tensor(b!)[] values, int past, "
      "Tensor?[] tensors, float[] scales, float epsilon, str activation) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(gpt, CPU, m) {
  m.impl("streamed_linear", TORCH_BOX(&streamed_linear));
  m.impl("streamed_step", TORCH_BOX(&streamed_step));
}
