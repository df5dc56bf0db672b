"""Byte-level BPE in the Qwen2/Qwen3 file format, trained on the caption grammar.

    python tokenizer.py --work run            writes run/tokenizer/{tokenizer.json, tokenizer_config.json, vocab.json, merges.txt, ...}

The trainer, the encoder and the chat rendering below need nothing but the standard library. When the `tokenizers`
package is importable, the written file is loaded with it and both encoders are compared on the corpus.
"""

from __future__ import annotations
import collections
import functools
import json
import os
import re
import unicodedata

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ADDED = SPECIAL + ["<think>", "</think>"]  # in this order after the base vocabulary; the think marks are not "special"
CHAT_TEMPLATE = (
    "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}"
)
try:
    import regex

    _SPLIT = regex.compile(PATTERN)
except (
    ImportError
):  # same alternatives with the classes of `re` (letters = word characters that are neither digit nor _)
    L, N, NL = r"[^\W\d_]", r"\d", r"(?:[^\w\s]|_)"
    _SPLIT = re.compile(
        rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|(?:(?![\r\n])(?:{NL}|\s))?{L}+|{N}| ?{NL}+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )


@functools.lru_cache(None)
def byte_map():
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    out, n = {}, 0
    for b in range(256):
        if b in keep:
            out[b] = chr(b)
        else:
            out[b] = chr(256 + n)
            n += 1
    return out


def pieces(text):
    m = byte_map()
    return ["".join(m[b] for b in p.encode()) for p in _SPLIT.findall(unicodedata.normalize("NFC", text))]


def chat(prompt):
    """The klein text: one user turn, assistant header, empty think block."""
    return f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"


def train(texts, base_size):
    """-> (vocab {token: id}, merges [(a, b)]). Most frequent pair first, ties by text, so the result is reproducible."""
    counts = collections.Counter(p for t in texts for p in pieces(t))
    words = [[list(w), c] for w, c in sorted(counts.items())]
    vocab = {
        ch: i for i, ch in enumerate(byte_map()[b] for b in sorted(byte_map(), key=lambda b: (ord(byte_map()[b]))))
    }
    merges = []
    while len(vocab) < base_size:
        pairs = collections.Counter()
        for w, c in words:
            for ab in zip(w, w[1:]):
                pairs[ab] += c
        if not pairs:
            break
        (a, b), n = max(pairs.items(), key=lambda kv: (kv[1], kv[0]))
        if n < 2:
            break
        merges.append((a, b))
        vocab.setdefault(a + b, len(vocab))
        for item in words:
            w, i, out = item[0], 0, []
            if len(w) < 2:
                continue
            while i < len(w):
                if i + 1 < len(w) and w[i] == a and w[i + 1] == b:
                    out.append(a + b)
                    i += 2
                else:
                    out.append(w[i])
                    i += 1
            item[0] = out
    return vocab, merges


class Tokenizer:
    def __init__(self, folder):
        j = json.load(open(os.path.join(folder, "tokenizer.json"), encoding="utf-8"))
        m = j["model"]
        self.vocab = m["vocab"]
        self.rank = {tuple(x.split(" ") if isinstance(x, str) else x): i for i, x in enumerate(m["merges"])}
        self.added = {a["content"]: a["id"] for a in j["added_tokens"]}
        self.pad = self.added["<|endoftext|>"]
        self._re = re.compile("(" + "|".join(re.escape(a) for a in sorted(self.added, key=len, reverse=True)) + ")")
        self._cache = {}
        head, tail = chat("\0").split("\0")
        self._head, self._tail = self.encode(head), self.encode(tail)

    def _piece(self, p):
        if p in self._cache:
            return self._cache[p]
        w = list(p)
        while len(w) > 1:
            r, i = min((self.rank.get(ab, 1 << 30), i) for i, ab in enumerate(zip(w, w[1:])))
            if r == 1 << 30:
                break
            w[i : i + 2] = [w[i] + w[i + 1]]
        self._cache[p] = ids = [self.vocab[t] for t in w]
        return ids

    def encode(self, text):
        out = []
        for part in self._re.split(text):
            if part in self.added:
                out.append(self.added[part])
            elif part:
                for p in pieces(part):
                    out += self._piece(p)
        return out

    def prompt_ids(self, prompt, max_len):
        """-> (ids, number of valid ids), right-padded with <|endoftext|> to max_len, truncated on the right."""
        ids = self.encode(chat(prompt))[:max_len]
        return ids + [self.pad] * (max_len - len(ids)), len(ids)


