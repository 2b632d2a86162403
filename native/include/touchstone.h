/*
 * The C ABI between an inference worker and the native code that computes for it.
 *
 * A library offers one symbol, ts_get_api, which returns a versioned table of functions. The built-in
 * implementation is linked into the worker; any other (the CUDA plugin, a foreign library, a library that wraps
 * another one to spoil a function) is a shared object with the same symbol.
 *
 * Rules that hold everywhere
 *   status      Every function that can fail returns ts_status. `error` may be NULL; if it is not, it is filled on
 *               failure and reset to TS_OK on success, so that it never holds stale text.
 *   structs     The caller sets struct_size = sizeof(the struct) of every struct that begins with it, in and out. A
 *               library refuses a size that it does not know with TS_INVALID_ARGUMENT. Additions go at the end.
 *   ownership   A handle is owned by whoever created it and is released by its destroy function. Destroying NULL
 *               does nothing. A parent that still has children refuses to be destroyed with TS_BUSY. Memory passed
 *               in stays the caller's and is not kept after the call returns, except where "kept" is written.
 *   threads     Functions on different contexts may run at the same time. On one context, its models and sessions,
 *               one call runs at a time; a second call gets TS_BUSY. session_cancel alone may be called at any
 *               time from any thread while the session lives.
 *   no crash    No assert, abort, exit or exception leaves the library; a failed allocation is TS_OUT_OF_MEMORY.
 *   no callback The library never calls back into its caller. Long work is pulled in bounded steps.
 *   units       Sizes are bytes, lengths are tokens (positions), unless a name says otherwise.
 */
#ifndef TOUCHSTONE_H
#define TOUCHSTONE_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Major number of this ABI: a different major is incompatible and is refused by ts_get_api. */
#define TS_ABI_MAJOR 1u
/* Minor number of this ABI: grows when functions or fields are added at the end of a struct. */
#define TS_ABI_MINOR 2u
/* Positions in one block of the KV cache. */
#define TS_KV_BLOCK_POSITIONS 32u
/* Most dimensions of a tensor. */
#define TS_MAX_DIMS 4u

/* Outcome of a call. The values never change meaning and are never reused. */
typedef enum ts_status {
  TS_OK = 0,                       /* Done. */
  TS_INVALID_ARGUMENT = 1,         /* An argument is out of range; the text names it. */
  TS_DEVICE_NOT_FOUND = 2,         /* No device of the wanted kind is present. */
  TS_INVALID_DEVICE = 3,           /* The device index is not below device_count. */
  TS_OUT_OF_MEMORY = 4,            /* Memory is short; ts_error carries required and available bytes. */
  TS_MODEL_LOAD_FAILED = 5,        /* The model's description or tensors do not fit together. */
  TS_UNSUPPORTED = 6,              /* A valid request that this library or device does not offer. */
  TS_INFERENCE_FAILED = 7,         /* A forward pass failed, or its logits hold NaN or an infinity. */
  TS_RESIDENCY_FAILED = 8,         /* A block of memory is not where it must be. */
  TS_KERNEL_LAUNCH_FAILED = 9,     /* The device refused or aborted a kernel. */
  TS_CONTEXT_LENGTH_EXCEEDED = 10, /* A session would grow beyond its limit. */
  TS_CANCELLED = 11,               /* session_cancel was called. */
  TS_BUSY = 12,                    /* Another call is running, or children are still alive. */
  TS_ABI_MISMATCH = 13,            /* The library was built for another major version. */
  TS_INTERNAL = 14                 /* A defect of the library; please report the text. */
} ts_status;

/* What kind of device computes. */
typedef enum ts_device_kind {
  TS_DEVICE_CPU = 0,  /* The host's processor. */
  TS_DEVICE_CUDA = 1, /* A CUDA device. */
  TS_DEVICE_SIM = 2   /* The SIMT simulator: CUDA kernels executed by the host's processor. */
} ts_device_kind;

/* Instruction set of the CPU kernels. All of them give the same bits. */
typedef enum ts_isa {
  TS_ISA_AUTO = 0,   /* The fastest that the processor has. */
  TS_ISA_SCALAR = 1, /* Plain C++. */
  TS_ISA_AVX2 = 2,   /* AVX2, FMA and F16C. */
  TS_ISA_AVX512 = 3, /* AVX-512 F, BW, DQ, VL and VNNI. */
  TS_ISA_NEON = 4    /* arm64 Advanced SIMD with dot products. */
} ts_isa;

