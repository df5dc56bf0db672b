"""Writes the trained model as a diffusers folder (Flux2KleinPipeline), and loads such folders for sample.py / eval.py.

    python export.py --work run --variant distilled --out run/export      (variant: dit, distilled, auto)

auto takes the distilled weights when <work>/eval_distilled.json scores at least as well as <work>/eval_dit.json.
"""

import json
import os
import shutil
import torch
import common as C
import nets
from tokenizer import Tokenizer

SCHEDULER = dict(
    _class_name="FlowMatchEulerDiscreteScheduler",
    _diffusers_version="0.37.0",
    base_image_seq_len=256,
    base_shift=0.5,
    invert_sigmas=False,
    max_image_seq_len=4096,
    max_shift=1.15,
    num_train_timesteps=1000,
    shift=3.0,
    shift_terminal=None,
    stochastic_sampling=False,
    time_shift_type="exponential",
    use_beta_sigmas=False,
    use_dynamic_shifting=True,
    use_exponential_sigmas=False,
    use_karras_sigmas=False,
)


def qwen_config(te, eos, dtype="bfloat16"):
    return dict(
        architectures=["Qwen3ForCausalLM"],
        attention_bias=False,
        attention_dropout=0.0,
        bos_token_id=None,
        eos_token_id=eos,
        head_dim=te["head_dim"],
        hidden_act="silu",
        hidden_size=te["hidden_size"],
        initializer_range=0.02,
        intermediate_size=te["intermediate_size"],
        max_position_embeddings=512,
        max_window_layers=te["num_hidden_layers"],
        model_type="qwen3",
        num_attention_heads=te["num_attention_heads"],
        num_hidden_layers=te["num_hidden_layers"],
        num_key_value_heads=te["num_key_value_heads"],
        rms_norm_eps=1e-6,
        rope_scaling=None,
        rope_theta=te["rope_theta"],
        sliding_window=None,
        tie_word_embeddings=True,
        torch_dtype=dtype,
        transformers_version="4.56.1",
        use_cache=True,
        use_sliding_window=False,
        vocab_size=te["vocab_size"],
    )


def dump(path, obj):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump(obj, f, indent=2)
        f.write("\n")


def export(work, prof, variant, out, steps, guidance, size, vae_dtype):
    ck = C.load_ckpt(os.path.join(work, f"{variant}.pt"))
    sd = ck["model"]
    distilled = variant == "distilled"
    tok = Tokenizer(os.path.join(work, "tokenizer"))
    if os.path.isdir(out):
        shutil.rmtree(out)
    os.makedirs(out)
    bf = lambda d: {k: v.to(torch.bfloat16) for k, v in d.items()}
    sub = lambda p: {k[len(p) :]: v for k, v in sd.items() if k.startswith(p)}
    meta = {"format": "pt"}
    dump(
        f"{out}/model_index.json",
        dict(
            _class_name="Flux2KleinPipeline",
            _diffusers_version="0.37.0",
            is_distilled=distilled,
            scheduler=["diffusers", "FlowMatchEulerDiscreteScheduler"],
            text_encoder=["transformers", "Qwen3ForCausalLM"],
            tokenizer=["transformers", "Qwen2TokenizerFast"],
            transformer=["diffusers", "Flux2Transformer2DModel"],
            vae=["diffusers", "AutoencoderKLFlux2"],
            text_encoder_out_layers=list(prof["out_layers"]),
            max_sequence_length=prof["max_len"],
            default_num_inference_steps=steps,
            default_guidance_scale=1.0 if distilled else guidance,
            default_height=size,
            default_width=size,
            supports_image_edit=bool(ck.get("edit")),
        ),
    )
    dump(f"{out}/scheduler/scheduler_config.json", SCHEDULER)
    dump(
        f"{out}/transformer/config.json",
        dict(_class_name="Flux2Transformer2DModel", _diffusers_version="0.37.0", **nets.dit_config(prof["dit"])),
    )
    dump(
        f"{out}/vae/config.json",
        dict(_class_name="AutoencoderKLFlux2", _diffusers_version="0.37.0", **nets.vae_config(prof["vae"])),
    )
    dump(f"{out}/text_encoder/config.json", qwen_config(prof["te"], tok.added["<|im_end|>"]))
    dump(
        f"{out}/text_encoder/generation_config.json",
        dict(eos_token_id=[tok.added["<|im_end|>"], tok.pad], pad_token_id=tok.pad, transformers_version="4.56.1"),
    )
    C.save_safetensors(f"{out}/transformer/diffusion_pytorch_model.safetensors", bf(sub("dit.")), meta)
    C.save_safetensors(f"{out}/text_encoder/model.safetensors", bf(sub("te.")), meta)
    v = C.load_ckpt(os.path.join(work, "vae.pt"))["model"]
    C.save_safetensors(
        f"{out}/vae/diffusion_pytorch_model.safetensors",
        {k: (t.to(torch.bfloat16) if vae_dtype == "bf16" and t.is_floating_point() else t) for k, t in v.items()},
        meta,
    )
    shutil.copytree(os.path.join(work, "tokenizer"), f"{out}/tokenizer")
    total = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(out) for f in fs)
    print(f"exported {variant} to {out}: {total / 1e6:.2f} MB" + ("  TOO LARGE (limit 25 MB)" if total > 25e6 else ""))


