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
