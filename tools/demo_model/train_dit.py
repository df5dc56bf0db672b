"""Stages 4 and 5: flow matching of the DiT together with the text encoder, then guidance + few-step distillation.
Writes <work>/dit.pt (EMA weights of DiT and text encoder); with --distill <work>/distilled.pt

Flow matching: x = (1-s) x0 + s e, target e - x0, s ~ sigmoid(N(m, 1.4)) with 3 % exactly 1 and 12 % uniform. m
follows the FLUX.2 schedule, which never goes below s = 0.4 with few steps. 10 % of captions are emptied (guidance).
Phases "size:text_len:until" grow the picture with progress; the last phase mixes in smaller ones.
Distillation: on the grid of N steps (N from --grids) the student learns the straight jump to where the guided
teacher arrives with --substeps Euler steps. One pass per step then gives what guidance gave with two.
"""

import os
import time
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import torch
import common as C
import nets
import sampler
from make_latents import Cache, cache_dir, load_vae
from tokenizer import Tokenizer

PREVIEW = [
    "a red circle",
    "a big blue star on a yellow background",
    "a green triangle above a purple square",
    "two orange hearts",
    "a small white moon on black",
    "a red house to the left of a green tree",
    "a striped pink fish on a cyan background",
    "a yellow flower inside a blue circle",
]


class Both(torch.nn.Module):
    """DiT and text encoder as one module: ids -> velocity."""

    def __init__(self, dit, te, taps):
        super().__init__()
        self.dit, self.te, self.taps = dit, te, taps

    def context(self, ids, lens):
        return self.te(ids, torch.arange(ids.shape[1], device=ids.device)[None] < lens[:, None], taps=self.taps)

    def velocity(self, x, sigma, ctx, h, w, ref=None):
        img = nets.image_ids(h, w, 0, x.device)
        n = x.shape[1]
        inp = x
        if ref is not None:
            img = torch.cat([img, nets.image_ids(h, w, 10, x.device)], 0)
            inp = torch.cat([x, ref], 1)
        return self.dit(
            hidden_states=inp,
            encoder_hidden_states=ctx,
            timestep=sigma,
            img_ids=img,
            txt_ids=nets.text_ids(ctx.shape[1], x.device),
            guidance=None,
            return_dict=False,
        )[0][:, :n]

    def forward(self, x, sigma, ids, lens, h, w, ref=None):
        return self.velocity(x, sigma, self.context(ids, lens), h, w, ref)


