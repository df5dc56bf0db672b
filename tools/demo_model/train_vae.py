"""Stage 1: the picture autoencoder (AutoencoderKLFlux2). Writes <work>/vae.pt with latent statistics in bn.*

Loss: L1 + multi-scale gradient L1 + tiny KL. Random noise is added to the latents before decoding (0 to --noise
standard deviations per channel), so the decoder draws clean shapes from the slightly wrong latents a small
diffusion model produces. Sizes grow with progress: 64-pixel crops, then 128, then a mix of 128 and 256.
"""

import math
import os
import time
import numpy as np
import torch
import torch.nn.functional as F
import common as C
import nets
import scenes


def gradient_loss(a, b):
    loss = 0.0
    for _ in range(3):
        loss = (
            loss
            + ((a[..., 1:] - a[..., :-1]) - (b[..., 1:] - b[..., :-1])).abs().mean()
            + ((a[..., 1:, :] - a[..., :-1, :]) - (b[..., 1:, :] - b[..., :-1, :])).abs().mean()
        )
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return loss / 3


class Pool:
    """Pre-rendered pictures; a batch = random picks, crops, flips and (sometimes) random colour changes."""

    def __init__(self, n, seed, glyphs, sizes=(128, 256)):
        self.images = {
            s: np.stack(
                [scenes.scene(seed * 1_000_003 + i, s, glyphs)[0] for i in range(n if s == 128 else max(8, n // 6))]
            )
            for s in sizes
        }

    def batch(self, rng, n, size, device="cpu"):
        src = self.images[256 if size == 256 else 128]
        out = []
        for _ in range(n):
            im = src[rng.integers(len(src))]
            if size < im.shape[0]:
                y, x = rng.integers(im.shape[0] - size + 1, size=2)
                im = im[y : y + size, x : x + size]
            if rng.random() < 0.5:
                im = im[:, ::-1]
            out.append(im)
        x = C.from_uint8(out, device)
        if rng.random() < 0.3:  # other colours than the palette's, so that foreign reference pictures survive too
            u = lambda a, b: torch.from_numpy(rng.uniform(a, b, (n, 3, 1, 1)).astype(np.float32)).to(device)
            x = (x * u(0.4, 1.0) + u(-0.4, 0.4)).clamp(-1, 1)
        return x


@torch.no_grad()
def psnr(vae, x):
    r = vae.decode_z(vae.moments(x)[0].float()).float().clamp(-1, 1)
    return -10 * math.log10(float(((r - x) / 2).pow(2).mean()) + 1e-12)


@torch.no_grad()
def latent_statistics(vae, device, seed, glyphs, n):
    """Mean and variance per channel of the patchified posterior means: what the FLUX.2 pipeline keeps in bn.*"""
    s1 = s2 = cnt = 0
    for size, k in ((128, n), (256, n // 2)):
        for i in range(0, k, 16):
            x = C.from_uint8([scenes.scene(seed * 77_777_777 + i + j, size, glyphs)[0] for j in range(16)], device)
            z = nets.patchify(vae.moments(x)[0].float()).double()
            w = 256 / size  # both sizes count alike per token
            s1, s2, cnt = (
                s1 + w * z.sum((0, 2, 3)),
                s2 + w * z.pow(2).sum((0, 2, 3)),
                cnt + w * z.shape[0] * z.shape[2] * z.shape[3],
            )
    mean = s1 / cnt
    vae.bn.running_mean.copy_(mean)
    vae.bn.running_var.copy_(s2 / cnt - mean**2)
    vae.bn.num_batches_tracked.fill_(1)


def main():
    a = C.parser(__doc__, 18, batch=16, lr=5e-3)
    a.add_argument("--impl", default="auto", choices=("auto", "own", "diffusers"))
    a.add_argument("--opt", default="muon", choices=("muon", "adamw"))
    a.add_argument("--pool", type=int, default=3000, help="pre-rendered pictures")
    a.add_argument("--noise", type=float, default=0.35)
    a.add_argument("--kl", type=float, default=1e-5)
    a.add_argument("--sizes", default="64:0.35,128:0.8,256:1", help="size:until-progress list")
    args = a.parse_args()
    device, prof = C.setup(args)
    path = os.path.join(args.work, "vae.pt")
    work = os.path.join(args.work, "vae_train.pt")
    vae = nets.make_vae(prof["vae"], args.impl).to(device).to(memory_format=torch.channels_last)
    opt = C.Muon(C.make_optimizer(vae.named_parameters(), args.lr, args.opt), args.lr)
    ema = C.EMA(vae, 0.996)
    step = 0
    ck = None if args.fresh else C.load_ckpt(work, device)
    if ck:
        vae.load_state_dict(ck["model"])
        opt.load_state_dict(ck["opt"])
        ema.load(ck["ema"])
        step = ck["step"]
        print("resumed at step", step)
    print(f"parameters {sum(p.numel() for p in vae.parameters()):,}")
    pool = Pool(args.pool, args.seed, prof["glyphs"] or 0.05)
    val = {
        s: C.from_uint8([scenes.scene(10**9 + i, s, prof["glyphs"])[0] for i in range(8)], device) for s in (128, 256)
    }
    sizes = [(int(s), float(u)) for s, u in (x.split(":") for x in args.sizes.split(","))]
    cl = lambda x: x.contiguous(memory_format=torch.channels_last)
    if args.compile:
        vae.encoder, vae.decoder = torch.compile(vae.encoder), torch.compile(vae.decoder)

    def losses(x, g):
        mean, logvar = (t.float() for t in vae.moments(x))
        logvar = logvar.clamp(-30, 20)
        rnd = lambda t: torch.randn(t.shape, generator=g, device=device)
        z = mean + (0.5 * logvar).exp() * rnd(mean)
        z = (
            z
            + rnd(mean)
            * mean.detach().std((0, 2, 3), keepdim=True)
            * torch.rand(x.shape[0], 1, 1, 1, generator=g, device=device)
            * args.noise
        )
        r = vae.decode_z(z).float()
        l1 = (r - x).abs().mean()
        gl = gradient_loss(r, x)
        kl = 0.5 * (mean**2 + logvar.exp() - 1 - logvar).mean()
        return l1 + gl + args.kl * kl, l1, kl

    def trial():
        losses(
            cl(pool.batch(np.random.default_rng(0), args.batch, 64, device)),
            torch.Generator(device=device).manual_seed(0),
        )[0].backward()
        opt.zero_grad(set_to_none=True)

    amp = C.choose_amp(args, device, trial)
    clock = C.Clock(args, ck["used"] if ck else 0.0)
    seen, t0 = 0, time.time()

    def save():
        C.save_ckpt(
            work,
            model=C.clean_keys(vae.state_dict()),
            opt=opt.state_dict(),
            ema=ema.state(),
            step=step,
            used=clock.used(),
        )

    while not clock.done(step):
        p = clock.progress(step)
        rng = np.random.default_rng([args.seed, step])
        size = next((s for s, u in sizes if p < u), sizes[-1][0])
        if size == 256 and step % 2:
            size = 128
        n = max(2, int(args.batch * (2 if size == 64 else 1 if size == 128 else 0.25)))
        for gr in opt.param_groups:
            gr["lr"] = args.lr * C.lr_factor(p, step)
        with C.autocast(device, amp):
            loss, l1, kl = losses(
                cl(pool.batch(rng, n, size, device)),
                torch.Generator(device=device).manual_seed(args.seed * 1_000_003 + step),
            )
        opt.zero_grad(set_to_none=True)
        loss.backward()
        gn = torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        if torch.isfinite(gn):
            opt.step()
            ema.update(vae)
        step += 1
        seen += n
        if clock.log_due() or step <= 3 or clock.done(step):
            print(
                f"vae step {step} {p * 100:5.1f}% size {size} loss {loss.item():.4f} l1 {l1.item():.4f} kl {kl.item():.2f} {seen / (time.time() - t0):.1f} img/s",
                flush=True,
            )
        clock.leave_if_stopped(save)
        if clock.save_due():
            save()
            print(f"  psnr 128: {psnr(vae, val[128]):.2f} dB", flush=True)
    save()
    vae = nets.make_vae(prof["vae"], args.impl).to(device)
    vae.load_state_dict(ema.shadow)
    vae.eval()
    latent_statistics(vae, device, args.seed, prof["glyphs"], 512 if args.profile != "smoke" else 16)
    C.save_ckpt(path, model=vae.state_dict(), step=step, profile=args.profile)
    std = vae.bn.running_var.sqrt()
    print(
        f"vae done: {step} steps, EMA psnr 128: {psnr(vae, val[128]):.2f} dB, 256: {psnr(vae, val[256]):.2f} dB; latent std min {std.min():.3f} max {std.max():.3f}"
    )
    im = [C.to_uint8(val[256])[i] for i in range(4)] + C.to_uint8(
        vae.decode_z(vae.moments(val[256][:4])[0].float()).detach()
    )
    C.write_png(os.path.join(args.work, "vae_preview.png"), C.contact_sheet(im, 4))


if __name__ == "__main__":
    main()