/* How a context rounds and sums. */
typedef enum ts_numerics {
  TS_NUMERICS_CANONICAL = 0, /* The orders of native/NUMERICS.md: the same bits on every device. */
  TS_NUMERICS_FAST = 1       /* Not canonical. Linear layers of more than 16 rows are left to a matrix library (cuBLAS),
                                in binary16 with sums in binary32: the same bits run after run on one machine, but they
                                depend on the library, the device and the number of rows. */
} ts_numerics;

/* Storage format of a tensor; the numbers equal the ggml types of GGUF files. */
typedef enum ts_dtype {
  TS_F32 = 0,   /* IEEE binary32. */
  TS_F16 = 1,   /* IEEE binary16. */
  TS_Q4_0 = 2,  /* 32 weights: f16 scale, 4-bit values. */
  TS_Q4_1 = 3,  /* 32 weights: f16 scale and minimum, 4-bit values. */
  TS_Q5_0 = 6,  /* 32 weights: f16 scale, 5-bit values. */
  TS_Q5_1 = 7,  /* 32 weights: f16 scale and minimum, 5-bit values. */
  TS_Q8_0 = 8,  /* 32 weights: f16 scale, 8-bit values. */
  TS_Q4_K = 12, /* 256 weights: 8 sub-blocks with 6-bit scales and minima, 4-bit values. */
  TS_Q5_K = 13, /* 256 weights: as Q4_K with 5-bit values. */
  TS_Q6_K = 14, /* 256 weights: 16 sub-blocks with 8-bit scales, 6-bit values. */
  TS_I32 = 26,  /* 32-bit signed integers (token ids in operations). */
  TS_BF16 = 30  /* bfloat16. */
} ts_dtype;

/* What a block of memory is for. */
typedef enum ts_memory_kind {
  TS_MEMORY_WEIGHTS = 0,     /* Model weights. */
  TS_MEMORY_KV = 1,          /* The KV cache. */
  TS_MEMORY_ACTIVATIONS = 2, /* Buffers of the forward pass. */
  TS_MEMORY_OTHER = 3        /* Everything else. */
} ts_memory_kind;

/* Where a block of memory lives, as the device's driver answers it. */
typedef enum ts_memory_space {
  TS_SPACE_HOST = 0,   /* The host's memory. */
  TS_SPACE_DEVICE = 1, /* The device's own memory. */
  TS_SPACE_MANAGED = 2 /* Memory that migrates between both. */
} ts_memory_space;

/* Normalisation of a layer's input. */
typedef enum ts_norm_kind {
  TS_NORM_RMS = 0,  /* x / sqrt(mean(x^2) + epsilon) * weight. */
  TS_NORM_LAYER = 1 /* (x - mean) / sqrt(variance + epsilon) * weight + bias. */
} ts_norm_kind;

/* How positions enter the model. */
typedef enum ts_position_kind {
  TS_POSITION_ROPE_NEOX = 0,        /* Rotary; element i is paired with i + rope_dims/2. */
  TS_POSITION_ROPE_INTERLEAVED = 1, /* Rotary; element 2i is paired with 2i + 1. */
  TS_POSITION_LEARNED = 2           /* A learned embedding is added to the token's. */
} ts_position_kind;

/* Activation of the feed-forward network. */
typedef enum ts_activation_kind {
  TS_ACTIVATION_SWIGLU = 0, /* silu(gate) * up. */
  TS_ACTIVATION_GELU = 1    /* gelu(up), tanh form. */
} ts_activation_kind;

/* A device with its memory and settings; parent of models. */
typedef struct ts_context ts_context;
/* A model, being loaded or ready; parent of sessions. */
typedef struct ts_model ts_model;
/* A sequence of tokens with its blocks of the KV cache. */
typedef struct ts_session ts_session;

/* Detail of a failure. Owned by the caller. */
typedef struct ts_error {
  uint32_t struct_size;     /* sizeof(ts_error). */
  int32_t status;           /* The ts_status that the call returned. */
  uint64_t required_bytes;  /* With TS_OUT_OF_MEMORY: bytes needed; otherwise 0. */
  uint64_t available_bytes; /* With TS_OUT_OF_MEMORY: bytes at hand; otherwise 0. */
  char message[480];        /* What went wrong and what to do; UTF-8, NUL-terminated. */
} ts_error;

