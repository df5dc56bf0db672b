"""Times whole Wan jobs of real size with random weights, and diffusers beside them.

    python3 benchmarks/wan_films.py WORK_FOLDER step decode text sparse memory plan
    python3 benchmarks/wan_films.py WORK_FOLDER step decode --diffusers PYTHON

Models are written to WORK_FOLDER by `tessera make-random-model` (30 GB for all measurements). Every figure is a median;
`cpu` is processor time over wall time and cores: below 95 % something else used the machine. PYTHON is an interpreter
with torch and diffusers. Needs nothing but Python's own library.
"""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import time

SIZE = ["--height", "480", "--width", "832"]
SPARSE = {  # recommended densities of the specification's section on each planner
    "fa": "",
    "sage_attn": "",
    "sliding_tile_attn": '{"tile_size": [5, 8, 8], "window": [1, 3, 3], "skip_time_steps": 0}',
    "video_sparse_attn": '{"sparsity": 0.8}',
    "vmoba_attn": '{"moba_select_mode": "topk", "temporal_chunk_size": 1, "temporal_topk": 2,'
                  ' "spatial_chunk_size": [6, 8], "spatial_topk": 8, "st_chunk_size": [2, 6, 8], "st_topk": 13,'
                  ' "first_full_step": 0, "first_full_layer": 0}',
    "sparse_video_gen_2_attn": '{"num_q_centroids": 50, "num_k_centroids": 200, "top_p_kmeans": 0.3,'
                               ' "min_kc_ratio": 0, "kmeans_iter_init": 10, "first_times_fp": 0,'
                               ' "first_layers_fp": 0}',
}
DIFFUSERS = """
import sys, time, torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
torch.set_num_threads(int(sys.argv[2])); torch.manual_seed(0)
layers, frames, runs = (int(word) for word in sys.argv[3:6])
with torch.inference_mode():
    if sys.argv[1] == "step":
        model = WanTransformer3DModel(num_attention_heads=12, attention_head_dim=128, ffn_dim=8960, num_layers=layers,
                                      text_dim=4096, freq_dim=256).to(torch.bfloat16).eval()
        latents = torch.randn(1, 16, (frames - 1) // 4 + 1, 60, 104, dtype=torch.bfloat16)
        prompt = torch.randn(1, 512, 4096, dtype=torch.bfloat16)
        def run():
            for _ in range(2):
                model(hidden_states=latents, timestep=torch.tensor([900]), encoder_hidden_states=prompt)
    else:
        dtype = torch.bfloat16 if sys.argv[1] == "decode-bf16" else torch.float32
        model = AutoencoderKLWan().to(dtype).eval()
        latents = torch.randn(1, 16, (frames - 1) // 4 + 1, 60, 104, dtype=dtype)
        def run():
            model.decode(latents)
    for _ in range(runs):
        begin = time.time(); run(); print(time.time() - begin, flush=True)
"""


