"""The four networks with exactly the state-dict names of their originals:
Qwen3ForCausalLM (transformers), Flux2Transformer2DModel and AutoencoderKLFlux2 (diffusers).

`make_dit` / `make_vae` return the diffusers class with impl="diffusers", this file's re-implementation with
impl="own"; "auto" = own. Both have the same names, shapes and numbers (check.py compares them).
"""

from __future__ import annotations
import inspect
import math
import torch
import torch.nn as nn
import torch.nn.functional as F


def attention(q, k, v, mask=None):
    """[B,H,S,D] x3 -> [B,H,S,D]"""
    if hasattr(F, "scaled_dot_product_attention"):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    s = (q @ k.transpose(-1, -2)) * q.shape[-1] ** -0.5
    if mask is not None:
        s = s.masked_fill(~mask, float("-inf"))
    return s.softmax(-1) @ v


class RMSNorm(nn.Module):
    def __init__(self, dim, eps=1e-6):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.eps = eps

    def forward(self, x):
        y = x.float()
        return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * self.weight


def group(**mods):
    m = nn.Module()
    for k, v in mods.items():
        setattr(m, k, v)
    return m


# ------------------------------------------------------------------------------------------------------------ Qwen3
class _QAttention(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, d = c["hidden_size"], c["head_dim"]
        self.nq, self.nk, self.d = c["num_attention_heads"], c["num_key_value_heads"], d
        self.q_proj = nn.Linear(h, self.nq * d, bias=False)
        self.k_proj = nn.Linear(h, self.nk * d, bias=False)
        self.v_proj = nn.Linear(h, self.nk * d, bias=False)
        self.o_proj = nn.Linear(self.nq * d, h, bias=False)
        self.q_norm, self.k_norm = RMSNorm(d), RMSNorm(d)

    def forward(self, x, cos, sin, mask):
        B, S, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(B, S, self.nq, self.d)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(B, S, self.nk, self.d)).transpose(1, 2)
        v = self.v_proj(x).view(B, S, self.nk, self.d).transpose(1, 2)
        rot = lambda t: t * cos + torch.cat([-t[..., self.d // 2 :], t[..., : self.d // 2]], -1) * sin
        q, k = rot(q), rot(k)
        r = self.nq // self.nk
        v = v.to(q.dtype)
        if r > 1:
            k, v = k.repeat_interleave(r, 1), v.repeat_interleave(r, 1)
        return self.o_proj(attention(q, k, v, mask).transpose(1, 2).reshape(B, S, -1))


class _QLayer(nn.Module):
    def __init__(self, c):
        super().__init__()
        h, m = c["hidden_size"], c["intermediate_size"]
        self.self_attn = _QAttention(c)
        self.mlp = group(
            gate_proj=nn.Linear(h, m, bias=False),
            up_proj=nn.Linear(h, m, bias=False),
            down_proj=nn.Linear(m, h, bias=False),
        )
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(h), RMSNorm(h)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        y = self.post_attention_layernorm(x)
        return x + self.mlp.down_proj(F.silu(self.mlp.gate_proj(y)) * self.mlp.up_proj(y))


class Qwen3(nn.Module):
    """hidden states as transformers counts them: 0 = embeddings, k = after layer k, last = after the final norm."""

    def __init__(self, **c):
        super().__init__()
        self.c = c
        h = c["hidden_size"]
        self.model = group(
            embed_tokens=nn.Embedding(c["vocab_size"], h),
            layers=nn.ModuleList(_QLayer(c) for _ in range(c["num_hidden_layers"])),
            norm=RMSNorm(h),
        )
        for n, p in self.named_parameters():
            if p.ndim == 2:
                nn.init.normal_(p, std=0.5 / math.sqrt(p.shape[1]) if "embed" not in n else 0.15)

    def forward(self, ids, valid, taps=None, logits=False):
        B, S = ids.shape
        d = self.c["head_dim"]
        dev = ids.device
        f = 1.0 / (self.c["rope_theta"] ** (torch.arange(0, d, 2, device=dev, dtype=torch.float32) / d))
        a = torch.arange(S, device=dev, dtype=torch.float32)[:, None] * f
        a = torch.cat([a, a], -1)
        cos, sin = a.cos(), a.sin()
        mask = torch.ones(S, S, dtype=torch.bool, device=dev).tril()[None, None] & valid.bool()[:, None, None, :]
        n = self.c["num_hidden_layers"]
        stop = n if (logits or taps is None) else max(taps)
        x = self.model.embed_tokens(ids)
        hs = [x]
        for layer in self.model.layers[:stop]:
            x = layer(x, cos, sin, mask)
            hs.append(x)
        if stop == n:
            hs[-1] = self.model.norm(hs[-1])
        if logits:
            return F.linear(hs[-1], self.model.embed_tokens.weight), hs
        return (
            hs if taps is None else torch.cat([hs[k] for k in taps], -1)
        )  # [B, S, taps * hidden], layer-major per token


# ------------------------------------------------------------------------------------------------------- FLUX.2 DiT
def sinusoid(t, dim=256):
    f = torch.exp(-math.log(10000.0) * torch.arange(dim // 2, device=t.device, dtype=torch.float32) / (dim // 2))
    a = t.float()[:, None] * f
    return torch.cat([a.cos(), a.sin()], -1)


def rope_table(ids, axes, theta):
    """ids [S,4] -> cos, sin [S, 1, sum(axes)/2]"""
    out = []
    for i, d in enumerate(axes):
        f = 1.0 / (theta ** (torch.arange(0, d, 2, device=ids.device, dtype=torch.float64) / d))
        out.append(ids[:, i].double()[:, None] * f)
    a = torch.cat(out, -1)[:, None, :]
    return a.cos().float(), a.sin().float()


def rope(x, cos, sin):
    y = x.float()
    a, b = y[..., 0::2], y[..., 1::2]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2).to(x.dtype)


def _lin(a, b):
    return nn.Linear(a, b, bias=False)


class _FF(nn.Module):
    def __init__(self, d, m):
        super().__init__()
        self.linear_in, self.linear_out = _lin(d, 2 * m), _lin(m, d)

    def forward(self, x):
        a, b = self.linear_in(x).chunk(2, -1)
        return self.linear_out(F.silu(a) * b)


class _JointAttention(nn.Module):
    def __init__(self, d, heads, hd, eps):
        super().__init__()
        self.h, self.hd = heads, hd
        self.to_q, self.to_k, self.to_v = _lin(d, d), _lin(d, d), _lin(d, d)
        self.norm_q, self.norm_k = RMSNorm(hd, eps), RMSNorm(hd, eps)
        self.to_out = nn.ModuleList([_lin(d, d), nn.Dropout(0.0)])
        self.norm_added_q, self.norm_added_k = RMSNorm(hd, eps), RMSNorm(hd, eps)
        self.add_q_proj, self.add_k_proj, self.add_v_proj, self.to_add_out = (
            _lin(d, d),
            _lin(d, d),
            _lin(d, d),
            _lin(d, d),
        )

    def forward(self, x, c, cos, sin):
        sp = lambda t: t.unflatten(-1, (self.h, self.hd))
        q = torch.cat([self.norm_added_q(sp(self.add_q_proj(c))), self.norm_q(sp(self.to_q(x)))], 1)
        k = torch.cat([self.norm_added_k(sp(self.add_k_proj(c))), self.norm_k(sp(self.to_k(x)))], 1)
        v = torch.cat([sp(self.add_v_proj(c)), sp(self.to_v(x))], 1)
        q, k = rope(q, cos, sin).to(v.dtype), rope(k, cos, sin).to(v.dtype)
        o = attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2).flatten(2)
        return self.to_out[0](o[:, c.shape[1] :]), self.to_add_out(o[:, : c.shape[1]])


class _Double(nn.Module):
    def __init__(self, d, heads, hd, ratio, eps):
        super().__init__()
        self.attn = _JointAttention(d, heads, hd, eps)
        self.ff, self.ff_context = _FF(d, int(d * ratio)), _FF(d, int(d * ratio))
        self.d, self.eps = d, eps

    def ln(self, x):
        return F.layer_norm(x, (self.d,), eps=self.eps)

    def forward(self, x, c, mi, mt, cos, sin):
        s1, k1, g1, s2, k2, g2 = mi.chunk(6, -1)
        t1, l1, h1, t2, l2, h2 = mt.chunk(6, -1)
        a, b = self.attn((1 + k1) * self.ln(x) + s1, (1 + l1) * self.ln(c) + t1, cos, sin)
        x = x + g1 * a
        x = x + g2 * self.ff(self.ln(x) * (1 + k2) + s2)
        c = c + h1 * b
        c = c + h2 * self.ff_context(self.ln(c) * (1 + l2) + t2)
        return x, c


class _Single(nn.Module):
    def __init__(self, d, heads, hd, ratio, eps):
        super().__init__()
        self.d, self.h, self.hd, self.m, self.eps = d, heads, hd, int(d * ratio), eps
        self.attn = group(
            to_qkv_mlp_proj=_lin(d, 3 * d + 2 * self.m),
            norm_q=RMSNorm(hd, eps),
            norm_k=RMSNorm(hd, eps),
            to_out=_lin(d + self.m, d),
        )

    def forward(self, x, mod, cos, sin):
        s, k, g = mod.chunk(3, -1)
        A = self.attn
        q, kk, v, a, b = A.to_qkv_mlp_proj((1 + k) * F.layer_norm(x, (self.d,), eps=self.eps) + s).split(
            [self.d] * 3 + [self.m] * 2, -1
        )
        sp = lambda t: t.unflatten(-1, (self.h, self.hd))
        v = sp(v)
        q, kk = rope(A.norm_q(sp(q)), cos, sin).to(v.dtype), rope(A.norm_k(sp(kk)), cos, sin).to(v.dtype)
        o = attention(q.transpose(1, 2), kk.transpose(1, 2), v.transpose(1, 2)).transpose(1, 2).flatten(2)
        return x + g * A.to_out(torch.cat([o, F.silu(a) * b], -1))


DIT_DEFAULTS = dict(
    patch_size=1,
    in_channels=128,
    out_channels=None,
    num_layers=8,
    num_single_layers=48,
    attention_head_dim=128,
    num_attention_heads=48,
    joint_attention_dim=15360,
    timestep_guidance_channels=256,
    mlp_ratio=3.0,
    axes_dims_rope=(32, 32, 32, 32),
    rope_theta=2000,
    eps=1e-6,
    guidance_embeds=False,
)


class Flux2DiT(nn.Module):
    def __init__(self, **cfg):
        super().__init__()
        c = self.c = {**DIT_DEFAULTS, **cfg}
        h, hd = c["num_attention_heads"], c["attention_head_dim"]
        d = h * hd
        self.d = d
        r, e = c["mlp_ratio"], c["eps"]
        self.time_guidance_embed = group(timestep_embedder=group(linear_1=_lin(256, d), linear_2=_lin(d, d)))
        self.double_stream_modulation_img, self.double_stream_modulation_txt, self.single_stream_modulation = (
            group(linear=_lin(d, 6 * d)),
            group(linear=_lin(d, 6 * d)),
            group(linear=_lin(d, 3 * d)),
        )
        self.x_embedder, self.context_embedder = _lin(c["in_channels"], d), _lin(c["joint_attention_dim"], d)
        self.transformer_blocks = nn.ModuleList(_Double(d, h, hd, r, e) for _ in range(c["num_layers"]))
        self.single_transformer_blocks = nn.ModuleList(_Single(d, h, hd, r, e) for _ in range(c["num_single_layers"]))
        self.norm_out, self.proj_out = group(linear=_lin(d, 2 * d)), _lin(d, c["out_channels"] or c["in_channels"])

    def forward(
        self, hidden_states, encoder_hidden_states, timestep, img_ids, txt_ids, guidance=None, return_dict=False
    ):
        ids = torch.cat([t[0] if t.ndim == 3 else t for t in (txt_ids, img_ids)], 0)
        cos, sin = rope_table(ids, self.c["axes_dims_rope"], self.c["rope_theta"])
        te = self.time_guidance_embed.timestep_embedder
        temb = te.linear_2(F.silu(te.linear_1(sinusoid(timestep * 1000).to(hidden_states.dtype))))
        m = F.silu(temb)
        mi, mt, ms = (
            g.linear(m)[:, None]
            for g in (
                self.double_stream_modulation_img,
                self.double_stream_modulation_txt,
                self.single_stream_modulation,
            )
        )
        keep = lambda t: t.to(hidden_states.dtype)  # under autocast the residual streams stay fp32
        x, c = keep(self.x_embedder(hidden_states)), keep(self.context_embedder(encoder_hidden_states))
        for b in self.transformer_blocks:
            x, c = b(x, c, mi, mt, cos, sin)
        n = c.shape[1]
        x = torch.cat([c, x], 1)
        for b in self.single_transformer_blocks:
            x = b(x, ms, cos, sin)
        scale, shift = self.norm_out.linear(m)[:, None].chunk(2, -1)
        return (self.proj_out(F.layer_norm(x[:, n:], (self.d,), eps=1e-6) * (1 + scale) + shift),)


def init_dit(m):
    """Zero-initialised modulation and output: every block starts as the identity."""
    for n, p in m.named_parameters():
        if "modulation" in n or n.startswith("norm_out") or n.startswith("proj_out"):
            nn.init.zeros_(p)
        elif p.ndim == 2:
            nn.init.normal_(
                p,
                std=1
                / math.sqrt(p.shape[1])
                * (0.5 if "to_out" in n or "to_add_out" in n or "linear_out" in n else 1.0),
            )
    return m


# -------------------------------------------------------------------------------------------------------------- VAE
class _Res(nn.Module):
    def __init__(self, a, b, g):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(g, a, eps=1e-6), nn.Conv2d(a, b, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(g, b, eps=1e-6), nn.Conv2d(b, b, 3, padding=1)
        self.conv_shortcut = nn.Conv2d(a, b, 1) if a != b else None

    def forward(self, x):
        y = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x))))))
        return y + (x if self.conv_shortcut is None else self.conv_shortcut(x))