/* What a device is. */
typedef struct ts_device_properties {
  uint32_t struct_size;        /* sizeof(ts_device_properties). */
  int32_t kind;                /* ts_device_kind. */
  uint32_t ordinal;            /* Number of the device among its kind, from 0. */
  uint32_t compute_major;      /* CUDA compute capability; 0 on a CPU. */
  uint32_t compute_minor;      /* Second part of it. */
  uint32_t multiprocessors;    /* Streaming multiprocessors, or processor cores. */
  uint32_t driver_version;     /* CUDA driver, 1000 * major + 10 * minor; 0 elsewhere. */
  uint32_t runtime_version;    /* CUDA runtime, likewise. */
  uint64_t memory_total_bytes; /* Memory of the device. */
  uint64_t memory_free_bytes;  /* What of it is free now. */
  char name[128];              /* Name as the vendor or kernel gives it. */
  char isa[32];                /* Instruction set or architecture, e.g. "avx512" or "sm_90". */
  char uuid[48];               /* The driver's identifier of the device; empty where there is none. */
} ts_device_properties;

/* Settings of a context. Zero in a field means its default. */
typedef struct ts_context_options {
  uint32_t struct_size;        /* sizeof(ts_context_options). */
  uint32_t threads;            /* CPU threads that compute; default: one a core. */
  int32_t isa;                 /* ts_isa; refused with TS_UNSUPPORTED if the processor lacks it. */
  uint32_t poison_memory;      /* 1: fill fresh memory with NaN patterns, so that reading it shows. */
  uint64_t memory_limit_bytes; /* Most bytes the ledger may hold; default: what the device has. */
  uint64_t fail_allocation;    /* For tests: the n-th allocation (from 1) fails; default: none does. */
  uint64_t order_seed;         /* Simulator only: seed of the order of blocks and threads. */
  int32_t numerics;            /* ts_numerics; since 1.1. Refused with TS_UNSUPPORTED where the device does not offer it
                                  or its library is missing; never replaced by another. */
  uint32_t reserved;           /* 0. */
} ts_context_options;

/* Sums of the memory ledger. Every allocation the library holds on the device is in it. */
typedef struct ts_memory_stats {
  uint32_t struct_size;       /* sizeof(ts_memory_stats). */
  uint32_t block_count;       /* Live blocks. */
  uint64_t weights_bytes;     /* Live bytes of TS_MEMORY_WEIGHTS. */
  uint64_t kv_bytes;          /* Live bytes of TS_MEMORY_KV. */
  uint64_t activations_bytes; /* Live bytes of TS_MEMORY_ACTIVATIONS. */
  uint64_t other_bytes;       /* Live bytes of TS_MEMORY_OTHER. */
  uint64_t peak_bytes;        /* Most live bytes so far. */
  uint64_t limit_bytes;       /* The limit in force. */
  uint64_t allocations;       /* Allocations made since the context was created. */
} ts_memory_stats;

/* One live block of the ledger. */
typedef struct ts_memory_block {
  uint64_t id;      /* Number of the block, never reused in a context. */
  uint64_t address; /* Its address on the device. */
  uint64_t bytes;   /* Its size. */
  int32_t kind;     /* ts_memory_kind. */
  int32_t space;    /* ts_memory_space as the driver answers it now. */
  char label[64];   /* What it holds, e.g. "blk.0.attn_q.weight". */
} ts_memory_block;

/* Result of a residency check. */
typedef struct ts_residency_report {
  uint32_t struct_size;    /* sizeof(ts_residency_report). */
  uint32_t blocks_checked; /* Blocks asked about. */
  uint32_t blocks_outside; /* Blocks that are not in the memory space that the device demands. */
  uint32_t reserved;       /* 0. */
  uint64_t first_id;       /* Id of the first such block; 0 if there is none. */
  char first_label[64];    /* Its label; empty if there is none. */
} ts_residency_report;

