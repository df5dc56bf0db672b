"""Rollouts of distilled Wan models in f32: diffusers' transformers inside plain loops.

Writes tests/golden/wan_distilled.{json,safetensors} from the small folders in tests/golden/pipelines:
    python tools/wan_distilled.py
Needs torch, diffusers 0.42 or later and transformers.
"""
import json
import math
import pathlib

import torch
from diffusers import WanPipeline
from safetensors.torch import save_file

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden"
FAST = [1000, 757, 522]
CAUSAL = [1000, 750, 500, 250]
CAUSAL_OF_TWO = [1000, 850, 700, 550, 350, 275, 200, 125]


def train_table(shift):
    sigmas = torch.arange(1000, 0, -1, dtype=torch.float32) / 1000
    sigmas = shift * sigmas / (1 + (shift - 1) * sigmas)
    return sigmas, sigmas * 1000


def nearest(timesteps, timestep):
    return int((timesteps - timestep).abs().argmin())


class FrameCache:
    """Attention processor that keeps the keys and values of finished frames as a list, one entry per frame."""

    def __init__(self, window, sink):
        self.window, self.sink, self.kept, self.frames = window, sink, [], 1

    @staticmethod
    def rotate(x, cos, sin):
        a, b, c, s = x[..., 0::2], x[..., 1::2], cos[..., 0::2], sin[..., 1::2]
        out = torch.empty_like(x)
        out[..., 0::2], out[..., 1::2] = a * c - b * s, a * s + b * c
        return out

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None):
        q, k, v = attn.norm_q(attn.to_q(hidden_states)), attn.norm_k(attn.to_k(hidden_states)), attn.to_v(hidden_states)
        q, k, v = (x.unflatten(2, (attn.heads, -1)) for x in (q, k, v))
        q, k = self.rotate(q, *rotary_emb), self.rotate(k, *rotary_emb)
        entries = self.kept + list(zip(k.chunk(self.frames, 1), v.chunk(self.frames, 1)))
        over = len(entries) - self.window
        if over > 0:
            entries = entries[: self.sink] + entries[self.sink + over :]
        self.seen = entries
        k, v = (torch.cat([entry[i] for entry in entries], 1) for i in (0, 1))
        out = torch.nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)))
        return attn.to_out[0](out.transpose(1, 2).flatten(2))


class GatedCubes:
    """Attention processor of video sparse attention: gate * (attention over cube means) + (attention over top cubes)."""

    def __init__(self, gate, grid, sparsity, side=4):
        self.gate = gate
        t, h, w = grid
        cubes = {}
        for token in range(t * h * w):
            key = (token // (h * w) // side, token // w % h // side, token % w // side)
            cubes.setdefault(key, []).append(token)
        self.cubes = [torch.tensor(cubes[key]) for key in sorted(cubes)]
        self.chosen = max(1, min(math.ceil((1 - sparsity) * len(self.cubes)), len(self.cubes)))

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, rotary_emb=None):
        gate = self.gate(hidden_states).unflatten(2, (attn.heads, -1))[0].transpose(0, 1)
        q, k, v = attn.norm_q(attn.to_q(hidden_states)), attn.norm_k(attn.to_k(hidden_states)), attn.to_v(hidden_states)
        q, k, v = (x.unflatten(2, (attn.heads, -1)) for x in (q, k, v))
        q, k = FrameCache.rotate(q, *rotary_emb), FrameCache.rotate(k, *rotary_emb)
        q, k, v = (x[0].transpose(0, 1) for x in (q, k, v))  # [heads, tokens, head_dim]
        means = [torch.stack([x[:, cube].mean(1) for cube in self.cubes], 1) for x in (q, k, v)]
        scores = means[0] @ means[1].transpose(1, 2) / math.sqrt(q.shape[-1])
        coarse = scores.softmax(-1) @ means[2]
        out = torch.empty_like(q)
        for head in range(attn.heads):
            for at, cube in enumerate(self.cubes):
                top = scores[head, at].topk(self.chosen).indices
                keys = torch.cat([self.cubes[i] for i in top])
                weights = (q[head, cube] @ k[head, keys].T / math.sqrt(q.shape[-1])).softmax(-1)
                out[head, cube] = gate[head, cube] * coarse[head, at] + weights @ v[head, keys]
        return attn.to_out[0](out.transpose(0, 1).flatten(1)[None])


