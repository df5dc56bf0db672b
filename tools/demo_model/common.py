"""Shared plumbing: profiles, time boxes, checkpoints, optimiser, EMA, autocast choice, PNG and safetensors files."""

from __future__ import annotations
import argparse
import json
import math
import os
import random
import signal
import struct
import sys
import time
import zlib
import numpy as np
import torch

# ------------------------------------------------------------------------------------------------------ profiles
PROFILES = {
    # two CPU cores, about 100 minutes
    "cpu": dict(
        vae=dict(block_out_channels=(16, 16, 32, 64), latent_channels=16, layers_per_block=1, norm_num_groups=8),
        te=dict(
            vocab_size=1024,
            hidden_size=128,
            num_hidden_layers=7,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            intermediate_size=256,
            rope_theta=10000.0,
        ),
        dit=dict(
            num_attention_heads=3,
            attention_head_dim=64,
            num_layers=2,
            num_single_layers=4,
            axes_dims_rope=(16, 16, 16, 16),
        ),
        out_layers=(2, 4, 6),
        max_len=64,
        glyphs=0.0,
    ),
    # one large GPU, about 30 minutes
    "gpu": dict(
        vae=dict(block_out_channels=(32, 32, 64, 64), latent_channels=16, layers_per_block=1, norm_num_groups=8),
        te=dict(
            vocab_size=1024,
            hidden_size=128,
            num_hidden_layers=7,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            intermediate_size=384,
            rope_theta=10000.0,
        ),
        dit=dict(
            num_attention_heads=4,
            attention_head_dim=64,
            num_layers=2,
            num_single_layers=5,
            axes_dims_rope=(16, 16, 16, 16),
        ),
        out_layers=(2, 4, 6),
        max_len=64,
        glyphs=0.1,
    ),
    # seconds; for smoke tests only
    "smoke": dict(
        vae=dict(block_out_channels=(8, 8, 16, 16), latent_channels=4, layers_per_block=1, norm_num_groups=4),
        te=dict(
            vocab_size=1024,
            hidden_size=32,
            num_hidden_layers=5,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=16,
            intermediate_size=64,
            rope_theta=10000.0,
        ),
        dit=dict(
            num_attention_heads=2, attention_head_dim=16, num_layers=1, num_single_layers=1, axes_dims_rope=(4, 4, 4, 4)
        ),
        out_layers=(1, 2, 4),
        max_len=64,
        glyphs=0.1,
    ),
}


def profile(name):
    p = {k: (dict(v) if isinstance(v, dict) else v) for k, v in PROFILES[name].items()}
    p["dit"]["in_channels"] = p["vae"]["latent_channels"] * 4
    p["dit"]["joint_attention_dim"] = p["te"]["hidden_size"] * len(p["out_layers"])
    return p