/* A tensor in the host's memory. The shape is in GGUF's order: shape[0] varies fastest. */
typedef struct ts_tensor {
  const char* name;            /* GGUF name, NUL-terminated; NULL for operands of op_run. */
  int32_t dtype;               /* ts_dtype. */
  uint32_t dims;               /* 1 ... TS_MAX_DIMS. */
  uint64_t shape[TS_MAX_DIMS]; /* Elements along each dimension; 1 beyond dims. */
  void* data;                  /* First byte; read only where a function calls the tensor an input. */
  uint64_t bytes;              /* Size of the data; must equal what dtype and shape imply. */
} ts_tensor;

/* A model: hyper-parameters and tensors. Tensors carry the GGUF names of the llama family. */
typedef struct ts_model_desc {
  uint32_t struct_size;         /* sizeof(ts_model_desc). */
  uint32_t vocab_size;          /* Tokens of the vocabulary. */
  uint32_t context_length;      /* Most positions of a session. */
  uint32_t block_count;         /* Transformer layers. */
  uint32_t embedding_length;    /* Width of the residual stream. */
  uint32_t feed_forward_length; /* Width of the hidden feed-forward layer. */
  uint32_t head_count;          /* Query heads. */
  uint32_t head_count_kv;       /* Key and value heads; divides head_count. */
  uint32_t head_dim;            /* Elements of a head. */
  uint32_t rope_dims;           /* Elements of a head that are rotated; even; 0 without rotary positions. */
  int32_t norm;                 /* ts_norm_kind. */
  int32_t position;             /* ts_position_kind. */
  int32_t activation;           /* ts_activation_kind. */
  float norm_epsilon;           /* Added under the root of a norm. */
  float attention_scale;        /* Factor of q.k; usually 1/sqrt(head_dim). */
  uint32_t max_rows;            /* Most tokens of all items of one step; 0 means 512. */
  uint64_t kv_cache_bytes;      /* Size of the KV pool, rounded down to blocks; 0 means one full context. */
  const float* rope_cos;        /* [context_length][rope_dims/2]; kept until model_finish; NULL without rotary. */
  const float* rope_sin;        /* Likewise. */
  const ts_tensor* tensors;     /* Inputs; array and data are kept until model_finish. */
  uint32_t tensor_count;        /* Elements of tensors. */
  uint32_t reserved;            /* 0. */
} ts_model_desc;

/* What a ready model holds and has left. */
typedef struct ts_model_info {
  uint32_t struct_size;     /* sizeof(ts_model_info). */
  uint32_t max_rows;        /* Most tokens of one step. */
  uint64_t weights_bytes;   /* Device bytes of the weights as laid out, repacking included. */
  uint64_t kv_block_bytes;  /* Bytes of one KV block over all layers:
                               2 * block_count * head_count_kv * head_dim * TS_KV_BLOCK_POSITIONS * 2. */
  uint32_t kv_blocks_total; /* Blocks of the pool. */
  uint32_t kv_blocks_free;  /* Blocks that no session holds. */
} ts_model_info;

/* Settings of a session. */
typedef struct ts_session_options {
  uint32_t struct_size; /* sizeof(ts_session_options). */
  uint32_t max_length;  /* Most positions; 0 means the model's context_length. */
} ts_session_options;

/* State of a session. */
typedef struct ts_session_state {
  uint32_t struct_size;   /* sizeof(ts_session_state). */
  uint32_t length;        /* Positions evaluated so far. */
  uint32_t max_length;    /* Most positions. */
  uint32_t blocks;        /* KV blocks held. */
  uint32_t shared_blocks; /* Those of them that another session holds too. */
  uint32_t cancelled;     /* 1 after session_cancel. */
} ts_session_state;

/*
 * How a token is chosen, in this order: biases, repetition penalty over all tokens of the session, frequency and
 * presence penalty over those from penalty_start on, temperature, top-k, top-p, min-p, draw. A draw takes its random
 * number from Philox4x32-10 keyed by the seed, with the position of the token to be drawn as the counter; it depends on
 * nothing else. The struct may end where an earlier minor version ended: what it lacks is off.
 */
