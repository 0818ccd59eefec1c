"""The same weights from GGUF and from safetensors give the same logits, bit for bit: a real model, converted.

  compare_containers.py KVX_LOGITS MODEL.gguf... [--tokens 512]

The package gguf dequantises the file's tensors; they are written in float32 as two shards with an index, beside a config.json, under
Hugging Face's names and in its order of rows. Prints the SHA-256 of the logits of token ids of a fixed pattern from both. Needs gguf,
safetensors and room for the float32 model. Exit code 1 where they differ.
"""
import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy
from gguf.quants import dequantize
from safetensors.numpy import save_file

ARCHITECTURES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
WHOLE = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight", "output.weight": "lm_head.weight"}
IN_LAYER = {"attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
            "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm", "attn_k_norm": "self_attn.k_norm",
            "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj"}


def halves_apart(rows, heads):
    """Rows of GGUF's llama, pairs (2i, 2i + 1) of a head, as pairs (i, i + d/2)."""
    return rows.reshape(heads, len(rows) // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def read(path):
    reader = gguf.GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    def key(name):
        return reader.fields[f"{architecture}.{name}"].contents()
    config = {"architectures": [ARCHITECTURES[architecture]],
              "hidden_size": key("embedding_length"), "num_hidden_layers": key("block_count"),
              "num_attention_heads": key("attention.head_count"), "num_key_value_heads": key("attention.head_count_kv"),
              "intermediate_size": key("feed_forward_length"), "max_position_embeddings": key("context_length"),
              "rms_norm_eps": key("attention.layer_norm_rms_epsilon"), "rope_theta": key("rope.freq_base"),
              "tie_word_embeddings": all(tensor.name != "output.weight" for tensor in reader.tensors)}
    tensors = {}
    for tensor in reader.tensors:
        values = numpy.array(dequantize(tensor.data, tensor.tensor_type), dtype=numpy.float32)
        name = WHOLE.get(tensor.name)
        if name is None:
            _, layer, part, kind = tensor.name.split(".")
            name = f"model.layers.{layer}.{IN_LAYER[part]}.{kind}"
            if architecture == "llama" and part in ("attn_q", "attn_k"):
                values = halves_apart(values, config["num_attention_heads" if part == "attn_q" else "num_key_value_heads"])
        tensors[name] = numpy.ascontiguousarray(values)
    config["vocab_size"] = len(tensors["model.embed_tokens.weight"])
    return config, tensors


def write(folder, config, tensors):
    (folder / "config.json").write_text(json.dumps(config))
    names, weight_map = sorted(tensors), {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        shard = f"model-{number:05d}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / shard)
        weight_map.update(dict.fromkeys(part, shard))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def logits_hash(program, model, ids):
    with subprocess.Popen([program, model, ids], stdout=subprocess.PIPE) as process:
        digest = hashlib.sha256()
        while block := process.stdout.read(1 << 20):
            digest.update(block)
    return digest.hexdigest() if process.returncode == 0 else sys.exit(1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--tokens", type=int, default=512)
    args = parser.parse_args()
    same = True
    for model in args.models:
        with tempfile.TemporaryDirectory() as scratch:
            config, tensors = read(model)
            write(pathlib.Path(scratch), config, tensors)
            count = len(tensors)
            del tensors
            ids = pathlib.Path(scratch) / "ids"
            (numpy.arange(args.tokens, dtype="<i4") ** 2 * 37 % config["vocab_size"]).astype("<i4").tofile(ids)
            hashes = [logits_hash(args.program, source, ids) for source in (model, scratch)]
        same = same and hashes[0] == hashes[1]
        print(f"{model.name}: {count} tensors, {config['architectures'][0]}, {args.tokens} tokens: "
              f"logits {'equal, SHA-256 ' + hashes[0] if hashes[0] == hashes[1] else 'DIFFER'}", flush=True)
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