def parser(doc, minutes, batch=None, lr=None):
    a = argparse.ArgumentParser(description=doc, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    a.add_argument("--work", default="run", help="folder of checkpoints and caches")
    a.add_argument("--profile", default="cpu", choices=list(PROFILES))
    a.add_argument("--device", default="auto", help="auto, cpu, cuda, ...")
    a.add_argument("--threads", type=int, default=0, help="CPU threads (0: leave torch's choice)")
    a.add_argument("--seed", type=int, default=1)
    if minutes is not None:
        a.add_argument(
            "--minutes", type=float, default=minutes, help="time box of this stage, all resumed runs together"
        )
        a.add_argument(
            "--steps", type=int, default=0, help="stop after this many steps instead (bit-reproducible schedule)"
        )
        a.add_argument("--save-minutes", type=float, default=3.0, help="checkpoint interval")
        a.add_argument("--log-seconds", type=float, default=20.0)
        a.add_argument(
            "--amp", default="auto", choices=("auto", "bf16", "none"), help="auto: time both, keep the faster"
        )
        a.add_argument("--compile", action="store_true", help="use torch.compile")
        a.add_argument("--fresh", action="store_true", help="ignore an existing checkpoint of this stage")
    if batch is not None:
        a.add_argument("--batch", type=int, default=batch)
    if lr is not None:
        a.add_argument("--lr", type=float, default=lr)
    return a


def setup(args):
    """-> (device, profile); seeds everything."""
    if args.threads:
        torch.set_num_threads(args.threads)
    random.seed(args.seed)
    np.random.seed(args.seed)
    torch.manual_seed(args.seed)
    dev = args.device
    if dev == "auto":
        dev = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(dev)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    os.makedirs(args.work, exist_ok=True)
    print(
        f"device {device}, torch {torch.__version__}, threads {torch.get_num_threads()}, profile {args.profile}, seed {args.seed}",
        flush=True,
    )
    return device, profile(args.profile)


# ---------------------------------------------------------------------------------------------- time and checkpoints
class Clock:
    """Progress in [0, 1] of a stage: by steps when --steps is given, else by the minutes used over all resumed runs."""

    def __init__(self, args, used=0.0):
        self.a, self.used0, self.t0, self.last_save, self.last_log, self.stop = (
            args,
            used,
            time.time(),
            time.time(),
            time.time(),
            False,
        )
        try:
            signal.signal(signal.SIGTERM, self._term)
            signal.signal(signal.SIGINT, self._term)
        except ValueError:
            pass  # not the main thread

    def _term(self, *_):
        self.stop = True

    def leave_if_stopped(self, save):
        """After SIGTERM or Ctrl-C: write the checkpoint and leave with status 75; the next call goes on from there."""
        if self.stop:
            save()
            print("stopped by a signal; checkpoint written", flush=True)
            sys.exit(75)

    def used(self):
        return self.used0 + (time.time() - self.t0)

    def progress(self, step):
        if self.a.steps:
            return min(1.0, step / self.a.steps)
        return min(1.0, self.used() / max(1e-9, self.a.minutes * 60))

    def done(self, step):
        return self.progress(step) >= 1.0

    def save_due(self):
        if time.time() - self.last_save < self.a.save_minutes * 60:
            return False
        self.last_save = time.time()
        return True

    def log_due(self):
        if time.time() - self.last_log < self.a.log_seconds:
            return False
        self.last_log = time.time()
        return True


def lr_factor(p, step, warmup=100, floor=0.02):
    """Linear warm-up, flat, then a cosine fall over the last 60 % of the budget."""
    w = min(1.0, (step + 1) / warmup)
    c = 1.0 if p < 0.4 else floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * (p - 0.4) / 0.6))
    return w * c


def randn(shape, seed, device):
    """Reproducible noise made on the device itself."""
    return torch.randn(shape, generator=torch.Generator(device=device).manual_seed(seed), device=device)


def save_ckpt(path, **state):
    tmp = path + ".tmp"
    torch.save(state, tmp)
    os.replace(tmp, path)


def load_ckpt(path, device="cpu"):
    if not os.path.exists(path):
        return None
    try:
        return torch.load(path, map_location=device, weights_only=False)
    except TypeError:
        return torch.load(path, map_location=device)


def clean_keys(sd):
    return {k.replace("_orig_mod.", ""): v for k, v in sd.items()}


# ------------------------------------------------------------------------------------------------------- precision
def autocast(device, on):
    return torch.autocast(device_type=device.type, dtype=torch.bfloat16, enabled=bool(on))


def choose_amp(args, device, work):
    """`work()` = forward + backward of one batch. Times it with and without bf16 autocast; leaves no gradients behind."""
    if args.amp != "auto":
        return args.amp == "bf16"
    if device.type == "cuda":
        return True
    times = {}
    for on in (False, True):
        try:
            with autocast(device, on):
                work()
            t = time.time()
            with autocast(device, on):
                work()
            times[on] = time.time() - t
        except Exception as e:  # an op without bf16 on this build
            print("bf16 autocast not usable:", str(e).splitlines()[0][:120])
            times[on] = float("inf")
    use = times[True] < 0.95 * times[False]
    print(
        f"step time fp32 {times[False]:.3f} s, bf16 autocast {times[True]:.3f} s -> {'bf16' if use else 'fp32'}",
        flush=True,
    )
    return use


# ------------------------------------------------------------------------------------------------- optimiser and EMA
def _orthogonal(g, steps=5):
    """Newton-Schulz iteration towards the nearest orthogonal matrix (quintic, tuned coefficients)."""
    x = g.bfloat16() if g.is_cuda else g
    flip = x.shape[-2] > x.shape[-1]
    if flip:
        x = x.transpose(-1, -2)
    x = x / (x.flatten(-2).norm(dim=-1)[..., None, None] + 1e-7)
    for _ in range(steps):
        s = x @ x.transpose(-1, -2)
        x = 3.4445 * x + (-4.7750 * s + 2.0315 * s @ s) @ x
    return (x.transpose(-1, -2) if flip else x).to(g.dtype)


def _orthogonal_many(parts):
    """On a GPU equal shapes go through one batched product (few launches); on a CPU one by one."""
    if not parts[0].is_cuda:
        return [_orthogonal(p) for p in parts]
    by, out = {}, [None] * len(parts)
    for i, p in enumerate(parts):
        by.setdefault(p.shape, []).append(i)
    for idx in by.values():
        for i, u in zip(idx, _orthogonal(torch.stack([parts[i] for i in idx]))):
            out[i] = u
    return out