typedef struct ts_sampling {
  uint32_t struct_size; /* sizeof(ts_sampling). */
  float temperature;    /* 0 ... 2; 0 takes the largest logit, the lowest id among equals. */
  uint32_t top_k;       /* Keep the k largest; 0 keeps all. */
  float top_p;          /* Keep the fewest whose probabilities reach this sum, 0 ... 1; 1 keeps all. */
  float min_p;          /* Keep those with at least this fraction of the largest probability, 0 ... 1; 0 keeps all. */
  float repetition_penalty; /* Above 0 ... 2; positive logits of seen tokens are divided by it, others multiplied; 1 is
                               off. */
  uint64_t seed;            /* Key of the random numbers. */
  uint32_t top_logprobs;    /* 0 ... 20 alternatives to report. */
  uint32_t reserved;        /* 0. */
  float frequency_penalty; /* -2 ... 2; taken off a token's logit for each time it was seen. Since 1.2, as all below. */
  float presence_penalty;  /* -2 ... 2; taken off once if the token was seen. */
  uint32_t penalty_start;  /* Position of the first token that these two count, as a rule the prompt's length. */
  uint32_t bias_count;     /* Elements of bias_tokens and bias_values. */
  const int32_t* bias_tokens; /* [bias_count], each 0 ... vocab_size - 1. */
  const float* bias_values;   /* [bias_count], finite; added to the logits. -1e9 keeps a token from being chosen. */
} ts_sampling;

/* Ask for the logits of the item's last token. */
#define TS_STEP_LOGITS_LAST 1u
/* Ask for the logits of all the item's tokens. */
#define TS_STEP_LOGITS_ALL 2u

/*
 * One session's part of a step. The tokens are evaluated at positions length ... length + token_count - 1, and the
 * session grows by them if the item succeeds; a failed item leaves its session as it was. Arrays are the caller's.
 */
typedef struct ts_step_item {
  uint32_t struct_size;        /* sizeof(ts_step_item). */
  uint32_t token_count;        /* At least 1. */
  ts_session* session;         /* Each session at most once in a step. */
  const int32_t* tokens;       /* [token_count], each 0 ... vocab_size - 1. */
  uint32_t flags;              /* TS_STEP_LOGITS_LAST, TS_STEP_LOGITS_ALL, or 0. */
  int32_t status;              /* Out: ts_status of this item. */
  float* logits;               /* Out, if flags ask: [1 or token_count][vocab_size]. */
  uint64_t logits_capacity;    /* Floats that fit in logits. */
  const ts_sampling* sampling; /* NULL: no token is chosen. */
  int32_t token;               /* Out: the chosen token; -1 if none. It is not appended to the session. */
  float logprob;               /* Out: its natural log-probability under the unmodified logits. */
  int32_t* top_tokens;         /* Out: [sampling->top_logprobs] ids, the likeliest first; NULL if not asked. */
  float* top_logprobs;         /* Out: their natural log-probabilities; NULL if not asked. */
  ts_error* error;             /* Out: detail of this item's failure; may be NULL. */
} ts_step_item;

/* A named number of an operation. */
typedef struct ts_parameter {
  const char* name; /* NUL-terminated. */
  double value;     /* Integers up to 2^53 are exact. */
} ts_parameter;

