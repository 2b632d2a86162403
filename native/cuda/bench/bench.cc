// Builds a random model in host memory, loads it and measures. The same arguments give the same model and the same hash
// of logits on every device.
//   bench <library>[:device] [--model 0.5b|small|<width,hidden,layers,heads,kv_heads,head_dim,vocab>] [--format F16]
//         [--prompt 10] [--decode 256] [--long-prompt 512] [--sampled] [--numerics canonical|fast]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>

#include "library.h"

namespace bench {
namespace {

using Clock = std::chrono::steady_clock;

double SecondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

struct Shape {
  uint32_t width, hidden, layers, heads, kv_heads, head_dim, vocab;
};

const std::map<std::string, int> kFormats = {{"F32", TS_F32},   {"F16", TS_F16},   {"BF16", TS_BF16}, {"Q4_0", TS_Q4_0},
                                             {"Q4_1", TS_Q4_1}, {"Q5_0", TS_Q5_0}, {"Q5_1", TS_Q5_1}, {"Q8_0", TS_Q8_0},
                                             {"Q4_K", TS_Q4_K}, {"Q5_K", TS_Q5_K}, {"Q6_K", TS_Q6_K}};

struct Options {
  std::string library, format = "F16";
  Shape shape = {896, 4864, 24, 14, 2, 64, 151936};
  uint32_t prompt = 10, decode = 256, long_prompt = 512;
  bool sampled = false, fast = false;
};

Options Parse(int argc, char** argv) {
  if (argc < 2) Die("usage: bench <library>[:device] [--model ...] [--format F16] [--prompt n] [--decode n]");
  Options options;
  options.library = argv[1];
  for (int i = 2; i < argc; i++) {
    const std::string name = argv[i];
    if (name == "--sampled") {
      options.sampled = true;
      continue;
    }
    if (i + 1 == argc) Die(name + " needs a value");
    const std::string value = argv[++i];
    if (name == "--model" && value == "small") {
      options.shape = {256, 704, 4, 4, 2, 64, 1500};
    } else if (name == "--model" && value != "0.5b") {
      Shape& s = options.shape;
      if (std::sscanf(value.c_str(), "%u,%u,%u,%u,%u,%u,%u", &s.width, &s.hidden, &s.layers, &s.heads, &s.kv_heads,
                      &s.head_dim, &s.vocab) != 7) {
        Die("--model is 0.5b, small or seven numbers");
      }
    } else if (name == "--format") {
      options.format = value;
    } else if (name == "--prompt") {
      options.prompt = static_cast<uint32_t>(std::stoul(value));
    } else if (name == "--decode") {
      options.decode = static_cast<uint32_t>(std::stoul(value));
    } else if (name == "--long-prompt") {
      options.long_prompt = static_cast<uint32_t>(std::stoul(value));
    } else if (name == "--numerics" && (value == "canonical" || value == "fast")) {
      options.fast = value == "fast";
    } else if (name != "--model") {
      Die("unknown option " + name);
    }
  }
  if (kFormats.count(options.format) == 0) Die("unknown format " + options.format);
  return options;
}

// Tensors of a tied llama-family model with biases on q, k, v.
struct RandomModel {
  std::vector<std::string> names;
  std::vector<std::vector<uint8_t>> data;
  std::vector<ts_tensor> tensors;
  uint64_t bytes = 0;

  void Add(const std::string& name, int dtype, uint64_t columns, uint64_t rows, float size, Random* random) {
    names.push_back(name);
    data.push_back(RandomRows(dtype, static_cast<int64_t>(rows), static_cast<int64_t>(columns), size, random));
    ts_tensor tensor{};
    tensor.dtype = dtype;
    tensor.dims = rows > 1 ? 2 : 1;
    tensor.shape[0] = columns;
    tensor.shape[1] = rows;
    tensor.shape[2] = tensor.shape[3] = 1;
    tensor.bytes = data.back().size();
    tensors.push_back(tensor);
    bytes += tensor.bytes;
  }
  void AddNorm(const std::string& name, uint64_t width) {
    Random ones(1);
    Add(name, TS_F32, width, 1, 0, &ones);
    auto* values = reinterpret_cast<float*>(data.back().data());
    for (uint64_t i = 0; i < width; i++) values[i] = 1.0f;
  }
};

RandomModel Build(const Shape& s, int dtype) {
  RandomModel model;
  Random random(42);
  const auto scale = [](uint32_t inputs) { return 1.5f / std::sqrt(static_cast<float>(inputs)); };
  const uint32_t q = s.heads * s.head_dim, kv = s.kv_heads * s.head_dim;
  model.Add("token_embd.weight", dtype, s.width, s.vocab, 0.05f, &random);
  for (uint32_t layer = 0; layer < s.layers; layer++) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    model.AddNorm(prefix + "attn_norm.weight", s.width);
    model.Add(prefix + "attn_q.weight", dtype, s.width, q, scale(s.width), &random);
    model.Add(prefix + "attn_k.weight", dtype, s.width, kv, scale(s.width), &random);
    model.Add(prefix + "attn_v.weight", dtype, s.width, kv, scale(s.width), &random);
    model.Add(prefix + "attn_q.bias", TS_F32, q, 1, 0.2f, &random);
    model.Add(prefix + "attn_k.bias", TS_F32, kv, 1, 0.2f, &random);
    model.Add(prefix + "attn_v.bias", TS_F32, kv, 1, 0.2f, &random);
    model.Add(prefix + "attn_output.weight", dtype, q, s.width, scale(q), &random);
    model.AddNorm(prefix + "ffn_norm.weight", s.width);
    model.Add(prefix + "ffn_gate.weight", dtype, s.width, s.hidden, scale(s.width), &random);
    model.Add(prefix + "ffn_up.weight", dtype, s.width, s.hidden, scale(s.width), &random);
    model.Add(prefix + "ffn_down.weight", dtype, s.hidden, s.width, scale(s.hidden), &random);
  }
  model.AddNorm("output_norm.weight", s.width);
  for (size_t i = 0; i < model.tensors.size(); i++) {
    model.tensors[i].name = model.names[i].c_str();
    model.tensors[i].data = model.data[i].data();
  }
  return model;
}

uint64_t Hash(const std::vector<float>& values) {  // FNV-1a
  uint64_t hash = 0xcbf29ce484222325;
  const auto* bytes = reinterpret_cast<const unsigned char*>(values.data());
  for (size_t i = 0; i < values.size() * sizeof(float); i++) hash = (hash ^ bytes[i]) * 0x100000001b3;
  return hash;
}

class Runner {
 public:
  Runner(const Library& library, const Options& options)
      : library_(library), api_(*library.api), options_(options), error_(NewError()) {}

