"""Automatic score, without any outside model: does the picture show what the caption asks for?

    python eval.py --write-prompts prompts.jsonl --n 200     fixed prompts and seeds, for any engine
    python eval.py --prompts prompts.jsonl --images folder   scores 0000.png, 0001.png, ... (any engine's output)
    python eval.py --model run/export --n 96                 generates with this package and scores
    python eval.py --self-test                               scores true drawings (about 100 %) and shuffled ones (about 0 %)

The caption is parsed back to the scene; every object has an expected place. Per object: colour (share of its
silhouette with the nearest palette colour), place (area and centre of mass of the foreground there), shape (best
overlap among all shape templates over small shifts and scales). Background: the rest of the picture.
satisfied = colours + places + background right; strict = shapes too.
"""

import argparse
import json
import os
import numpy as np
import drawing as D
import scenes as S

G = 32  # templates live on a G x G crop of +-1.35 radii
_templates = {}


def templates(shapes):
    rows, names = [], []
    for s in shapes:
        if s not in _templates:
            g = ((np.arange(G) + 0.5) / G * 2 - 1) * 1.35
            out = []
            for k in (0.88, 1.0, 1.12):
                for dx in (-0.2, -0.1, 0, 0.1, 0.2):
                    for dy in (-0.2, -0.1, 0, 0.1, 0.2):
                        x, y = np.meshgrid((g - dx) / k, (g - dy) / k)
                        out.append(np.minimum.reduce([f(x, y) for f, _ in D.parts(s)]).ravel() < 0)
            _templates[s] = np.array(out, np.float32)
        rows.append(_templates[s])
        names += [s] * len(_templates[s])
    return np.concatenate(rows), names


def object_colors(o):
    c = D.rgb(o.color)
    out = [c]
    kind = o.shape
    if o.pattern != "solid":
        out.append(D.second_color(o.color))
    if kind == "house":
        out.append(c * 0.55 if c.mean() > 60 else c * 0.4 + 90)
    if kind == "tree":
        out.append(D.rgb("brown" if o.color != "brown" else "black"))
    if kind == "flower":
        out.append(D.rgb("yellow" if o.color != "yellow" else "orange"))
    if kind == "fish":
        out.append(D.rgb("white" if c.mean() < 165 else "black"))
    return out


def crop(mask, p, size):
    g = ((np.arange(G) + 0.5) / G * 2 - 1) * 1.35 * p.r
    xi = np.floor((p.x + g) * size).astype(int)
    yi = np.floor((p.y + g) * size).astype(int)
    ok = ((yi >= 0) & (yi < size))[:, None] & ((xi >= 0) & (xi < size))[None]
    return mask[np.clip(yi, 0, size - 1)[:, None], np.clip(xi, 0, size - 1)[None]] & ok


def score(img, spec):
    """uint8 picture, Spec -> dict of booleans"""
    size = img.shape[0]
    im = img.astype(np.float32)
    exp = S.expected(spec)
    bgim = D.background(spec.bg, size)
    cand = (
        [("bg", None)]
        + [(i, c) for i, p in enumerate(exp) for c in object_colors(p.obj)]
        + [
            ("other", D.rgb(c))
            for c in S.COLORS
            if c not in {p.obj.color for p in exp} | set(spec.bg or (S.DEFAULT_BG,))
        ]
    )
    dist = np.stack([np.square(im - (bgim if c is None else c)).sum(-1) for _, c in cand])
    near = dist.argmin(0)
    owner = np.array([-1 if n == "bg" else -2 if n == "other" else n for n, _ in cand])[near]
    # equal objects (counts) share colours; compare colours, not owners
    same = lambda i: np.isin(
        near, [k for k, (n, c) in enumerate(cand) if c is not None and np.square(c - D.rgb(exp[i].obj.color)).sum() < 1]
    )
    fg = owner != -1
    inside = spec.rel == "inside"
    free = np.ones((size, size), bool)
    yy, xx = np.mgrid[0:size, 0:size]
    yy, xx = (yy + 0.5) / size, (xx + 0.5) / size
    res = dict(color=True, place=True, shape=True)
    for i, p in enumerate(exp):
        f, role = D.parts(p.obj.shape)[0]
        X, Y = (xx - p.x) / (p.r * 0.85), (yy - p.y) / (p.r * 0.85)
        d = np.hypot(xx - p.x, yy - p.y)
        free &= d > 1.3 * p.r + 0.03
        main_sdf = next(f for f, r in D.parts(p.obj.shape) if r == "main")
        sil = main_sdf(X, Y) < 0
        for f, r in D.parts(p.obj.shape):
            if r != "main" and not (p.obj.shape == "tree" and r == "trunk"):
                sil &= f(X * 0.85, Y * 0.85) > 0.05
        if inside and i == 0:
            sil &= np.hypot(xx - 0.5, yy - 0.5) > exp[1].r * 1.25
        share = same(i)[sil].mean() if sil.any() else 0.0
        res["color"] &= bool(share > (0.5 if p.obj.pattern == "solid" else 0.25))
        shown = fg if not (inside and i == 1) else fg & ~np.isin(near, [k for k, (n, c) in enumerate(cand) if n == 0])
        m = crop(shown, p, size)
        T, names = templates(S.SHAPES if not p.obj.shape.startswith("glyph:") else ["glyph:" + g for g in S.GLYPHS])
        v = m.ravel().astype(np.float32)
        inter = T @ v
        iou = inter / (T.sum(1) + v.sum() - inter + 1e-6)
        best = int(iou.argmax())
        mine = max(x for x, n in zip(iou, names) if n == p.obj.shape)
        res["shape"] &= bool(names[best] == p.obj.shape and mine > 0.5) or bool(mine > 0.9 * iou[best] and mine > 0.8)
        area = (
            m.sum()
            / (
                np.minimum.reduce(
                    [
                        f(*np.meshgrid(*(((np.arange(G) + 0.5) / G * 2 - 1) * 1.35,) * 2))
                        for f, _ in D.parts(p.obj.shape)
                    ]
                )
                < 0
            ).sum()
        )
        if m.any():
            cy, cx = np.argwhere(m).mean(0)
            t = templates([p.obj.shape])[0][37].reshape(G, G)
            ty, tx = np.argwhere(t > 0).mean(0)
            off = np.hypot(cy - ty, cx - tx) / G * 2 * 1.35 * p.r
        else:
            off = 1.0
        res["place"] &= bool(0.55 < area < 1.8 and off < 0.05 + 0.15 * p.r)
    res["background"] = bool((owner[free] == -1).mean() > 0.9) if free.any() else True
    res["satisfied"] = res["color"] and res["place"] and res["background"]
    res["strict"] = res["satisfied"] and res["shape"]
    return res