class BlockModel:
    """A transformer that is given some frames of a film at a time."""

    def __init__(self, transformer, latents, window, sink):
        self.transformer, self.frames = transformer, latents.shape[2]
        self.rope = transformer.rope(latents)
        self.caches = [FrameCache(window, sink) for _ in transformer.blocks]
        for block, cache in zip(transformer.blocks, self.caches):
            block.attn1.set_processor(cache)

    def __call__(self, x, timestep, embeds, first):
        per_frame = self.rope[0].shape[1] // self.frames
        part = slice(first * per_frame, (first + x.shape[2]) * per_frame)
        self.transformer.rope.forward = lambda _: tuple(table[:, part] for table in self.rope)
        for cache in self.caches:
            cache.frames = x.shape[2]
        return predict(self.transformer, x, timestep, embeds)

    def finish(self, x, embeds, first):
        self(x, 0.0, embeds, first)
        for cache in self.caches:
            cache.kept = cache.seen


def predict(transformer, x, timestep, embeds):
    timestep = torch.tensor([timestep], dtype=torch.float32)
    return transformer(hidden_states=x, timestep=timestep, encoder_hidden_states=embeds, return_dict=False)[0]


class Recorder:
    def __init__(self):
        self.tensors, self.cases = {}, {}

    @torch.no_grad()
    def record(self, name, job, steps, shift, blocks=None, window=21, sink=0, config=None, sparsity=None):
        source = GOLDEN / "pipelines" / job["folder"]
        pipe = WanPipeline.from_pretrained(source, torch_dtype=torch.float32)
        index = json.loads((source / "model_index.json").read_text())
        embeds, _ = pipe.encode_prompt(
            job["prompt"], do_classifier_free_guidance=False, max_sequence_length=index.get("max_sequence_length", 512)
        )
        factor = pipe.vae.config.scale_factor_spatial
        frames = (job["num_frames"] - 1) // 4 + 1
        generator = torch.Generator().manual_seed(job["seed"])
        shape = (1, pipe.vae.config.z_dim, frames, job["height"] // factor, job["width"] // factor)
        latents = torch.randn(shape, generator=generator)
        self.tensors[f"{name}.noise"] = latents.clone()

        table_sigmas, table_timesteps = train_table(shift)
        causal = blocks is not None
        places = [1000 - s if causal else nearest(table_timesteps, s) for s in steps]
        sigmas = [table_sigmas[p] for p in places]
        timesteps = [float(table_timesteps[p]) for p in places] if causal else [float(s) for s in steps]
        boundary = index["boundary_ratio"] * 1000 if index.get("boundary_ratio") else None
        high = sum(boundary is not None and t >= boundary for t in timesteps)
        edge = table_sigmas[nearest(table_timesteps, boundary)] if boundary else None

        experts = [pipe.transformer] + ([pipe.transformer_2] if boundary else [])
        if causal:
            experts = [BlockModel(expert, latents, window, sink) for expert in experts]
        if sparsity is not None:
            self.add_gates(name, pipe.transformer, (frames, shape[3] // 2, shape[4] // 2), sparsity)
        first, per_step, first_prediction = 0, [], None
        for count in blocks or [frames]:
            x = latents[:, :, first : first + count].clone()
            for i, timestep in enumerate(timesteps):
                expert = experts[0 if i < high or boundary is None else 1]
                v = expert(x, timestep, embeds, first) if causal else predict(expert, x, timestep, embeds)
                first_prediction = v.clone() if first_prediction is None else first_prediction
                sigma = sigmas[i] - (edge if i < high else 0)
                x = (x.double() - sigma.double() * v.double()).float()
                if i + 1 < len(timesteps):
                    noise = torch.randn((1, count, shape[1], *shape[3:]), generator=generator).permute(0, 2, 1, 3, 4)
                    after = sigmas[i + 1]
                    if i + 1 < high:
                        share = (1 - after) / (1 - edge)
                        x = share * x + torch.sqrt(after**2 - (share * edge) ** 2) * noise
                    elif i + 1 > high or high == 0:
                        x = (1 - after) * x + after * noise
                latents = latents.clone()
                latents[:, :, first : first + count] = x
                per_step.append(latents)
            if causal:
                for expert in experts:
                    expert.finish(x, embeds, first)
            first += count

        mean, std = (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (pipe.vae.config.latents_mean, pipe.vae.config.latents_std))
        film = (pipe.vae.decode(latents * std + mean).sample / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 3, 0)
        self.tensors[f"{name}.frames"] = (film * 255).round().to(torch.uint8).contiguous()
        self.tensors[f"{name}.latents_per_step"] = torch.stack(per_step)
        self.tensors[f"{name}.first_prediction"] = first_prediction.contiguous()
        self.tensors[f"{name}.timesteps"] = torch.tensor(timesteps * len(blocks or [0]))
        self.cases[name] = dict(job, transformer_config=config or {})
        if sparsity is not None:
            self.cases[name]["sparsity"] = sparsity

    def add_gates(self, name, transformer, grid, sparsity):
        generator = torch.Generator().manual_seed(1)
        for i, block in enumerate(transformer.blocks):
            gate = torch.nn.Linear(block.attn1.inner_dim, block.attn1.inner_dim)
            for key, value in gate.named_parameters():
                value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
                self.tensors[f"{name}.gates.blocks.{i}.to_gate_compress.{key}"] = value.detach().clone()
            block.attn1.set_processor(GatedCubes(gate, grid, sparsity))


def job(folder, pipeline, seed, height, width, num_frames, prompt):
    names = "folder pipeline seed height width num_frames prompt".split()
    return dict(zip(names, (folder, pipeline, seed, height, width, num_frames, prompt)))


def main():
    torch.set_num_threads(1)
    fast, causal = "WanDMDPipeline", "WanCausalDMDPipeline"
    r = Recorder()
    r.record("fast", job("wan21_t2v_tiny", fast, 7, 32, 48, 9, "A paper boat on a pond"), FAST, 8.0)
    r.record("fast_5b", job("wan22_ti2v_tiny", fast, 3, 64, 32, 5, "A lighthouse at dusk"), FAST, 8.0)
    r.record("fast_gated", job("wan21_t2v_tiny", fast, 9, 64, 96, 17, "A tram in the rain"), FAST, 8.0, sparsity=0.5)
    r.record("causal", job("wan21_t2v_tiny", causal, 11, 32, 48, 33, "Two cats play chess"), CAUSAL, 5.0, [3, 3, 3])
    r.record("causal_window", job("wan21_t2v_tiny", causal, 12, 48, 32, 33, "A river of glass"), CAUSAL, 5.0, [3, 3, 3],
             window=5, sink=1, config={"local_attn_size": 5, "sink_size": 1})
    r.record("causal_first", job("wan21_t2v_tiny", causal, 13, 32, 32, 25, "A kite"), CAUSAL, 5.0, [1, 2, 2, 2],
             window=4, sink=1, config={"independent_first_frame": True, "num_frames_per_block": 2,
                                       "sliding_window_num_frames": 4, "sink_size": 1})
    r.record("causal_two", job("wan22_t2v_tiny", causal, 14, 32, 48, 21, "Rain on a tin roof"), CAUSAL_OF_TWO, 12.0, [3, 3])
    save_file(r.tensors, GOLDEN / "wan_distilled.safetensors")
    (GOLDEN / "wan_distilled.json").write_text(json.dumps({"cases": r.cases}, indent=1) + "\n")


if __name__ == "__main__":
    main()
