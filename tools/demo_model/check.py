"""Checks, seconds each:   python check.py [--model run/export]

 1. own DiT and VAE against diffusers' Flux2Transformer2DModel and AutoencoderKLFlux2 (same state dict, same numbers)
 2. own text encoder against transformers' Qwen3ForCausalLM (hidden states at the taps, right-padded rows included)
 3. caption -> scene -> caption round trip; schedule values; fixed points of the file formats
 4. with --model: every file loads; with diffusers + transformers installed, the real pipeline draws the same picture
A part whose library is missing is reported as skipped, never as passed.
"""

import argparse
import importlib
import sys
import tempfile
import torch
import common as C
import nets
import sampler
import scenes as S

failed, skipped = [], []


def verdict(name, err, tol):
    ok = err <= tol
    print(f"{'ok  ' if ok else 'FAIL'} {name}: max difference {err:.2e} (limit {tol:.0e})")
    failed.extend([] if ok else [name])


def randomise(m, seed=0):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for n, p in m.named_parameters():
            p.copy_(
                1 + 0.1 * torch.randn(p.shape, generator=g)
                if p.ndim == 1 and "norm" in n and n.endswith("weight")
                else torch.randn(p.shape, generator=g) / max(1, p[0].numel() if p.ndim > 1 else 100) ** 0.5
            )
        for n, b in m.named_buffers():
            if n.endswith("running_var"):
                b.copy_(0.5 + torch.rand(b.shape, generator=g))
    return m.eval()


def against_diffusers(prof):
    try:
        nets.diffusers_classes()
    except Exception as e:
        skipped.append(f"diffusers ({type(e).__name__}: {str(e)[:80]})")
        return
    own = randomise(nets.make_dit(prof["dit"], "own"))
    ref = nets.make_dit(prof["dit"], "diffusers").eval()
    ref.load_state_dict(own.state_dict())
    g = torch.Generator().manual_seed(1)
    k = 3
    x, c, t = (
        torch.randn(2, 2 * k * k, prof["dit"]["in_channels"], generator=g),
        torch.randn(2, 7, prof["dit"]["joint_attention_dim"], generator=g),
        torch.tensor([0.731, 1.0]),
    )
    ids = torch.cat([nets.image_ids(k, k), nets.image_ids(k, k, 10)])
    a = dict(
        hidden_states=x,
        encoder_hidden_states=c,
        timestep=t,
        img_ids=ids,
        txt_ids=nets.text_ids(7),
        guidance=None,
        return_dict=False,
    )
    verdict(
        "DiT against Flux2Transformer2DModel",
        float((own(**a)[0] - ref(**a)[0]).abs().max() / own(**a)[0].abs().max()),
        2e-5,
    )
    v = randomise(nets.make_vae(prof["vae"], "own"))
    r = nets.make_vae(prof["vae"], "diffusers").eval()
    r.load_state_dict(v.state_dict())
    im = torch.rand(2, 3, 48, 32, generator=g) * 2 - 1
    z = torch.randn(2, prof["vae"]["latent_channels"], 6, 4, generator=g)
    for n, p, q in (
        ("encoder mean", v.moments(im)[0], r.moments(im)[0]),
        ("encoder log variance", v.moments(im)[1], r.moments(im)[1]),
        ("decoder", v.decode_z(z), r.decode_z(z)),
    ):
        verdict(f"VAE {n} against AutoencoderKLFlux2", float((p - q).abs().max() / p.abs().max()), 2e-5)


def against_transformers(prof):
    try:
        from transformers import Qwen3Config, Qwen3ForCausalLM

        assert isinstance(Qwen3ForCausalLM, type) and issubclass(Qwen3ForCausalLM, torch.nn.Module)
    except Exception as e:
        skipped.append(f"transformers ({type(e).__name__}: {str(e)[:80]})")
        return
    import export

    cfg = export.qwen_config(prof["te"], 2, "float32")
    own = randomise(nets.Qwen3(**prof["te"]))
    ref = (
        Qwen3ForCausalLM(
            Qwen3Config(
                **{
                    k: v
                    for k, v in cfg.items()
                    if k not in ("architectures", "model_type", "transformers_version", "torch_dtype")
                }
            )
        )
        .float()
        .eval()
    )
    miss = ref.load_state_dict(own.state_dict(), strict=False)
    assert not miss.unexpected_keys and set(miss.missing_keys) <= {"lm_head.weight"}, miss
    ref.tie_weights()
    ids = torch.randint(0, 600, (2, 24), generator=torch.Generator().manual_seed(3))
    valid = torch.arange(24)[None] < torch.tensor([[15], [24]])
    with torch.no_grad():
        h = ref(input_ids=ids, attention_mask=valid.long(), output_hidden_states=True, use_cache=False)
        lg, hs = own(ids, valid, logits=True)
    for k in prof["out_layers"]:
        verdict(
            f"text encoder hidden state {k} against Qwen3ForCausalLM",
            float((h.hidden_states[k] - hs[k]).abs().max()),
            2e-4,
        )
    verdict("text encoder logits (valid rows)", float((h.logits - lg)[valid].abs().max()), 5e-4)