class Data:
    def __init__(self, work, sizes, edit, empty, seed, device, cfg_drop=0.1):
        self.c = {s: Cache(cache_dir(work, s, False)) for s in sizes}
        self.e = {}
        self.empty, self.seed, self.dev, self.drop = empty, seed, device, cfg_drop
        if edit:
            self.e = {
                s: Cache(cache_dir(work, s, True))
                for s in sizes
                if os.path.exists(os.path.join(cache_dir(work, s, True), "meta.json"))
            }
        print("cached rows:", {s: c.n for s, c in self.c.items()}, "edits:", {s: c.n for s, c in self.e.items()})
        self.edit = edit if self.e else 0.0

    def batch(self, step, n, size, text_len, held=False):
        rng = np.random.default_rng([self.seed, step])
        edit = not held and size in self.e and rng.random() < self.edit
        c = (self.e if edit else self.c)[size]
        keep = c.n - min(128, c.n // 10)  # the last rows are held out for validation
        i = np.arange(keep, c.n)[:n] if held else np.sort(rng.integers(keep, size=n))
        n = len(i)
        k = rng.integers(c.ids.shape[1], size=n)
        z = torch.from_numpy(np.asarray(c.z[i], np.float32))
        ids = np.asarray(c.ids[i, k], np.int64)
        lens = np.asarray(c.lens[i, k], np.int64)
        drop = rng.random(n) < self.drop
        ids[drop], lens[drop] = self.empty[0], self.empty[1]
        mv = lambda t: t.to(self.dev, non_blocking=True)
        L = np.minimum(lens, text_len)
        return (
            mv(nets.pack(z[:, 0])),
            (mv(nets.pack(z[:, 1])) if edit else None),
            mv(torch.from_numpy(ids[:, :text_len].copy())),
            mv(torch.from_numpy(L)),
            rng,
        )


def draw_sigma(rng, n, mean):
    s = 1 / (1 + np.exp(-(mean + 1.4 * rng.standard_normal(n))))
    k = rng.random(n)
    s = np.where(k < 0.12, rng.random(n), s)
    return np.where(k > 0.97, 1.0, s).astype(np.float32)


def validation(data, sizes, text_len, mean):
    out = []
    for s in sizes:
        x0, _, ids, lens, rng = data.batch(10**8, 64, s, text_len, held=True)
        e = C.randn(x0.shape, 7, x0.device)
        out.append((s, x0, e, torch.from_numpy(draw_sigma(rng, len(x0), mean)).to(x0.device), ids, lens))
    return out


def main():
    a = C.parser(__doc__, 60, batch=32, lr=1.5e-3)
    a.add_argument("--impl", default="auto", choices=("auto", "own", "diffusers"))
    a.add_argument("--opt", default="muon", choices=("muon", "adamw"))
    a.add_argument("--phases", default="128:44:0.62,128:64:0.72,256:64:1", help="size:text_len:until-progress list")
    a.add_argument("--ema", type=float, default=0.998)
    a.add_argument("--te-scale", type=float, default=0.3, help="learning rate of the text encoder relative to --lr")
    a.add_argument(
        "--edit", type=float, default=0.0, help="share of batches with a reference picture (needs the edit cache)"
    )
    a.add_argument("--sigma-mean", type=float, default=1.4)
    a.add_argument("--preview-minutes", type=float, default=10)
    a.add_argument("--distill", action="store_true")
    a.add_argument("--grids", default="4,8")
    a.add_argument("--substeps", type=int, default=2)
    a.add_argument(
        "--guidance", type=float, default=2.0, help="teacher guidance in --distill, preview guidance otherwise"
    )
    args = a.parse_args()
    device, prof = C.setup(args)
    w = lambda f: os.path.join(args.work, f)
    name = "distilled" if args.distill else "dit"
    tok = Tokenizer(w("tokenizer"))
    empty = tok.prompt_ids("", prof["max_len"])
    empty = (np.array(empty[0]), empty[1])
    phases = [(int(s), int(t), float(u)) for s, t, u in (x.split(":") for x in args.phases.split(","))]
    sizes = sorted({p[0] for p in phases})
    data = Data(
        args.work,
        sizes,
        args.edit,
        empty,
        args.seed + (77 if args.distill else 0),
        device,
        0.0 if args.distill else 0.1,
    )
    net = Both(nets.make_dit(prof["dit"], args.impl), nets.Qwen3(**prof["te"]), prof["out_layers"]).to(device)
    width = prof["dit"]["num_attention_heads"] * prof["dit"]["attention_head_dim"]
    teacher = None
    if args.distill:
        net.load_state_dict(C.load_ckpt(w("dit.pt"), device)["model"])
        teacher = Both(nets.make_dit(prof["dit"], args.impl), nets.Qwen3(**prof["te"]), prof["out_layers"]).to(device)
        teacher.load_state_dict(net.state_dict())
        teacher.eval().requires_grad_(False)
        net.te.requires_grad_(False)
        nid, nlen = torch.from_numpy(empty[0])[None].to(device), torch.tensor([empty[1]], device=device)
    elif os.path.exists(w("text.pt")):
        net.te.load_state_dict(C.load_ckpt(w("text.pt"), device)["model"])
    groups = C.make_optimizer(net.dit.named_parameters(), args.lr, args.opt, width) + (
        [] if args.distill else C.make_optimizer(net.te.named_parameters(), args.lr, args.opt, scale=args.te_scale)
    )
    opt = C.Muon(groups, args.lr)
    ema = C.EMA(net, args.ema)
    step = 0
    ck = None if args.fresh else C.load_ckpt(w(name + "_train.pt"), device)
    if ck:
        net.load_state_dict(ck["model"])
        opt.load_state_dict(ck["opt"])
        ema.load(ck["ema"])
        step = ck["step"]
        print("resumed at step", step)
    print(
        f"parameters: DiT {sum(p.numel() for p in net.dit.parameters()):,}, text encoder {sum(p.numel() for p in net.te.parameters()):,}"
    )
    if args.compile:
        net.dit = torch.compile(net.dit, dynamic=False)
    params = [p for g in opt.param_groups for p in g["params"]]
    grids = [int(x) for x in args.grids.split(",")]
    vae = load_vae(args.work, prof, device)
    phase = list(phases[0][:2])
    last_preview = time.time()

    count = lambda size: args.batch if size <= 128 else max(1, args.batch // 2)
    pool, ahead = (ThreadPoolExecutor(1) if device.type == "cuda" else None), {}

    def size_at(step):
        """Every fourth step of a bigger phase keeps the smallest size alive."""
        return sizes[0] if phase[0] != sizes[0] and step % 4 == 0 else phase[0]

    def fetch(step, size, text_len):
        """This step's batch; on a GPU the next one is prepared meanwhile (same result, only earlier)."""
        f = ahead.pop((step, size, text_len), None)
        b = f.result() if f else data.batch(step, count(size), size, text_len)
        ahead.clear()
        if pool:
            k = (step + 1, size_at(step + 1), phase[1])
            ahead[k] = pool.submit(data.batch, k[0], count(k[1]), k[1], k[2])
        return b

    def loss_of(step, size, text_len):
        x0, ref, ids, lens, rng = fetch(step, size, text_len)
        e = C.randn(x0.shape, args.seed * 1_000_003 + step, device)
        k = size // 16
        B = len(x0)
        if not args.distill:
            s = torch.from_numpy(draw_sigma(rng, B, args.sigma_mean)).to(device)
            c = s[:, None, None]
            return (net((1 - c) * x0 + c * e, s, ids, lens, k, k, ref).float() - (e - x0)).pow(2).mean()
        n = grids[rng.integers(len(grids))]
        sg = np.array(sampler.sigmas(k * k, n))
        i = rng.integers(n, size=B)
        a0, b0 = (torch.tensor(sg[j], dtype=torch.float32, device=device) for j in (i, i + 1))
        c = a0[:, None, None]
        x = (1 - c) * x0 + c * e
        with torch.no_grad():
            ctx = teacher.context(ids, lens)
            null = teacher.context(nid[:, :text_len], nlen).expand(B, -1, -1)
            y = x
            for m in range(args.substeps):
                t0, t1 = (a0 + (b0 - a0) * f / args.substeps for f in (m, m + 1))
                u, v = teacher.velocity(y, t0, null, k, k, ref), teacher.velocity(y, t0, ctx, k, k, ref)
                y = y + (t1 - t0)[:, None, None] * (u + args.guidance * (v - u)).float()
            target = (y - x) / (b0 - a0)[:, None, None]
        return (net.velocity(x, a0, ctx, k, k, ref).float() - target).pow(2).mean()

    def trial():
        loss_of(0, phases[0][0], phases[0][1]).backward()
        opt.zero_grad(set_to_none=True)

    amp = C.choose_amp(args, device, trial)
    clock = C.Clock(args, ck["used"] if ck else 0.0)
    val = validation(data, sizes, prof["max_len"], args.sigma_mean)
    shadow = Both(nets.make_dit(prof["dit"], args.impl), nets.Qwen3(**prof["te"]), prof["out_layers"]).to(device).eval()

    @torch.no_grad()
    def check():
        shadow.load_state_dict(ema.shadow)
        out = []
        for s, x0, e, sg, ids, lens in val:
            c = sg[:, None, None]
            out.append(
                f"{s}: {(shadow((1 - c) * x0 + c * e, sg, ids, lens, s // 16, s // 16).float() - (e - x0)).pow(2).mean().item():.4f}"
            )
        return "validation (EMA) " + ", ".join(out)

    def preview():
        shadow.load_state_dict(ema.shadow)
        size = phases[-1][0] if clock.progress(step) > phases[-2 if len(phases) > 1 else -1][2] else phases[0][0]
        im = sampler.generate(
            shadow.dit,
            shadow.te,
            vae,
            tok,
            PREVIEW,
            list(range(8)),
            size,
            8,
            1.0 if args.distill else args.guidance,
            prof["out_layers"],
            prof["max_len"],
            device,
        )
        C.write_png(w(f"{name}_preview.png"), C.contact_sheet(im, 4))

    def save():
        C.save_ckpt(
            w(name + "_train.pt"),
            model=C.clean_keys(net.state_dict()),
            opt=opt.state_dict(),
            ema=ema.state(),
            step=step,
            used=clock.used(),
        )

    t0, seen, acc = time.time(), 0, []
    while not clock.done(step):
        p = clock.progress(step)
        phase[:] = next((q for q in phases if p < q[2]), phases[-1])[:2]
        size, tl = size_at(step), phase[1]
        for g in opt.param_groups:
            g["lr"] = args.lr * C.lr_factor(p, step, 20 if args.distill else 200)
        with C.autocast(device, amp):
            loss = loss_of(step, size, tl)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        gn = torch.nn.utils.clip_grad_norm_(params, 1.0)
        if torch.isfinite(gn):
            opt.step()
            ema.update(net)
        else:
            print("step skipped: non-finite gradient")
        step += 1
        seen += count(size)
        acc.append(loss.detach())
        if clock.log_due() or step <= 3 or clock.done(step):
            print(
                f"{name} step {step} {p * 100:5.1f}% size {size} text {tl} loss {torch.stack(acc).mean().item():.4f} grad {float(gn):.2f} {seen / (time.time() - t0):.1f} img/s",
                flush=True,
            )
            acc = []
        clock.leave_if_stopped(save)
        if clock.save_due():
            save()
            print("  " + check(), flush=True)
        if time.time() - last_preview > args.preview_minutes * 60:
            preview()
            last_preview = time.time()
    save()
    C.save_ckpt(
        w(name + ".pt"),
        model={k: v.clone() for k, v in ema.shadow.items()},
        step=step,
        profile=args.profile,
        edit=bool(data.edit),
        guidance=args.guidance,
    )
    print(f"{name} done: {step} steps, {check()}")
    preview()


if __name__ == "__main__":
    main()
