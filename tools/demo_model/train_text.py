"""Stage 2: pre-training of the small Qwen3 text encoder. Writes <work>/text.pt

Two losses: next-token prediction on captions (through the last layer, so the exported Qwen3ForCausalLM is a real
language model of the grammar), and reading the scene back from the taps that the DiT will see: every token after the
caption (end of turn, assistant header, think block) predicts slots such as "shape of object 2" or "background".
After this stage the features are linearly readable, which saves the joint stage most of its work.
"""

import os
import time
import torch
import torch.nn as nn
import torch.nn.functional as F
import common as C
import nets
import scenes as S
from tokenizer import Tokenizer

SHAPE_IDS = {s: i for i, s in enumerate(S.SHAPES + ["glyph:" + g for g in S.GLYPHS])}
COLOR_IDS = {c: i for i, c in enumerate(S.COLORS)}
RELS = ["single", "left", "right", "above", "below", "inside", "and", "row", "tri", "count2", "count3"]
POS = [""] + list(S.POSITIONS)
# slot -> number of classes; slot k is read from the k-th token of the tail (12 - 3 = 9 tokens)
SLOTS = [("rel", len(RELS)), ("pos", len(POS)), ("bg0", len(COLOR_IDS) + 1), ("bg1", len(COLOR_IDS) + 1)] + [
    (f"{k}{i}", n)
    for i in range(3)
    for k, n in (("shape", len(SHAPE_IDS)), ("color", len(COLOR_IDS)), ("size", 3), ("pattern", 3))
]


def slot_targets(spec):
    rel = spec.rel + (str(spec.n) if spec.rel == "count" else "")
    t = [RELS.index(rel), POS.index("" if spec.pos == "center" else spec.pos)] + [
        COLOR_IDS[spec.bg[i]] if len(spec.bg) > i else len(COLOR_IDS) for i in range(2)
    ]
    for i in range(3):
        if i < len(spec.objs):
            o = spec.objs[i]
            t += [SHAPE_IDS[o.shape], COLOR_IDS[o.color], S.SIZES.index(o.size), S.PATTERNS.index(o.pattern)]
        else:
            t += [-100] * 4
    return t


def batch(tok, seed, step, n, max_len, glyphs):
    ids, lens, tg = [], [], []
    for i in range(n):
        s = (seed * 1_000_003 + step) * n + i
        spec = S.sample_spec(S.R(s), glyphs)
        a, k = tok.prompt_ids(S.caption(spec, S.R(s ^ 0x5BD1E995)), max_len)
        ids.append(a)
        lens.append(k)
        tg.append(slot_targets(spec))
    return torch.tensor(ids), torch.tensor(lens), torch.tensor(tg)


class Heads(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(dim, n) for _, n in SLOTS)


def losses(te, heads, taps, ids, lens, tg, tail):
    valid = torch.arange(ids.shape[1], device=ids.device)[None] < lens[:, None]
    logits, hs = te(ids, valid, logits=True)
    tgt = ids[:, 1:].masked_fill(~valid[:, 1:], -100)
    lm = F.cross_entropy(logits[:, :-1].float().reshape(-1, logits.shape[-1]), tgt.reshape(-1), ignore_index=-100)
    feat = torch.cat([hs[k] for k in taps], -1)
    rows = torch.arange(len(lens), device=ids.device)
    loss, hit, cnt = 0.0, 0, 0
    for j, h in enumerate(heads.heads):
        out = h(feat[rows, lens - tail + j % tail]).float()
        y = tg[:, j]
        if (y >= 0).any():
            loss = loss + F.cross_entropy(out, y, ignore_index=-100)
        hit += ((out.argmax(-1) == y) & (y >= 0)).sum()
        cnt += (y >= 0).sum()
    return lm, loss / len(SLOTS), hit / cnt


def main():
    a = C.parser(__doc__, 7, batch=48, lr=2e-3)
    a.add_argument("--text-len", type=int, default=44, help="pad to this length here (no caption is longer)")
    a.add_argument("--opt", default="muon", choices=("muon", "adamw"))
    args = a.parse_args()
    device, prof = C.setup(args)
    out = os.path.join(args.work, "text.pt")
    work = os.path.join(args.work, "text_train.pt")
    tok = Tokenizer(os.path.join(args.work, "tokenizer"))
    te = nets.Qwen3(**prof["te"]).to(device)
    heads = Heads(prof["te"]["hidden_size"] * len(prof["out_layers"])).to(device)
    tail = len(tok._tail)
    both = nn.ModuleDict(dict(te=te, hd=heads))
    opt = C.Muon(C.make_optimizer(both.named_parameters(), args.lr, args.opt), args.lr)
    step = 0
    glyphs = prof["glyphs"] or 0.05
    ck = None if args.fresh else C.load_ckpt(work, device)
    if ck:
        both.load_state_dict(ck["model"])
        opt.load_state_dict(ck["opt"])
        step = ck["step"]
        print("resumed at step", step)
    print(f"parameters {sum(p.numel() for p in te.parameters()):,}")
    fwd = te
    if args.compile:
        fwd = torch.compile(te)
    move = lambda b: tuple(t.to(device) for t in b)

    def trial():
        lm, sl, _ = losses(
            fwd, heads, prof["out_layers"], *move(batch(tok, 0, 0, args.batch, args.text_len, glyphs)), tail
        )
        (lm * 0.3 + sl).backward()
        opt.zero_grad(set_to_none=True)

    amp = C.choose_amp(args, device, trial)
    clock = C.Clock(args, ck["used"] if ck else 0.0)
    t0, n0 = time.time(), step

    def save():
        C.save_ckpt(work, model=both.state_dict(), opt=opt.state_dict(), step=step, used=clock.used())

    while not clock.done(step):
        p = clock.progress(step)
        for g in opt.param_groups:
            g["lr"] = args.lr * C.lr_factor(p, step)
        with C.autocast(device, amp):
            lm, sl, acc = losses(
                fwd,
                heads,
                prof["out_layers"],
                *move(batch(tok, args.seed, step, args.batch, args.text_len, glyphs)),
                tail,
            )
        opt.zero_grad(set_to_none=True)
        (lm * 0.3 + sl).backward()
        gn = torch.nn.utils.clip_grad_norm_(both.parameters(), 1.0)
        if torch.isfinite(gn):
            opt.step()
        step += 1
        if clock.log_due() or step <= 3 or clock.done(step):
            print(
                f"text step {step} {p * 100:5.1f}% lm {lm.item():.3f} slots {sl.item():.3f} slot accuracy {acc.item() * 100:.1f}% {(step - n0) * args.batch / (time.time() - t0):.0f} captions/s",
                flush=True,
            )
        clock.leave_if_stopped(save)
        if clock.save_due():
            save()
    save()
    te.eval()
    with torch.no_grad():
        lm, sl, acc = losses(
            te, heads, prof["out_layers"], *move(batch(tok, 999_983, 0, 256, prof["max_len"], glyphs)), tail
        )
    C.save_ckpt(out, model=te.state_dict(), step=step, profile=args.profile)
    print(f"text done: {step} steps, unseen captions: lm {lm.item():.3f}, slot accuracy {acc.item() * 100:.1f}%")


if __name__ == "__main__":
    main()
