"""FLUX.2-klein sampling with the small networks: prompt -> uint8 pictures. Same steps, ids and schedule as the pipeline."""

import numpy as np
import torch
import nets


def empirical_mu(n, steps):
    a1, b1, a2, b2 = 8.73809524e-05, 1.89833333, 0.00016927, 0.45666666
    if n > 4300:
        return a2 * n + b2
    m200, m10 = a2 * n + b2, a1 * n + b1
    s = (m200 - m10) / 190.0
    return s * steps + m200 - 200.0 * s


def sigmas(n_tokens, steps):
    s = np.linspace(1.0, 1 / steps, steps)
    e = float(np.exp(empirical_mu(n_tokens, steps)))
    return [float(x) for x in e / (e + (1 / s - 1))] + [0.0]


def encode_prompts(te, tok, prompts, taps, max_len, device):
    rows = [tok.prompt_ids(p, max_len) for p in prompts]
    ids = torch.tensor([r[0] for r in rows], device=device)
    lens = torch.tensor([r[1] for r in rows], device=device)
    return te(ids, torch.arange(max_len, device=device)[None] < lens[:, None], taps=taps)


def noise(seed, channels, h, w, bf16=True):
    """The pipeline draws its noise in the embedding dtype (bf16) with a CPU generator."""
    g = torch.Generator().manual_seed(seed)
    return torch.randn(1, channels, h, w, generator=g, dtype=torch.bfloat16 if bf16 else torch.float32).float()


@torch.no_grad()
def denoise(dit, x, ctx, steps, guidance=1.0, null=None, ref=None, ref_hw=None, h=0, w=0):
    """x [B, h*w, C] noise -> latents. `ref` [B, n, C] reference tokens at ids (10, y, x, 0)."""
    dev = x.device
    img = nets.image_ids(h, w, 0, dev)
    txt = nets.text_ids(ctx.shape[1], dev)
    n = h * w
    if ref is not None:
        img = torch.cat([img, nets.image_ids(*ref_hw, 10, dev)], 0)
    sg = sigmas(n, steps)
    for a, b in zip(sg, sg[1:]):
        t = torch.full((x.shape[0],), a, device=dev, dtype=x.dtype)
        inp = x if ref is None else torch.cat([x, ref], 1)
        run = lambda c: dit(
            hidden_states=inp,
            encoder_hidden_states=c,
            timestep=t,
            img_ids=img,
            txt_ids=txt,
            guidance=None,
            return_dict=False,
        )[0][:, :n]
        v = run(ctx)
        if guidance > 1 and null is not None:
            u = run(null.expand(x.shape[0], -1, -1))
            v = u + guidance * (v - u)
        x = x + (b - a) * v
    return x


@torch.no_grad()
def generate(
    dit,
    te,
    vae,
    tok,
    prompts,
    seeds,
    size,
    steps,
    guidance,
    taps,
    max_len,
    device,
    refs=None,
    bf16_noise=True,
    batch=16,
):
    """-> list of uint8 [size, size, 3]; refs: optional uint8 reference pictures (edit mode)."""
    import common as C

    out, g = [], size // 16
    null = encode_prompts(te, tok, [""], taps, max_len, device) if guidance > 1 else None
    ch = vae.bn.running_mean.numel()
    for i in range(0, len(prompts), batch):
        ctx = encode_prompts(te, tok, prompts[i : i + batch], taps, max_len, device)
        x = nets.pack(torch.cat([noise(s, ch, g, g, bf16_noise) for s in seeds[i : i + batch]]).to(device))
        ref = hw = None
        if refs is not None:
            z = nets.encode_normalised(vae, C.from_uint8(refs[i : i + batch], device))
            hw = z.shape[-2:]
            ref = nets.pack(z)
        z = denoise(dit, x, ctx, steps, guidance, null, ref, hw, g, g)
        out += C.to_uint8(nets.decode_normalised(vae, nets.unpack(z, g, g)))
    return out