  ~Runner() {
    api_.session_destroy(session_, nullptr);
    api_.model_destroy(model_, nullptr);
    api_.context_destroy(library_.context, nullptr);
  }

  void Load() {
    const Shape& s = options_.shape;
    const RandomModel built = Build(s, kFormats.at(options_.format));
    const uint32_t length = options_.prompt + options_.decode + options_.long_prompt + 64;
    std::vector<float> cosines(length * (s.head_dim / 2)), sines(cosines.size());
    for (uint32_t position = 0; position < length; position++) {
      for (uint32_t i = 0; i < s.head_dim / 2; i++) {
        const double angle = position * std::pow(1e6, -2.0 * i / s.head_dim);
        cosines[position * (s.head_dim / 2) + i] = static_cast<float>(std::cos(angle));
        sines[position * (s.head_dim / 2) + i] = static_cast<float>(std::sin(angle));
      }
    }
    ts_model_desc desc{};
    desc.struct_size = sizeof desc;
    desc.vocab_size = s.vocab;
    desc.context_length = length;
    desc.block_count = s.layers;
    desc.embedding_length = s.width;
    desc.feed_forward_length = s.hidden;
    desc.head_count = s.heads;
    desc.head_count_kv = s.kv_heads;
    desc.head_dim = desc.rope_dims = s.head_dim;
    desc.norm = TS_NORM_RMS;
    desc.position = TS_POSITION_ROPE_NEOX;
    desc.activation = TS_ACTIVATION_SWIGLU;
    desc.norm_epsilon = 1e-6f;
    desc.attention_scale = 1.0f / std::sqrt(static_cast<float>(s.head_dim));
    desc.rope_cos = cosines.data();
    desc.rope_sin = sines.data();
    desc.tensors = built.tensors.data();
    desc.tensor_count = static_cast<uint32_t>(built.tensors.size());
    weight_bytes_ = built.bytes;
    const auto start = Clock::now();
    Check(api_.model_begin(library_.context, &desc, &model_, &error_), error_, "model_begin");
    uint64_t done = 0, total = 1;
    while (done < total) Check(api_.model_load_step(model_, 0, &done, &total, &error_), error_, "model_load_step");
    Check(api_.model_finish(model_, &error_), error_, "model_finish");
    const double seconds = SecondsSince(start);
    std::printf("load         %8.3f s   %.2f GB of tensors, %.2f GB/s\n", seconds, double(total) * 1e-9,
                double(total) * 1e-9 / seconds);
    ts_residency_report report{};
    report.struct_size = sizeof report;
    Check(api_.context_check_residency(library_.context, &report, &error_), error_, "context_check_residency");
    std::printf("residency    %u blocks checked, %u outside device memory\n", report.blocks_checked,
                report.blocks_outside);
  }

  void NewSession() {
    Check(api_.session_destroy(session_, &error_), error_, "session_destroy");
    Check(api_.session_create(model_, nullptr, &session_, &error_), error_, "session_create");
  }