EVAL_SEEDS = 1 << 50  # far above every seed any training stage uses


def make_prompts(n, prompt_set=0):
    seed, out, i = EVAL_SEEDS + prompt_set * 10**9, [], 0
    while len(out) < n:
        spec = S.sample_spec(S.R(seed + i))
        text = S.caption(spec, S.R((seed + i) ^ 0x5BD1E995))
        i += 1
        out.append(dict(index=len(out), prompt=text, seed=1000 + prompt_set * 10**6 + len(out)))
    return out


def report(results, specs, title, path=None):
    keys = ("color", "place", "shape", "background", "satisfied", "strict")
    pct = lambda rs, k: 100 * sum(r[k] for r in rs) / max(1, len(rs))
    out = {k: round(pct(results, k), 2) for k in keys}
    print(f"{title}: {len(results)} pictures")
    print("            " + "".join(f"{k:>12s}" for k in keys))
    print("  all       " + "".join(f"{out[k]:11.1f}%" for k in keys))
    out["by_kind"] = {}
    for name, sel in (
        ("1 object", ("single",)),
        ("2 objects", ("left", "right", "above", "below", "and")),
        ("inside", ("inside",)),
        ("counts", ("count",)),
        ("3 objects", ("row", "tri")),
    ):
        rs = [r for r, s in zip(results, specs) if s.rel in sel]
        if rs:
            print(f"  {name:10s}" + "".join(f"{pct(rs, k):11.1f}%" for k in keys) + f"  ({len(rs)})")
            out["by_kind"][name] = {k: round(pct(rs, k), 2) for k in keys}
    if path:
        with open(path, "w") as f:
            json.dump(dict(n=len(results), **out), f, indent=1)
    return out


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--write-prompts")
    a.add_argument("--prompts")
    a.add_argument("--images")
    a.add_argument("--model")
    a.add_argument("--self-test", action="store_true")
    a.add_argument("--n", type=int, default=96)
    a.add_argument(
        "--prompt-set", type=int, default=0, help="another fixed set of prompts (0 chooses between variants, 1 reports)"
    )
    a.add_argument("--json")
    a.add_argument("--steps", type=int, default=0)
    a.add_argument("--guidance", type=float, default=0.0)
    a.add_argument("--size", type=int, default=0)
    a.add_argument("--device", default="auto")
    a.add_argument("--threads", type=int, default=0)
    a.add_argument("--sheet")
    args = a.parse_args()
    prompts = [json.loads(l) for l in open(args.prompts)] if args.prompts else make_prompts(args.n, args.prompt_set)
    if args.write_prompts:
        with open(args.write_prompts, "w") as f:
            f.writelines(json.dumps(p) + "\n" for p in prompts)
        print(f"{len(prompts)} prompts -> {args.write_prompts}")
        return
    specs = [S.parse(p["prompt"]) for p in prompts]
    bad = [p["prompt"] for p, s in zip(prompts, specs) if s is None]
    if bad:
        raise SystemExit(f"outside the caption grammar: {bad[0]!r}")
    if args.self_test:
        size = args.size or 128
        ims = [S.render(S.layout(s, p["seed"]), s.bg, size) for s, p in zip(specs, prompts)]
        report([score(i, s) for i, s in zip(ims, specs)], specs, "true drawings")
        report([score(i, s) for i, s in zip(ims[1:] + ims[:1], specs)], specs, "shuffled drawings")
        return
    import common as C

    if args.images:
        ims = []
        for p in prompts:
            f = os.path.join(args.images, f"{p['index']:04d}.png")
            im = C.read_image(f)
            if im.shape[0] != im.shape[1]:
                raise SystemExit(f"{f}: not square")
            ims.append(im)
    elif args.model:
        import time
        import torch
        import export
        import sampler

        if args.threads:
            torch.set_num_threads(args.threads)
        device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device
        )
        m = export.load_model(args.model, device)
        t = time.time()
        ims = sampler.generate(
            m["dit"],
            m["te"],
            m["vae"],
            m["tok"],
            [p["prompt"] for p in prompts],
            [p["seed"] for p in prompts],
            args.size or m["size"],
            args.steps or m["steps"],
            args.guidance or m["guidance"],
            m["taps"],
            m["max_len"],
            device,
        )
        print(f"generated in {time.time() - t:.1f} s")
    else:
        raise SystemExit("give --model, --images, --self-test or --write-prompts")
    report([score(i, s) for i, s in zip(ims, specs)], specs, args.model or args.images, args.json)
    if args.sheet:
        C.write_png(args.sheet, C.contact_sheet(ims[:64], 8))


if __name__ == "__main__":
    main()
