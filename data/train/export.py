"""The model as a Hugging Face folder (LlamaForCausalLM): bfloat16 safetensors, config, tokenizer; and back."""

import json
import os
import shutil

import torch
from safetensors.torch import load_file, save_file

import tokenizer
from model import Config, Llama

EOS = 2
HISTORY = "training.json"


def hf_config(config):
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": config.vocab,
        "hidden_size": config.hidden,
        "intermediate_size": config.inner,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "max_position_embeddings": config.context,
        "rope_theta": config.rope_base,
        "rms_norm_eps": config.eps,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": True,
        "bos_token_id": tokenizer.BOS,
        "eos_token_id": EOS,
        "torch_dtype": "bfloat16",
    }


TOKENIZER_CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "model_max_length": 4096,
    "legacy": False,
    "add_prefix_space": False,
    "clean_up_tokenization_spaces": False,
}


def write_json(path, value):
    with open(path, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=2)
        file.write("\n")


def read_history(folder):
    with open(os.path.join(folder, HISTORY), encoding="utf-8") as file:
        return json.load(file)


def save(model, tokenizer_folder, out, history=()):
    """Weights are rounded to bfloat16, nearest even. `history`: a record of each call of train.py."""
    os.makedirs(out, exist_ok=True)
    state = {name: t.detach().to("cpu", torch.bfloat16).contiguous() for name, t in model.state_dict().items()}
    save_file(state, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})
    write_json(os.path.join(out, "config.json"), hf_config(model.config))
    write_json(os.path.join(out, "tokenizer_config.json"), TOKENIZER_CONFIG)
    write_json(os.path.join(out, HISTORY), list(history))
    source = os.path.join(tokenizer_folder, "tokenizer.model")
    if os.path.abspath(tokenizer_folder) != os.path.abspath(out):
        shutil.copy(source, out)


def load(folder, device):
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        fields = json.load(file)
    config = Config(
        vocab=fields["vocab_size"],
        hidden=fields["hidden_size"],
        layers=fields["num_hidden_layers"],
        heads=fields["num_attention_heads"],
        kv_heads=fields["num_key_value_heads"],
        head_dim=fields["head_dim"],
        inner=fields["intermediate_size"],
        context=fields["max_position_embeddings"],
        rope_base=fields["rope_theta"],
        eps=fields["rms_norm_eps"],
    )
    model = Llama(config)
    model.load_state_dict(load_file(os.path.join(folder, "model.safetensors")))
    return model.float().to(device)