def load_model(folder, device, dtype=torch.float32, impl="auto"):
    """-> dict(dit, te, vae, tok, taps, max_len, steps, guidance, size)"""
    rd = lambda p: json.load(open(os.path.join(folder, p)))
    m, t, v, q = (
        rd("model_index.json"),
        rd("transformer/config.json"),
        rd("vae/config.json"),
        rd("text_encoder/config.json"),
    )
    strip = lambda c: {k: x for k, x in c.items() if not k.startswith("_")}
    to = lambda n, d: n.to(device=device, dtype=d).eval().requires_grad_(False)
    dit = nets.make_dit(strip(t), impl)
    dit.load_state_dict(C.load_safetensors(f"{folder}/transformer/diffusion_pytorch_model.safetensors"))
    te = nets.Qwen3(**{k: q[k] for k in C.PROFILES["cpu"]["te"]})
    te.load_state_dict(C.load_safetensors(f"{folder}/text_encoder/model.safetensors"))
    vae = nets.make_vae({k: v[k] for k in C.PROFILES["cpu"]["vae"]}, impl)
    vae.load_state_dict(C.load_safetensors(f"{folder}/vae/diffusion_pytorch_model.safetensors"))
    return dict(
        dit=to(dit, dtype),
        te=to(te, dtype),
        vae=to(vae, torch.float32),
        tok=Tokenizer(f"{folder}/tokenizer"),
        taps=m["text_encoder_out_layers"],
        max_len=m["max_sequence_length"],
        steps=m["default_num_inference_steps"],
        guidance=m["default_guidance_scale"],
        size=m["default_height"],
    )


def main():
    a = C.parser(__doc__.splitlines()[0], None)
    a.add_argument("--variant", default="auto", choices=("auto", "dit", "distilled"))
    a.add_argument("--out", default="")
    a.add_argument("--steps-default", type=int, default=8)
    a.add_argument("--guidance", type=float, default=2.0)
    a.add_argument("--size", type=int, default=256)
    a.add_argument("--vae-dtype", default="fp32", choices=("fp32", "bf16"))
    args = a.parse_args()
    v = args.variant
    if v == "auto":
        score = {}
        for k in ("dit", "distilled"):
            p = os.path.join(args.work, f"eval_{k}.json")
            if os.path.exists(os.path.join(args.work, f"{k}.pt")):
                score[k] = json.load(open(p))["strict"] if os.path.exists(p) else -1
        v = max(score, key=lambda k: (score[k], k == "distilled"))
        print("scores", score, "->", v)
    export(
        args.work,
        C.profile(args.profile),
        v,
        args.out or os.path.join(args.work, "export"),
        args.steps_default,
        args.guidance,
        args.size,
        args.vae_dtype,
    )


if __name__ == "__main__":
    main()