def own_parts(prof):
    bad = sum(S.parse(S.caption(sp, S.R(s + 1))) != sp for s in range(2000) for sp in (S.sample_spec(S.R(s), 0.15),))
    verdict("captions that parse back to another scene", bad, 0)
    verdict(
        "schedule, 1024 tokens 4 steps",
        max(abs(a - b) for a, b in zip(sampler.sigmas(1024, 4), (1, 0.95809, 0.88398, 0.71750, 0))),
        2e-5,
    )
    t = {"a": torch.randn(3, 5).bfloat16(), "b": torch.arange(4), "c": torch.tensor(3)}
    with tempfile.TemporaryDirectory() as d:
        C.save_safetensors(d + "/x", t)
        u = C.load_safetensors(d + "/x")
        verdict("safetensors round trip", float(not all(torch.equal(t[k], u[k]) for k in t)), 0)
        im = S.scene(5, 64)[0]
        C.write_png(d + "/x.png", im)
        verdict("png round trip", float(not (C.read_image(d + "/x.png") == im).all()), 0)
    z = torch.randn(2, 4, 6, 8)
    verdict("patchify round trip", float((nets.unpatchify(nets.patchify(z)) - z).abs().max()), 0)
    # the first pad position attends only to real tokens: its hidden state must not depend on how long the padding is
    te = randomise(nets.Qwen3(**prof["te"]))
    ids = torch.full((1, 20), 7)
    ids[0, :9] = torch.arange(9)
    v = torch.arange(20)[None] < 9
    with torch.no_grad():
        verdict(
            "padding length does not change earlier rows",
            float(
                (te(ids, v, prof["out_layers"])[:, :12] - te(ids[:, :12], v[:, :12], prof["out_layers"])).abs().max()
            ),
            1e-5,
        )


def real_pipeline(folder):
    import export

    m = export.load_model(folder, torch.device("cpu"))
    size, prompt = m["size"], "a big blue star on a yellow background"
    mine = sampler.generate(
        m["dit"],
        m["te"],
        m["vae"],
        m["tok"],
        [prompt],
        [7],
        size,
        m["steps"],
        m["guidance"],
        m["taps"],
        m["max_len"],
        torch.device("cpu"),
        bf16_noise=False,
    )[0]
    print("ok   export loads and draws")
    try:
        from diffusers import Flux2KleinPipeline

        pipe = Flux2KleinPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    except Exception as e:
        skipped.append(f"real pipeline ({type(e).__name__}: {str(e)[:80]})")
        return
    import numpy as np

    im = pipe(
        prompt=prompt,
        height=size,
        width=size,
        num_inference_steps=m["steps"],
        guidance_scale=m["guidance"],
        max_sequence_length=m["max_len"],
        text_encoder_out_layers=tuple(m["taps"]),
        generator=torch.Generator().manual_seed(7),
    ).images[0]
    verdict(
        "picture against diffusers' Flux2KleinPipeline (8-bit levels)",
        float(np.abs(np.asarray(im).astype(int) - mine.astype(int)).max()),
        3,
    )


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--profile", default="cpu", choices=list(C.PROFILES))
    a.add_argument("--model")
    a.add_argument("--import-first", default="", help="module to import before diffusers, e.g. a loader")
    args = a.parse_args()
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    prof = C.profile(args.profile)
    own_parts(prof)
    if args.import_first:
        importlib.import_module(args.import_first)
    against_diffusers(prof)
    against_transformers(prof)
    if args.model:
        real_pipeline(args.model)
    for s in skipped:
        print("skipped:", s)
    print("FAILED: " + ", ".join(failed) if failed else "all checks that could run passed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