  int32_t Step(const std::vector<int32_t>& tokens, std::vector<float>* logits) {
    ts_sampling sampling{};
    sampling.struct_size = sizeof sampling;
    sampling.top_p = 1;
    sampling.repetition_penalty = 1;
    if (options_.sampled) {
      sampling.temperature = 0.8f;
      sampling.top_k = 40;
      sampling.top_p = 0.95f;
      sampling.min_p = 0.05f;
      sampling.seed = 1;
    }
    ts_step_item item{};
    item.struct_size = sizeof item;
    item.token_count = static_cast<uint32_t>(tokens.size());
    item.session = session_;
    item.tokens = tokens.data();
    item.sampling = &sampling;
    ts_error detail = NewError();
    item.error = &detail;
    if (logits != nullptr) {
      logits->resize(options_.shape.vocab);
      item.flags = TS_STEP_LOGITS_LAST;
      item.logits = logits->data();
      item.logits_capacity = logits->size();
    }
    Check(api_.step(model_, &item, 1, &error_), error_, "step");
    Check(static_cast<ts_status>(item.status), detail, "step");
    return item.token;
  }

  std::vector<int32_t> Tokens(uint32_t count) {
    Random random(7);
    std::vector<int32_t> tokens(count);
    for (int32_t& token : tokens) token = static_cast<int32_t>(random.Below(options_.shape.vocab));
    return tokens;
  }

  void Prefill(const char* label, uint32_t count) {
    double best = 1e30;
    for (int i = 0; i < 4; i++) {
      NewSession();
      const std::vector<int32_t> tokens = Tokens(count);
      const auto start = Clock::now();
      Step(tokens, nullptr);
      const double seconds = SecondsSince(start);
      if (i == 0) std::printf("%-12s %8.2f ms  %u tokens, first run\n", label, seconds * 1e3, count);
      best = std::min(best, seconds);
    }
    std::printf("%-12s %8.2f ms  %u tokens, best of 4: %.0f tokens/s\n", label, best * 1e3, count, count / best);
  }

  void Decode() {
    NewSession();
    std::vector<int32_t> tokens = Tokens(options_.prompt);
    int32_t token = Step(tokens, nullptr);
    uint64_t ids = 0xcbf29ce484222325;
    std::vector<double> seconds;
    for (uint32_t i = 0; i < options_.decode; i++) {
      const auto start = Clock::now();
      token = Step({token}, nullptr);
      seconds.push_back(SecondsSince(start));
      ids = (ids ^ static_cast<uint32_t>(token)) * 0x100000001b3;
    }
    double sum = 0;
    for (double s : seconds) sum += s;
    std::vector<double> sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    const double median = sorted[sorted.size() / 2];
    std::printf("decode       %8.3f ms a token (median; %.3f mean, %.3f best, %.3f worst): %.0f tokens/s\n",
                median * 1e3, sum / double(seconds.size()) * 1e3, sorted.front() * 1e3, sorted.back() * 1e3,
                double(seconds.size()) / sum);
    std::printf("             %.0f GB/s of weights at the median\n", double(weight_bytes_) * 1e-9 / median);
    std::printf("tokens       %016llx\n", static_cast<unsigned long long>(ids));
  }

  // Fast numerics give the bits of the canonical ones to few rows alone, but the same run after run.
  void FastHashes() {
    const std::vector<int32_t> tokens = Tokens(33);
    std::vector<float> first, second;
    NewSession();
    Step(tokens, &first);
    NewSession();
    Step(tokens, &second);
    std::printf("not canonical %016llx %016llx (logits of two runs)%s\n", static_cast<unsigned long long>(Hash(first)),
                static_cast<unsigned long long>(Hash(second)), Hash(first) == Hash(second) ? "" : " DIFFER");
  }

  // Prefill at once, prefill in chunks and decode must give the same bits.
  void Hashes() {
    const std::vector<int32_t> tokens = Tokens(33);
    std::vector<float> whole, chunked, single;
    NewSession();
    Step(tokens, &whole);
    NewSession();
    for (size_t at = 0; at < tokens.size(); at += 11) {
      Step(std::vector<int32_t>(tokens.begin() + at, tokens.begin() + at + 11), &chunked);
    }
    NewSession();
    for (int32_t token : tokens) Step({token}, &single);
    std::printf("logits       %016llx %016llx %016llx (at once, in chunks, one by one)%s\n",
                static_cast<unsigned long long>(Hash(whole)), static_cast<unsigned long long>(Hash(chunked)),
                static_cast<unsigned long long>(Hash(single)),
                Hash(whole) == Hash(chunked) && Hash(whole) == Hash(single) ? "" : " DIFFER");
  }

 private:
  const Library& library_;
  const ts_api& api_;
  const Options& options_;
  ts_error error_;
  ts_model* model_ = nullptr;
  ts_session* session_ = nullptr;
  uint64_t weight_bytes_ = 0;
};

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  const bench::Options options = bench::Parse(argc, argv);
  const bench::Library library =
      bench::Open(options.library, 0, options.fast ? TS_NUMERICS_FAST : TS_NUMERICS_CANONICAL);
  std::printf("%s, %s, %s%s\n", library.api->version(), library.properties.name, options.format.c_str(),
              options.fast ? ", fast numerics: not canonical" : "");
  bench::Runner runner(library, options);
  runner.Load();
  options.fast ? runner.FastHashes() : runner.Hashes();
  if (options.prompt > 0) runner.Prefill("prompt", options.prompt);
  if (options.long_prompt > 0) runner.Prefill("long prompt", options.long_prompt);
  if (options.decode > 0) runner.Decode();
  return 0;
}