/* The functions of a library. */
typedef struct ts_api {
  uint32_t struct_size; /* sizeof(ts_api) in the library. */
  uint32_t abi_major;   /* TS_ABI_MAJOR in the library. */
  uint32_t abi_minor;   /* TS_ABI_MINOR in the library. */
  uint32_t reserved;    /* 0. */

  /* Name and version of the library, e.g. "touchstone 1.0.0". Static, never NULL. */
  const char* (*version)(void);
  /* Upper-case name of a status, e.g. "OUT_OF_MEMORY"; "UNKNOWN" for other values. Static, never NULL. */
  const char* (*status_name)(int32_t status);
  /* One sentence about a status. Static, never NULL. */
  const char* (*status_text)(int32_t status);

  /* Number of devices. TS_INVALID_ARGUMENT if count is NULL. */
  ts_status (*device_count)(uint32_t* count, ts_error* error);
  /* Properties of device `index`. TS_INVALID_DEVICE if there is none. */
  ts_status (*device_properties)(uint32_t index, ts_device_properties* out, ts_error* error);

  /* Opens a device. options may be NULL, or end where an earlier minor version ended. TS_INVALID_DEVICE,
   * TS_UNSUPPORTED (isa, numerics), TS_OUT_OF_MEMORY. */
  ts_status (*context_create)(int64_t index, const ts_context_options* options, ts_context** out, ts_error* error);
  /* Releases a context. TS_BUSY while it has a model. */
  ts_status (*context_destroy)(ts_context* context, ts_error* error);
  /* Sums of the memory ledger. */
  ts_status (*context_memory)(ts_context* context, ts_memory_stats* out, ts_error* error);
  /* Live blocks: fills at most capacity of them, sets *count to how many there are. blocks may be NULL if capacity is
   * 0. */
  ts_status (*context_blocks)(ts_context* context, ts_memory_block* blocks, uint32_t capacity, uint32_t* count,
                              ts_error* error);
  /* Asks the driver where every block of the ledger is. TS_RESIDENCY_FAILED, with out filled, if one is elsewhere. */
  ts_status (*context_check_residency)(ts_context* context, ts_residency_report* out, ts_error* error);

  /*
   * Checks a description and reserves all memory, so that too little fails here. A context has one model at a time: a
   * second gets TS_BUSY. TS_MODEL_LOAD_FAILED names the tensor that is missing or misshapen.
   */
  ts_status (*model_begin)(ts_context* context, const ts_model_desc* desc, ts_model** out, ts_error* error);
  /* Moves at least one row and, beyond that, at most budget_bytes of tensor data (0 means 1 MiB). done and total are
     bytes of tensor data; done grows with every call until it equals total. */
  ts_status (*model_load_step)(ts_model* model, uint64_t budget_bytes, uint64_t* done, uint64_t* total,
                               ts_error* error);
  /* Makes the model ready. TS_INVALID_ARGUMENT before done equals total. */
  ts_status (*model_finish)(ts_model* model, ts_error* error);
  /* What the model holds. */
  ts_status (*model_info)(ts_model* model, ts_model_info* out, ts_error* error);
  /* Releases a model, ready or not. TS_BUSY while it has sessions. */
  ts_status (*model_destroy)(ts_model* model, ts_error* error);

  /* Starts an empty sequence. options may be NULL. It holds no KV block until a step needs one. */
  ts_status (*session_create)(ts_model* model, const ts_session_options* options, ts_session** out, ts_error* error);
  /* Starts a sequence with the first `length` positions of another; whole blocks are shared, a part block is copied. */
  ts_status (*session_fork)(ts_session* session, uint32_t length, ts_session** out, ts_error* error);
  /* Forgets all positions from `length` on. TS_INVALID_ARGUMENT if the session is shorter. */
  ts_status (*session_truncate)(ts_session* session, uint32_t length, ts_error* error);
  /* State of a session. */
  ts_status (*session_state)(ts_session* session, ts_session_state* out, ts_error* error);
  /* Makes the running step of this session and all later ones return TS_CANCELLED for it. Any thread. */
  ts_status (*session_cancel)(ts_session* session, ts_error* error);
  /* Releases a session and its blocks. */
  ts_status (*session_destroy)(ts_session* session, ts_error* error);

  /*
   * Evaluates tokens of several sessions in one pass. Returns TS_OK if the pass ran, even if single items failed: each
   * item has its own status (TS_OUT_OF_MEMORY, TS_CONTEXT_LENGTH_EXCEEDED, TS_CANCELLED, TS_INVALID_ARGUMENT,
   * TS_INFERENCE_FAILED). TS_INVALID_ARGUMENT if the items together have more than max_rows tokens, or a session
   * stands in two items: then nothing ran.
   */
  ts_status (*step)(ts_model* model, ts_step_item* items, uint32_t item_count, ts_error* error);

  /*
   * Runs one operation on host buffers through the kernels that the forward pass uses. Operations, operands and
   * parameters are listed in native/README.md. TS_UNSUPPORTED for an unknown name; TS_INVALID_ARGUMENT names the
   * operand or parameter that does not fit.
   */
  ts_status (*op_run)(ts_context* context, const char* name, const ts_tensor* inputs, uint32_t input_count,
                      const ts_tensor* outputs, uint32_t output_count, const ts_parameter* parameters,
                      uint32_t parameter_count, ts_error* error);
} ts_api;

/* Returns the library's table, valid for the life of the process; NULL if it does not speak version `major`. */
const ts_api* ts_get_api(uint32_t major);

#ifdef __cplusplus
}
#endif

#endif /* TOUCHSTONE_H */
