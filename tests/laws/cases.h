// Descriptors that set every key of every registered scheme.
#pragma once

namespace kvx::laws {

inline constexpr const char* kCases[] = {
    "fp:f32",
    "fp:f16",
    "fp:bf16",
    "int:k4v4",
    "int:k2v8,g16",
    "int:k3v5,g8,sym",
    "int:k6v7,kaxis=channel",
    "int:k4v3,kaxis=channel,vaxis=channel,g12",
    "int:k2v2,vaxis=channel,g16,sym",
    "kivi:k2v2,r32",
    "kivi:k2v4",
    "kivi:k4v2,r0",
    "kivi:k8v4,g64,r64",
    "kivi:k2v8,r64,profile=paper",
    "kivi:k4v4,r0,profile=paper",
    "fp8:e4m3",
    "fp8:e5m2,scale=token",
    "fp8:e4m3,scale=token",
    "fp8:e5m2,scale=tensor,cal=#11111111",
    "fp8:e4m3,scale=head,cal=#22222222",
    "kvquant:nuq2,o0.01,cb=#00000002",
    "kvquant:nuq3,o0.01,s1,profile=paper,cb=#00000003",
    "kvquant:nuq4,s5,qnorm,vaxis=channel,cb=#00000004",
    "kvquant:nuq2,o0.05,s2,qnorm,kaxis=token,rope=post,profile=paper,cb=#00000002",
    "kvquant:nf4,o0.02,zr=fp16,cb=#00000004",
    "kvquant:int3,o0.01,s3,cb=#00000003",
    "kvquant:int2,kaxis=token,rope=post",
    "ggml:q8_0",
    "ggml:q5_1",
    "ggml:q5_0",
    "ggml:q4_1",
    "ggml:q4_0",
};

// Those that are tested in arithmetic `fixed` too: groups of either axis, both windows, symmetric
// codes.
inline constexpr const char* kFixedCases[] = {
    "int:k3v5,g8,sym",
    "int:k6v7,kaxis=channel",
    "kivi:k2v2,r32",
    "kivi:k2v8,r64,profile=paper",
};

}  // namespace kvx::laws