class Muon(torch.optim.Optimizer):
    """Momentum + orthogonalised update for hidden matrices (convolution kernels as [out, in*9]), AdamW for the rest. One learning rate serves both, because
    the orthogonal update is scaled to AdamW's usual size (0.2 * sqrt(max(rows, cols)))."""

    def __init__(self, groups, lr):
        super().__init__(
            groups, dict(lr=lr, wd=0.01, momentum=0.95, betas=(0.9, 0.99), eps=1e-8, muon=False, splits=None, scale=1.0)
        )

    @torch.no_grad()
    def step(self):
        for g in self.param_groups:
            lr = g["lr"] * g["scale"]
            if g["muon"]:
                self._muon(g, lr)
                continue
            for p in g["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                if "m" not in s:
                    s["m"], s["v"], s["t"] = torch.zeros_like(p), torch.zeros_like(p), 0
                s["t"] += 1
                b1, b2 = g["betas"]
                s["m"].lerp_(p.grad, 1 - b1)
                s["v"].mul_(b2).addcmul_(p.grad, p.grad, value=1 - b2)
                d = (s["v"] / (1 - b2 ** s["t"])).sqrt_().add_(g["eps"])
                if p.ndim > 1:
                    p.mul_(1 - lr * g["wd"])
                p.addcdiv_(s["m"], d, value=-lr / (1 - b1 ** s["t"]))

    def _muon(self, g, lr):
        todo, parts = [], []
        for p, sp in zip(g["params"], g["splits"]):
            if p.grad is None:
                continue
            s = self.state[p]
            if "m" not in s:
                s["m"] = torch.zeros_like(p)
            s["m"].lerp_(p.grad, 1 - g["momentum"])
            u = torch.lerp(p.grad, s["m"], g["momentum"])
            u = u.flatten(1)
            q = list(u.split(sp, 0)) if sp else [u]
            todo.append((p, len(q)))
            parts += q
        if not parts:
            return
        upd = _orthogonal_many(parts)
        i = 0
        for p, n in todo:
            u = torch.cat([x * (0.2 * math.sqrt(max(x.shape))) for x in upd[i : i + n]], 0)
            i += n
            p.mul_(1 - lr * g["wd"])
            p.add_(u.view(p.shape), alpha=-lr)


def make_optimizer(named, lr, kind="muon", width=0, scale=1.0):
    """named: iterable of (name, parameter). Hidden matrices go to Muon; embeddings, in/out projections, modulation,
    norms and biases go to AdamW. Fused projections are orthogonalised block by block (`width` = model width)."""
    hidden, splits, other = [], [], []
    skip = (
        "embed",
        "modulation",
        "norm_out",
        "proj_out",
        "lm_head",
        "heads.",
        "bn.",
        "conv_in.",
        "conv_out.",
        "quant_conv.",
    )
    for n, p in named:
        if not p.requires_grad:
            continue
        if kind == "muon" and p.ndim in (2, 4) and not any(k in n for k in skip):
            hidden.append(p)
            rows = p.shape[0]
            sp = None
            if n.endswith("to_qkv_mlp_proj.weight"):
                m = (rows - 3 * width) // 2
                sp = [width] * 3 + [m, m]
            elif n.endswith("linear_in.weight"):
                sp = [rows // 2] * 2
            splits.append(sp)
        else:
            other.append(p)
    groups = [dict(params=other, scale=scale)]
    if hidden:
        groups.append(dict(params=hidden, muon=True, splits=splits, scale=scale))
    return groups


class EMA:
    def __init__(self, module, decay):
        self.decay, self.n = decay, 0
        self.shadow = {
            k: v.detach().clone().float() if v.is_floating_point() else v.detach().clone()
            for k, v in clean_keys(module.state_dict()).items()
        }

    @torch.no_grad()
    def update(self, module):
        self.n += 1
        d = min(self.decay, (1 + self.n) / (10 + self.n))
        for k, v in clean_keys(module.state_dict()).items():
            if v.is_floating_point():
                self.shadow[k].lerp_(v.detach().float(), 1 - d)
            else:
                self.shadow[k].copy_(v)

    def state(self):
        return dict(shadow=self.shadow, n=self.n, decay=self.decay)

    def load(self, s):
        self.n = s["n"]
        for k, v in s["shadow"].items():
            self.shadow[k].copy_(v)


# -------------------------------------------------------------------------------------------------------- files
_DT = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
}


def save_safetensors(path, tensors, metadata=None):
    head, blobs, off = ({"__metadata__": metadata} if metadata else {}), [], 0
    for k in sorted(tensors):
        t = tensors[k].detach().cpu().contiguous()
        b = (t.reshape(-1).view(torch.int16) if t.dtype == torch.bfloat16 else t).numpy().tobytes()
        head[k] = dict(dtype=_DT[t.dtype], shape=list(t.shape), data_offsets=[off, off + len(b)])
        off += len(b)
        blobs.append(b)
    h = json.dumps(head, separators=(",", ":")).encode()
    h += b" " * (-len(h) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(h)))
        f.write(h)
        for b in blobs:
            f.write(b)


