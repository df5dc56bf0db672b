"""Stage 3: cache of normalised latents and token ids. Writes <work>/cache_<size>[_edit]/*.npy

Each scene is drawn and encoded once and stored with four wordings. Resumable (already written rows are kept) and
time-boxed; the training uses however many rows exist.
"""

import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
import multiprocessing
import numpy as np
import torch
import common as C
import nets
import scenes as S
from tokenizer import Tokenizer

WORDINGS = 4
_tok = {}


def chunk(job):
    """(first seed, count, size, glyphs, edit, tokenizer folder, max_len) -> pictures, ids, lengths. Runs in workers."""
    first, n, size, glyphs, edit, folder, max_len = job
    tok = _tok.setdefault(folder, None) or Tokenizer(folder)
    _tok[folder] = tok
    pics, ids, lens = [], [], []
    for s in range(first, first + n):
        if edit:
            p0, b0, p1, b1, text = S.edit_pair(s, glyphs)
            pics.append(np.stack([S.render(p1, b1, size), S.render(p0, b0, size)]))
            texts = [text]
        else:
            spec = S.sample_spec(S.R(s), glyphs)
            pics.append(S.render(S.layout(spec, s), spec.bg, size)[None])
            texts = [S.caption(spec, S.R(s * 7919 + k)) for k in range(WORDINGS)]
        t = [tok.prompt_ids(x, max_len) for x in texts]
        ids.append([i for i, _ in t])
        lens.append([k for _, k in t])
    return np.stack(pics), np.array(ids, np.uint16), np.array(lens, np.uint8)


def load_vae(work, prof, device, impl="auto"):
    vae = nets.make_vae(prof["vae"], impl).to(device)
    vae.load_state_dict(C.load_ckpt(os.path.join(work, "vae.pt"), device)["model"])
    return vae.eval().requires_grad_(False)


def cache_dir(work, size, edit):
    return os.path.join(work, f"cache_{size}" + ("_edit" if edit else ""))


class Cache:
    def __init__(self, folder):
        m = json.load(open(os.path.join(folder, "meta.json")))
        self.n = m["rows"]
        self.size = m["size"]
        self.z, self.ids, self.lens = (
            np.load(os.path.join(folder, f + ".npy"), mmap_mode="r") for f in ("latents", "ids", "lens")
        )


@torch.no_grad()
def main():
    a = C.parser(__doc__, 6, batch=32)
    a.add_argument("--size", type=int, default=128)
    a.add_argument("--rows", type=int, default=30000)
    a.add_argument("--edit", action="store_true", help="before/after pairs with instructions")
    a.add_argument("--workers", type=int, default=0)
    args = a.parse_args()
    device, prof = C.setup(args)
    vae = load_vae(args.work, prof, device).to(memory_format=torch.channels_last)
    d = cache_dir(args.work, args.size, args.edit)
    os.makedirs(d, exist_ok=True)
    k, w, g = (2, 1)[0 if args.edit else 1], (1 if args.edit else WORDINGS), args.size // 16
    meta = os.path.join(d, "meta.json")
    ch = 4 * prof["vae"]["latent_channels"]
    done = 0
    if os.path.exists(meta) and not args.fresh:
        done = json.load(open(meta))["rows"]
    mode = "r+" if done else "w+"
    op = lambda f, dt, sh: (
        np.lib.format.open_memmap(os.path.join(d, f + ".npy"), mode=mode, dtype=dt, shape=sh)
        if mode == "w+"
        else np.load(os.path.join(d, f + ".npy"), mmap_mode="r+")
    )
    Z, I, N = (
        op("latents", np.float16, (args.rows, k, ch, g, g)),
        op("ids", np.uint16, (args.rows, w, prof["max_len"])),
        op("lens", np.uint8, (args.rows, w)),
    )
    rows = min(args.rows, len(Z))
    base = args.seed * 1_000_000_007 % (1 << 40) + (10**8 if args.edit else 0)
    jobs = [
        (
            base + i,
            min(args.batch, rows - i),
            args.size,
            prof["glyphs"],
            args.edit,
            os.path.join(args.work, "tokenizer"),
            prof["max_len"],
        )
        for i in range(done, rows, args.batch)
    ]

    def flush():
        Z.flush()
        I.flush()
        N.flush()
        json.dump(dict(rows=done, size=args.size), open(meta + ".tmp", "w"))
        os.replace(meta + ".tmp", meta)

    x0 = C.from_uint8(list(chunk(jobs[0])[0][:, 0]), device) if jobs else None
    amp = C.choose_amp(args, device, lambda: vae.moments(x0)) if jobs else False
    clock = C.Clock(args)
    t0 = time.time()
    start = done
    ex = ProcessPoolExecutor(args.workers, mp_context=multiprocessing.get_context("spawn")) if args.workers else None

    def results():
        if not ex:
            yield from map(chunk, jobs)
            return
        queue, ahead = [], args.workers * 3  # bounded look-ahead keeps memory flat
        for j in jobs:
            queue.append(ex.submit(chunk, j))
            if len(queue) > ahead:
                yield queue.pop(0).result()
        for q in queue:
            yield q.result()

    for pics, ids, lens in results():
        n = len(pics)
        x = C.from_uint8(list(pics.reshape(n * k, args.size, args.size, 3)), device).contiguous(
            memory_format=torch.channels_last
        )
        with C.autocast(device, amp):
            z = nets.encode_normalised(vae, x)
        Z[done : done + n] = z.float().clamp(-30, 30).reshape(n, k, ch, g, g).cpu().numpy()
        I[done : done + n] = ids
        N[done : done + n] = lens
        done += n
        if clock.log_due():
            print(
                f"latents {args.size}{' edit' if args.edit else ''}: {done}/{rows} rows, {(done - start) / (time.time() - t0):.0f} rows/s",
                flush=True,
            )
        clock.leave_if_stopped(flush)
        if clock.save_due():
            flush()
        if not args.steps and clock.used() > args.minutes * 60:
            break
    flush()
    print(f"latents {args.size}{' edit' if args.edit else ''} done: {done} rows")
    if ex:
        ex.shutdown(wait=True, cancel_futures=True)


if __name__ == "__main__":
    main()
