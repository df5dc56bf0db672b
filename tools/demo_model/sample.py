"""Draws prompts with an exported model.

python sample.py --model run/export                          contact sheet of fixed prompts -> sheet.png
python sample.py --model run/export --prompt "a red star" --out star.png --seed 3
python sample.py --model run/export --prompt "make the star blue" --image star.png --out blue.png
python sample.py --model run/export --prompts p.jsonl --out folder      (lines of eval.py --write-prompts)
"""

import argparse
import json
import os
import time
import torch
import common as C
import export
import sampler

PROMPTS = [
    "a red circle",
    "a big blue star on a yellow background",
    "a small green triangle above a big purple square",
    "two orange hearts on black",
    "three small cyan diamonds",
    "a white moon on a black background",
    "a red house to the left of a green tree",
    "a striped pink fish on a blue background",
    "a yellow flower inside a purple circle",
    "a gray arrow below a brown cross on a cyan background",
    "a dotted red hexagon",
    "a ring, a square and a star",
    "red heart, white background",
    "a black fish in the bottom right corner on pink",
    "a green house on a white to blue gradient",
    "a yellow star above a blue house and a green tree",
]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--model", required=True)
    a.add_argument("--prompt", action="append")
    a.add_argument("--prompts")
    a.add_argument("--image")
    a.add_argument("--out", default="sheet.png")
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--steps", type=int, default=0)
    a.add_argument("--guidance", type=float, default=0.0)
    a.add_argument("--size", type=int, default=0)
    a.add_argument("--device", default="auto")
    a.add_argument("--threads", type=int, default=0)
    a.add_argument("--dtype", default="fp32", choices=("fp32", "bf16"))
    a.add_argument("--impl", default="auto", choices=("auto", "own", "diffusers"))
    args = a.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else args.device)
    m = export.load_model(args.model, device, torch.float32, args.impl)
    amp = args.dtype == "bf16"
    if args.prompts:
        rows = [json.loads(l) for l in open(args.prompts)]
        prompts, seeds = [r["prompt"] for r in rows], [r["seed"] for r in rows]
    else:
        prompts = args.prompt or PROMPTS
        seeds = [args.seed + i for i in range(len(prompts))]
    size = args.size or m["size"]
    refs = None
    if args.image:
        im = C.read_image(args.image)
        h, w = im.shape[0] // 16 * 16, im.shape[1] // 16 * 16
        y, x = (im.shape[0] - h) // 2, (im.shape[1] - w) // 2
        refs = [im[y : y + h, x : x + w]] * len(prompts)
    t = time.time()
    with C.autocast(device, amp):
        ims = sampler.generate(
            m["dit"],
            m["te"],
            m["vae"],
            m["tok"],
            prompts,
            seeds,
            size,
            args.steps or m["steps"],
            args.guidance or m["guidance"],
            m["taps"],
            m["max_len"],
            device,
            refs,
        )
    print(
        f"{len(ims)} pictures of {size} px, {args.steps or m['steps']} steps, guidance {args.guidance or m['guidance']}: {time.time() - t:.1f} s"
    )
    if args.prompts:
        os.makedirs(args.out, exist_ok=True)
        for r, im in zip(rows, ims):
            C.write_png(os.path.join(args.out, f"{r['index']:04d}.png"), im)
    else:
        C.write_png(args.out, ims[0] if len(ims) == 1 else C.contact_sheet(ims, 4))
        for i, p in enumerate(prompts):
            print(f"{i:3d} {p}")


if __name__ == "__main__":
    main()