class Bench:
    def __init__(self, arguments):
        self.tessera, self.folder, self.runs = arguments.tessera, arguments.folder, arguments.runs
        self.python, self.threads = arguments.diffusers, len(os.sched_getaffinity(0))
        self.folder.mkdir(parents=True, exist_ok=True)
        machine = json.loads(self.output("bench", "machine", "--json"))
        self.peaks = {"bf16": machine["bf16_gflops"] * 1e9, "f32": machine["f32_gflops"] * 1e9}
        print("bf16 {bf16_gflops:.0f} GFLOP/s, f32 {f32_gflops:.0f}".format(**machine))

    def output(self, *words):
        return subprocess.run([self.tessera, *words], check=True, stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.DEVNULL).stdout

    def model(self, like, **layers):
        name = "-".join([like, *(f"{key}{count}" for key, count in layers.items())])
        path = self.folder / name
        flags = [word for key, count in layers.items() for word in (f"--{key}".replace("_", "-"), str(count))]
        if not path.exists():
            self.output("make-random-model", "--like", like, "--output", str(path), *flags)
        return str(path)

    def with_vae_of(self, model, other):
        """The model with another's vae: short decoding beside a large transformer, or the reverse."""
        path = self.folder / f"{pathlib.Path(model).name}+{pathlib.Path(other).name}"
        if not path.exists():
            path.mkdir()
            for part in pathlib.Path(model).resolve().iterdir():
                origin = pathlib.Path(other).resolve() / "vae" if part.name == "vae" else part
                (path / part.name).symlink_to(origin)
        return str(path)

    def film(self, model, frames, *flags):
        """One run: its performance report, plan, processor share and peak bytes."""
        report = self.folder / "report.json"
        words = ["generate", "--model-path", model, "--prompt", "a red fox in the snow", *SIZE, "--num-frames",
                 str(frames), *flags]
        plan = json.loads(self.output(*words, "--plan-only", "--json"))
        process = subprocess.Popen([self.tessera, *words, "--output-path", str(self.folder), "--output-file-name",
                                    "film.mp4", "--perf-dump-path", str(report)], stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        begin = time.time()
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            raise SystemExit(f"tessera {' '.join(words)}: failed")
        share = (usage.ru_utime + usage.ru_stime) / (time.time() - begin) / self.threads
        return json.loads(report.read_text()), plan, share, usage.ru_maxrss * 1024

    def peer(self, what, layers, frames):
        if self.python is None:
            return
        words = [self.python, "-c", DIFFUSERS, what, str(self.threads), str(layers), str(frames), str(self.runs)]
        times = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
        print(f"diffusers {what}, {frames} frames: {statistics.median(map(float, times)):.2f} s", flush=True)

    def line(self, name, seconds, flops, arithmetic, share):
        print(f"{name}: {seconds:.2f} s, {flops / 1e12:.2f} TFLOP, {flops / seconds / self.peaks[arithmetic]:.1%} of "
              f"the {arithmetic} peak, cpu {share:.0%}", flush=True)


def stage(report, name):
    return next(row["duration_ms"] for row in report["steps"] if row["name"] == name) / 1e3


def planned(plan, name):
    return next(row for row in plan["stages"] if row["name"] == name)


def step_seconds(report):
    return statistics.median(step["duration_ms"] for step in report["denoise_steps_ms"]) / 1e3


def guided(bench, *flags):
    return ["--num-inference-steps", str(bench.runs), "--guidance-scale", "5", *flags]


def measure_step(bench):
    """All steps but the loading of weights; a step of 6 of the 30 layers for diffusers' sake, then the whole model."""
    for layers in (6, 30):
        model = bench.model("wan2.1-t2v-1.3b", layers=layers, text_layers=1)
        report, plan, share, _ = bench.film(model, 17, *guided(bench, "--vae-precision", "bf16"))
        flops = planned(plan, "DenoisingStage")["flops"] / bench.runs
        bench.line(f"step of {layers} layers, 17 frames", step_seconds(report), flops, "bf16", share)
        if layers == 6:
            bench.peer("step", layers, 17)


def measure_decode(bench):
    model = bench.with_vae_of(bench.model("wan-tiny"), bench.model("wan2.1-t2v-1.3b", layers=1, text_layers=1))
    for arithmetic, frames in (("bf16", 17), ("bf16", 5), ("f32", 5)):
        flags = ["--num-inference-steps", "1", "--guidance-scale", "1", "--vae-precision", arithmetic]
        runs = [bench.film(model, frames, *flags) for _ in range(bench.runs)]
        seconds = statistics.median(stage(report, "DecodingStage") for report, _, _, _ in runs)
        flops = planned(runs[0][1], "DecodingStage")["flops"]
        bench.line(f"decode of {frames} frames", seconds, flops, arithmetic, min(run[2] for run in runs))
        if frames == 5:
            bench.peer(f"decode-{arithmetic}", 1, frames)


def measure_text(bench):
    model = bench.with_vae_of(bench.model("wan2.1-t2v-1.3b", layers=1), bench.model("wan-tiny"))
    flags = ["--num-inference-steps", "1", "--guidance-scale", "5", "--vae-precision", "bf16"]
    runs = [bench.film(model, 1, *flags) for _ in range(bench.runs)]
    seconds = statistics.median(stage(report, "TextEncodingStage") for report, _, _, _ in runs)
    bench.line("both prompts with loading", seconds, planned(runs[0][1], "TextEncodingStage")["flops"], "bf16",
               min(run[2] for run in runs))


def measure_sparse(bench):
    model = bench.with_vae_of(bench.model("wan2.1-t2v-1.3b", layers=6, text_layers=1), bench.model("wan-tiny"))
    dense = None
    for backend, options in SPARSE.items():
        flags = guided(bench, "--vae-precision", "bf16", "--attention-backend", backend)
        report, _, share, _ = bench.film(model, 17, *flags, *(["--attention-backend-config", options] if options else []))
        seconds = step_seconds(report)
        dense = dense or seconds
        rows = [row for row in report["attention"] if row["site"].startswith("transformer.self")]
        density = sum(row["density"] * row["calls"] for row in rows) / sum(row["calls"] for row in rows)
        print(f"{backend}: step {seconds:.2f} s = {dense / seconds:.2f} x, density {density:.3f}, attention "
              f"{sum(row['seconds'] for row in rows) / bench.runs:.2f} s, cpu {share:.0%}", flush=True)


def measure_memory(bench):
    model = bench.with_vae_of(bench.model("wan-tiny"), bench.model("wan2.1-t2v-1.3b", layers=1, text_layers=1))
    for frames in (17, 81):
        flags = ["--num-inference-steps", "1", "--guidance-scale", "1", "--vae-precision", "bf16"]
        report, _, _, peak = bench.film(model, frames, *flags)
        print(f"{frames} frames: peak {peak / 2**30:.3f} GiB, decoded in {stage(report, 'DecodingStage'):.0f} s",
              flush=True)


def measure_plan(bench):
    model = bench.model("wan2.2-ti2v-5b", text_layers=2)
    report, plan, share, peak = bench.film(model, 17, "--num-inference-steps", "2", "--guidance-scale", "5")
    seconds = report["total_duration_ms"] / 1e3
    print(f"memory: planned {plan['peak_bytes'] / 2**30:.2f} GiB, measured {peak / 2**30:.2f} GiB "
          f"({plan['peak_bytes'] / peak - 1:+.1%}); time: planned {plan['seconds']:.0f} s, measured {seconds:.0f} s "
          f"({plan['seconds'] / seconds - 1:+.1%}), cpu {share:.0%}", flush=True)
    for row in plan["stages"]:
        print(f"  {row['name']}: planned {row['seconds']:.1f} s, measured {stage(report, row['name']):.1f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    names = ["step", "decode", "text", "sparse", "memory", "plan"]
    parser.add_argument("what", nargs="+", choices=names)
    parser.add_argument("--tessera", default=str(pathlib.Path(__file__).parents[1] / "build/release/tessera"))
    parser.add_argument("--diffusers", metavar="PYTHON")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    bench = Bench(arguments)
    for what in arguments.what:
        globals()[f"measure_{what}"](bench)


if __name__ == "__main__":
    main()