class _VAttention(nn.Module):
    def __init__(self, c, g):
        super().__init__()
        self.group_norm = nn.GroupNorm(g, c, eps=1e-6)
        self.to_q, self.to_k, self.to_v, self.to_out = (
            nn.Linear(c, c),
            nn.Linear(c, c),
            nn.Linear(c, c),
            nn.ModuleList([nn.Linear(c, c), nn.Dropout(0.0)]),
        )

    def forward(self, x):
        B, C, H, W = x.shape
        y = self.group_norm(x).flatten(2).transpose(1, 2)
        o = attention(self.to_q(y)[:, None], self.to_k(y)[:, None], self.to_v(y)[:, None])[:, 0]
        return x + self.to_out[0](o).transpose(1, 2).reshape(B, C, H, W)


class _Mid(nn.Module):
    def __init__(self, c, g):
        super().__init__()
        self.attentions, self.resnets = nn.ModuleList([_VAttention(c, g)]), nn.ModuleList(
            [_Res(c, c, g), _Res(c, c, g)]
        )

    def forward(self, x):
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class _Encoder(nn.Module):
    def __init__(self, chs, z, n, g):
        super().__init__()
        self.conv_in = nn.Conv2d(3, chs[0], 3, padding=1)
        self.down_blocks = nn.ModuleList()
        a = chs[0]
        for i, b in enumerate(chs):
            m = group(resnets=nn.ModuleList(_Res(a if j == 0 else b, b, g) for j in range(n)))
            if i < len(chs) - 1:
                m.downsamplers = nn.ModuleList([group(conv=nn.Conv2d(b, b, 3, stride=2))])
            self.down_blocks.append(m)
            a = b
        self.mid_block = _Mid(a, g)
        self.conv_norm_out, self.conv_out = nn.GroupNorm(g, a, eps=1e-6), nn.Conv2d(a, 2 * z, 3, padding=1)

    def forward(self, x):
        x = self.conv_in(x)
        for m in self.down_blocks:
            for r in m.resnets:
                x = r(x)
            if hasattr(m, "downsamplers"):
                x = m.downsamplers[0].conv(F.pad(x, (0, 1, 0, 1)))
        return self.conv_out(F.silu(self.conv_norm_out(self.mid_block(x))))