def write(folder, vocab, merges, max_len):
    os.makedirs(folder, exist_ok=True)
    n = len(vocab)
    added = [
        dict(id=n + i, content=t, single_word=False, lstrip=False, rstrip=False, normalized=False, special=t in SPECIAL)
        for i, t in enumerate(ADDED)
    ]
    bl = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=False, use_regex=False)
    dump = lambda name, obj: json.dump(
        obj, open(os.path.join(folder, name), "w", encoding="utf-8"), ensure_ascii=False, indent=2
    )
    dump(
        "tokenizer.json",
        dict(
            version="1.0",
            truncation=None,
            padding=None,
            added_tokens=added,
            normalizer=dict(type="NFC"),
            pre_tokenizer=dict(
                type="Sequence",
                pretokenizers=[
                    dict(type="Split", pattern=dict(Regex=PATTERN), behavior="Isolated", invert=False),
                    dict(bl),
                ],
            ),
            post_processor=dict(bl),
            decoder=dict(bl),
            model=dict(
                type="BPE",
                dropout=None,
                unk_token=None,
                continuing_subword_prefix="",
                end_of_word_suffix="",
                fuse_unk=False,
                byte_fallback=False,
                ignore_merges=False,
                vocab=vocab,
                merges=[f"{a} {b}" for a, b in merges],
            ),
        ),
    )
    dump(
        "tokenizer_config.json",
        dict(
            add_bos_token=False,
            add_prefix_space=False,
            added_tokens_decoder={str(a["id"]): {k: v for k, v in a.items() if k != "id"} for a in added},
            additional_special_tokens=["<|im_start|>", "<|im_end|>"],
            bos_token=None,
            chat_template=CHAT_TEMPLATE,
            clean_up_tokenization_spaces=False,
            eos_token="<|im_end|>",
            errors="replace",
            model_max_length=max_len,
            pad_token="<|endoftext|>",
            padding_side="right",
            split_special_tokens=False,
            tokenizer_class="Qwen2Tokenizer",
            unk_token=None,
        ),
    )
    dump(
        "special_tokens_map.json",
        dict(
            additional_special_tokens=["<|im_start|>", "<|im_end|>"], eos_token="<|im_end|>", pad_token="<|endoftext|>"
        ),
    )
    dump("added_tokens.json", {a["content"]: a["id"] for a in added})
    dump("vocab.json", vocab)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges))


def main():
    import common, scenes

    a = common.parser(__doc__.splitlines()[0], None)
    a.add_argument("--captions", type=int, default=20000)
    args = a.parse_args()
    p = common.profile(args.profile)
    folder = os.path.join(args.work, "tokenizer")
    texts = list(scenes.corpus(args.captions, args.seed))
    vocab, merges = train(texts + [chat("")] * 50, p["te"]["vocab_size"] - len(ADDED))
    write(folder, vocab, merges, p["max_len"])
    tok = Tokenizer(folder)
    lens = sorted(tok.prompt_ids(t, 999)[1] for t in texts)
    print(
        f"vocabulary {len(vocab)} + {len(ADDED)} added of {p['te']['vocab_size']} rows, {len(merges)} merges; prompt tokens median {lens[len(lens) // 2]}, "
        f"99% {lens[len(lens) * 99 // 100]}, max {lens[-1]} (room {p['max_len']})"
    )
    if len(vocab) + len(ADDED) > p["te"]["vocab_size"]:
        raise SystemExit("vocabulary does not fit the embedding")
    try:
        import tokenizers
    except ImportError:
        print("package `tokenizers` not importable: no cross-check")
        return
    if not hasattr(tokenizers, "Tokenizer"):
        return
    hf = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    probe = texts[:2000] + [
        "",
        "  two  spaces\n\nlines \t tab",
        "caf\u00e9 \u4f60\u597d 123 it's <think>x",
        "Don't!! ... 3.14 _a_b",
    ]
    bad = [t for t in probe if hf.encode(chat(t)).ids != tok.encode(chat(t))]
    if bad:
        raise SystemExit(f"differs from `tokenizers` on {len(bad)} of {len(probe)} texts, first: {bad[0]!r}")
    print(f"agrees with `tokenizers` {tokenizers.__version__} on {len(probe)} texts")


if __name__ == "__main__":
    main()