def load_safetensors(path):
    raw = open(path, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8 : 8 + n])
    head.pop("__metadata__", None)
    out, inv = {}, {v: k for k, v in _DT.items()}
    for k, v in head.items():
        a, b = v["data_offsets"]
        dt = inv[v["dtype"]]
        if a == b:
            out[k] = torch.zeros(v["shape"], dtype=dt)
            continue
        buf = bytearray(raw[8 + n + a : 8 + n + b])
        out[k] = (
            torch.frombuffer(buf, dtype=torch.int16).view(torch.bfloat16)
            if dt == torch.bfloat16
            else torch.frombuffer(buf, dtype=dt)
        ).reshape(v["shape"])
    return out


def write_png(path, img):
    img = np.ascontiguousarray(img)
    h, w, c = img.shape
    rows = np.concatenate([np.zeros((h, 1), np.uint8), img.reshape(h, w * c)], 1).tobytes()
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    with open(path, "wb") as f:
        f.write(
            b"\x89PNG\r\n\x1a\n"
            + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows, 6))
            + chunk(b"IEND", b"")
        )


def read_image(path):
    """-> uint8 [h, w, 3]. Uses Pillow when present, else reads 8-bit non-interlaced PNG directly."""
    try:
        from PIL import Image

        return np.asarray(Image.open(path).convert("RGB"))
    except (ImportError, AttributeError):
        pass
    raw = open(path, "rb").read()
    pos, data = 8, b""
    if raw[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError(f"{path}: not a PNG, and Pillow is not installed")
    while pos < len(raw):
        n = struct.unpack(">I", raw[pos : pos + 4])[0]
        t = raw[pos + 4 : pos + 8]
        d = raw[pos + 8 : pos + 8 + n]
        pos += 12 + n
        if t == b"IHDR":
            w, h, depth, kind, _, _, inter = struct.unpack(">IIBBBBB", d)
        elif t == b"IDAT":
            data += d
    c = {0: 1, 2: 3, 4: 2, 6: 4}.get(kind)
    if depth != 8 or inter or c is None:
        raise ValueError(f"{path}: unsupported PNG kind; install Pillow")
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(h, 1 + w * c)
    out = np.zeros((h, w * c), np.uint8)
    prev = np.zeros(w * c, np.uint8)
    for y in range(h):
        f, r = rows[y, 0], rows[y, 1:].copy()
        if f == 2:
            r = r + prev
        elif f:
            r = r.astype(np.int32)
            p = prev.astype(np.int32)
            for x in range(w * c):
                a = r[x - c] if x >= c else 0
                b = p[x]
                q = p[x - c] if x >= c else 0
                if f == 1:
                    v = a
                elif f == 3:
                    v = (a + b) // 2
                else:
                    e = a + b - q
                    da, db, dq = abs(e - a), abs(e - b), abs(e - q)
                    v = a if da <= db and da <= dq else b if db <= dq else q
                r[x] = (r[x] + v) & 255
            r = r.astype(np.uint8)
        out[y] = prev = r
    out = out.reshape(h, w, c)
    return np.repeat(out[..., :1], 3, 2) if c < 3 else out[..., :3]


def contact_sheet(images, cols, gap=4):
    h, w = images[0].shape[:2]
    rows = (len(images) + cols - 1) // cols
    s = np.full((rows * (h + gap) + gap, cols * (w + gap) + gap, 3), 96, np.uint8)
    for i, im in enumerate(images):
        y, x = gap + (i // cols) * (h + gap), gap + (i % cols) * (w + gap)
        s[y : y + h, x : x + w] = im
    return s


def to_uint8(x):
    """[B,3,H,W] in [-1,1] -> list of uint8 [H,W,3]"""
    x = ((x.float().clamp(-1, 1) + 1) * 127.5 + 0.5).clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    return list(x)


def from_uint8(imgs, device="cpu"):
    return torch.from_numpy(np.stack(imgs)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