class _Decoder(nn.Module):
    def __init__(self, chs, z, n, g):
        super().__init__()
        chs = list(chs)[::-1]
        a = chs[0]
        self.conv_in = nn.Conv2d(z, a, 3, padding=1)
        self.mid_block = _Mid(a, g)
        self.up_blocks = nn.ModuleList()
        for i, b in enumerate(chs):
            m = group(resnets=nn.ModuleList(_Res(a if j == 0 else b, b, g) for j in range(n)))
            if i < len(chs) - 1:
                m.upsamplers = nn.ModuleList([group(conv=nn.Conv2d(b, b, 3, padding=1))])
            self.up_blocks.append(m)
            a = b
        self.conv_norm_out, self.conv_out = nn.GroupNorm(g, a, eps=1e-6), nn.Conv2d(a, 3, 3, padding=1)

    def forward(self, z):
        x = self.mid_block(self.conv_in(z))
        for m in self.up_blocks:
            for r in m.resnets:
                x = r(x)
            if hasattr(m, "upsamplers"):
                x = m.upsamplers[0].conv(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        return self.conv_out(F.silu(self.conv_norm_out(x)))


class VAE(nn.Module):
    def __init__(self, block_out_channels, latent_channels, layers_per_block, norm_num_groups):
        super().__init__()
        z, n, g = latent_channels, layers_per_block, norm_num_groups
        self.encoder, self.decoder = _Encoder(block_out_channels, z, n, g), _Decoder(block_out_channels, z, n + 1, g)
        self.quant_conv, self.post_quant_conv = nn.Conv2d(2 * z, 2 * z, 1), nn.Conv2d(z, z, 1)
        self.bn = nn.BatchNorm2d(4 * z, eps=1e-4, momentum=0.1, affine=False)

    def moments(self, x):
        return self.quant_conv(self.encoder(x)).chunk(2, 1)

    def decode_z(self, z):
        return self.decoder(self.post_quant_conv(z))


# --------------------------------------------------------------------------------------------------------- factories
def vae_config(v):
    k = len(v["block_out_channels"])
    return dict(
        act_fn="silu",
        batch_norm_eps=1e-4,
        batch_norm_momentum=0.1,
        block_out_channels=list(v["block_out_channels"]),
        down_block_types=["DownEncoderBlock2D"] * k,
        force_upcast=True,
        in_channels=3,
        latent_channels=v["latent_channels"],
        layers_per_block=v["layers_per_block"],
        mid_block_add_attention=True,
        norm_num_groups=v["norm_num_groups"],
        out_channels=3,
        patch_size=[2, 2],
        sample_size=256,
        up_block_types=["UpDecoderBlock2D"] * k,
        use_post_quant_conv=True,
        use_quant_conv=True,
    )


def dit_config(d):
    return {**DIT_DEFAULTS, **d, "axes_dims_rope": list(d["axes_dims_rope"])}


def diffusers_classes():
    import importlib

    t = importlib.import_module("diffusers.models.transformers.transformer_flux2").Flux2Transformer2DModel
    v = importlib.import_module("diffusers.models.autoencoders.autoencoder_kl_flux2").AutoencoderKLFlux2
    return t, v


def make_dit(cfg, impl="auto"):
    if impl == "diffusers":
        c = dit_config(cfg)
        c["axes_dims_rope"] = tuple(c["axes_dims_rope"])
        return init_dit(diffusers_classes()[0](**c))
    return init_dit(Flux2DiT(**cfg))


def make_vae(cfg, impl="auto"):
    if impl != "diffusers":
        return VAE(**cfg)
    c = vae_config(cfg)
    for k in ("block_out_channels", "down_block_types", "up_block_types", "patch_size"):
        c[k] = tuple(c[k])
    known = inspect.signature(diffusers_classes()[1].__init__).parameters  # releases differ in what they accept
    m = diffusers_classes()[1](**{k: v for k, v in c.items() if k in known})
    m.moments = lambda x: m.encode(x, return_dict=False)[0].parameters.chunk(2, 1)
    m.decode_z = lambda z: m.decode(z, return_dict=False)[0]
    return m


# ------------------------------------------------------------------------------------------------- latent conventions
def patchify(z):
    B, C, H, W = z.shape
    return z.view(B, C, H // 2, 2, W // 2, 2).permute(0, 1, 3, 5, 2, 4).reshape(B, 4 * C, H // 2, W // 2)


def unpatchify(z):
    B, C, H, W = z.shape
    return z.reshape(B, C // 4, 2, 2, H, W).permute(0, 1, 4, 2, 5, 3).reshape(B, C // 4, 2 * H, 2 * W)


def pack(z):
    return z.flatten(2).transpose(1, 2)


def unpack(x, h, w):
    return x.transpose(1, 2).reshape(x.shape[0], -1, h, w)


def bn_stats(vae):
    return vae.bn.running_mean.view(1, -1, 1, 1), torch.sqrt(vae.bn.running_var.view(1, -1, 1, 1) + 1e-4)


def encode_normalised(vae, images):
    mean, std = bn_stats(vae)
    return (patchify(vae.moments(images)[0].float()) - mean) / std


def decode_normalised(vae, z):
    mean, std = bn_stats(vae)
    return vae.decode_z(unpatchify(z * std + mean))


def image_ids(h, w, t=0, device="cpu"):
    a = torch.zeros(h, w, 4, device=device)
    a[..., 0] = t
    a[..., 1] = torch.arange(h, device=device)[:, None]
    a[..., 2] = torch.arange(w, device=device)
    return a.view(-1, 4)


def text_ids(n, device="cpu"):
    a = torch.zeros(n, 4, device=device)
    a[:, 3] = torch.arange(n, device=device)
    return a
