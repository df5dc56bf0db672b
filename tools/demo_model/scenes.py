"""Procedural scenes: spec -> caption, spec -> picture, caption -> spec, edits and moving clips.

Everything is a pure function of integers: `sample_spec(R(seed))` names the objects, `layout(spec, seed)` places
them, `render(placed, bg, size)` draws them with signed distance fields (numpy only, anti-aliased), and
`caption(spec, R(k))` words them. `parse(text)` goes back from any caption of the grammar to the spec.
"""

from __future__ import annotations
import math
import random
import re
from dataclasses import dataclass, replace
import numpy as np
from drawing import COLORS, DEFAULT_BG, render

COLOR_WORDS = {c: [c] for c in COLORS}
COLOR_WORDS["gray"] = ["gray", "grey"]
COLOR_WORDS["purple"] = ["purple", "violet"]
COLOR_WORDS["cyan"] = ["cyan", "turquoise"]
SHAPES = [
    "circle",
    "square",
    "triangle",
    "star",
    "ring",
    "heart",
    "cross",
    "hexagon",
    "crescent",
    "arrow",
    "diamond",
    "house",
    "tree",
    "flower",
    "fish",
]
SHAPE_WORDS = {s: [s] for s in SHAPES}
SHAPE_WORDS.update(
    circle=["circle", "disc"],
    ring=["ring", "donut"],
    cross=["cross", "plus"],
    crescent=["crescent", "moon"],
    diamond=["diamond", "rhombus"],
)
# the colour a shape has when the caption names none
DEFAULT_COLOR = dict(
    circle="red",
    square="blue",
    triangle="green",
    star="yellow",
    ring="orange",
    heart="red",
    cross="red",
    hexagon="purple",
    crescent="yellow",
    arrow="black",
    diamond="cyan",
    house="red",
    tree="green",
    flower="pink",
    fish="orange",
)
SIZES = ["small", "medium", "big"]
SIZE_WORDS = {"small": ["small", "little", "tiny"], "medium": [""], "big": ["big", "large"]}
PATTERNS = ["solid", "striped", "dotted"]
GLYPHS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
POSITIONS = {
    "center": (0.5, 0.5),
    "top": (0.5, 0.25),
    "bottom": (0.5, 0.75),
    "left": (0.25, 0.5),
    "right": (0.75, 0.5),
    "top left": (0.25, 0.25),
    "top right": (0.75, 0.25),
    "bottom left": (0.25, 0.75),
    "bottom right": (0.75, 0.75),
}
REL_PHRASES = {
    "left": ["to the left of", "left of", "on the left of"],
    "right": ["to the right of", "right of", "on the right of"],
    "above": ["above", "over", "on top of"],
    "below": ["below", "under", "beneath"],
    "inside": ["inside", "in", "within"],
    "and": ["and", "next to", "beside"],
}
NUMBERS = {2: "two", 3: "three"}
PREFIXES = ["a picture of", "an image of", "a drawing of", "draw", "there is", "show"]
OUTER_SHAPES = ("circle", "square", "heart", "hexagon", "diamond")  # shapes that can hold another one
RADII = {1: (0.15, 0.24, 0.34), 2: (0.10, 0.155, 0.205), 3: (0.08, 0.115, 0.15)}
JITTER, JITTER_R = 0.02, 0.05


class R:
    """Small deterministic random source (only random.random(), whose stream is stable across Python versions)."""

    def __init__(self, seed):
        self._r = random.Random(int(seed))

    def u(self, a=0.0, b=1.0):
        return a + (b - a) * self._r.random()

    def chance(self, p):
        return self._r.random() < p

    def choice(self, seq):
        return seq[int(self._r.random() * len(seq))]

    def integer(self, n):
        return int(self._r.random() * n)


@dataclass(frozen=True)
class Obj:
    shape: str  # a name of SHAPES, or "glyph:A"
    color: str
    size: str = "medium"
    pattern: str = "solid"


@dataclass(frozen=True)
class Spec:
    rel: str  # single, left, right, above, below, inside, and, row, tri, count
    objs: tuple
    pos: str = ""  # only for rel == single; "" means the centre
    n: int = 1  # only for rel == count
    bg: tuple = ()  # () default, (c,) plain, (top, bottom) gradient


@dataclass(frozen=True)
class Placed:
    obj: Obj
    x: float
    y: float
    r: float
    rot: float = 0.0


# --------------------------------------------------------------------------------------------------- sampling
def sample_obj(rng, bg, glyphs=0.0, taken=(), simple=False):
    forbidden = set(bg) if bg else {DEFAULT_BG}
    forbidden |= {o.color for o in taken}
    allowed = [c for c in COLORS if c not in forbidden]
    c = rng.choice(allowed)
    if glyphs and rng.chance(glyphs):
        return Obj("glyph:" + rng.choice(GLYPHS), c, SIZES[1 + rng.integer(2)], "solid")
    s = rng.choice([s for s in SHAPES if s not in {o.shape for o in taken}])
    if rng.chance(0.1) and DEFAULT_COLOR[s] in allowed:
        c = DEFAULT_COLOR[s]
    size = "medium" if simple or rng.chance(0.5) else rng.choice(("small", "big"))
    pat = (
        rng.choice(("striped", "dotted"))
        if (not simple and s not in ("tree", "fish", "flower", "ring") and rng.chance(0.2))
        else "solid"
    )
    return Obj(s, c, size, pat)


def sample_bg(rng):
    k = rng.u()
    if k < 0.35:
        return ()
    if k < 0.85:
        return (rng.choice(list(COLORS)),)
    a = rng.choice(list(COLORS))
    b = rng.choice([c for c in COLORS if c != a])
    return (a, b)


def sample_spec(rng, glyphs=0.0):
    bg = sample_bg(rng)
    k = rng.u()
    if k < 0.38:
        pos = "" if rng.chance(0.6) else rng.choice(list(POSITIONS))
        return Spec("single", (sample_obj(rng, bg, glyphs),), pos=pos, bg=bg)
    if k < 0.50:
        return Spec("count", (sample_obj(rng, bg, glyphs),), n=2 + rng.integer(2), bg=bg)
    if k < 0.86:
        rel = rng.choice(("left", "right", "above", "below", "and", "inside"))
        if rel == "inside":
            outer = sample_obj(rng, bg, 0.0, simple=True)
            outer = replace(outer, shape=rng.choice(OUTER_SHAPES))
            return Spec(rel, (sample_obj(rng, bg, glyphs, (outer,)), outer), bg=bg)
        a = sample_obj(rng, bg, glyphs)
        return Spec(rel, (a, sample_obj(rng, bg, glyphs, (a,))), bg=bg)
    a = sample_obj(rng, bg, glyphs)
    b = sample_obj(rng, bg, glyphs, (a,))
    c = sample_obj(rng, bg, glyphs, (a, b))
    return Spec("row" if rng.chance(0.6) else "tri", (a, b, c), bg=bg)


def expected(spec):
    """[(Obj, x, y, r)] without jitter: what a viewer of the caption would expect."""
    o, rel = spec.objs, spec.rel
    rad = lambda i, k: RADII[k][SIZES.index(o[i].size)]
    if rel == "single":
        x, y = POSITIONS[spec.pos or "center"]
        return [Placed(o[0], x, y, rad(0, 1 if (spec.pos or "center") == "center" else 2))]
    if rel == "count":
        k = spec.n
        xs = (0.28, 0.72) if k == 2 else (0.19, 0.5, 0.81)
        return [Placed(o[0], x, 0.5, rad(0, k)) for x in xs]
    if rel == "inside":
        return [Placed(o[1], 0.5, 0.5, 0.37), Placed(o[0], 0.5, 0.5, (0.09, 0.12, 0.15)[SIZES.index(o[0].size)])]
    if rel == "row":
        return [Placed(o[i], x, 0.5, rad(i, 3)) for i, x in enumerate((0.19, 0.5, 0.81))]
    if rel == "tri":
        return [Placed(o[i], x, y, rad(i, 3)) for i, (x, y) in enumerate(((0.5, 0.27), (0.27, 0.72), (0.73, 0.72)))]
    a, b = {
        "left": ((0.28, 0.5), (0.72, 0.5)),
        "and": ((0.28, 0.5), (0.72, 0.5)),
        "right": ((0.72, 0.5), (0.28, 0.5)),
        "above": ((0.5, 0.27), (0.5, 0.73)),
        "below": ((0.5, 0.73), (0.5, 0.27)),
    }[rel]
    return [Placed(o[0], *a, rad(0, 2)), Placed(o[1], *b, rad(1, 2))]


def layout(spec, seed):
    rng = R(seed * 2654435761 + 17)
    return [
        replace(
            p, x=p.x + rng.u(-JITTER, JITTER), y=p.y + rng.u(-JITTER, JITTER), r=p.r * rng.u(1 - JITTER_R, 1 + JITTER_R)
        )
        for p in expected(spec)
    ]


# --------------------------------------------------------------------------------------------------- captions
def _shape_word(o, rng, plural=False):
    if o.shape.startswith("glyph:"):
        g = o.shape[6:]
        kind = "number" if g.isdigit() else "letter"
        return f"{kind}{'s' if plural else ''} {g}"
    w = rng.choice(SHAPE_WORDS[o.shape]) if rng.chance(0.25) else o.shape
    if not plural:
        return w
    return {"cross": "crosses", "plus": "pluses", "fish": "fish", "rhombus": "rhombuses"}.get(w, w + "s")


def _noun_phrase(o, rng, article=True, number=None):
    size = rng.choice(SIZE_WORDS[o.size]) if rng.chance(0.3) else SIZE_WORDS[o.size][0]
    color = rng.choice(COLOR_WORDS[o.color]) if rng.chance(0.2) else o.color
    if DEFAULT_COLOR.get(o.shape) == o.color and rng.chance(0.4):
        color = ""
    pat, tail = "", ""
    if o.pattern != "solid":
        if rng.chance(0.7):
            pat = o.pattern
        else:
            tail = " with stripes" if o.pattern == "striped" else " with dots"
    words = [w for w in (size, pat, color, _shape_word(o, rng, number is not None)) if w]
    text = " ".join(words) + tail
    if number is not None:
        return f"{number} {text}"
    if not article:
        return text
    return ("an " if text[0] in "aeio" else "a ") + text


def _bg_phrase(bg, rng):
    if not bg:
        return ""
    w = [rng.choice(COLOR_WORDS[c]) if rng.chance(0.2) else c for c in bg]
    if len(bg) == 1:
        art = "an" if w[0][0] in "aeio" else "a"
        return rng.choice(
            (f" on {art} {w[0]} background",) * 3
            + (f" on {w[0]}", f" with {art} {w[0]} background", f", {w[0]} background")
        )
    art = "an" if w[0][0] in "aeio" else "a"
    return rng.choice(
        (
            f" on {art} {w[0]} to {w[1]} gradient",
            f" on a gradient background from {w[0]} to {w[1]}",
            f", {w[0]} to {w[1]} gradient background",
        )
    )


def caption(spec, rng):
    article = not rng.chance(0.15)
    np_ = lambda o: _noun_phrase(o, rng, article)
    o, rel = spec.objs, spec.rel
    if rel == "single":
        t = np_(o[0])
        if spec.pos == "center":
            t += rng.choice((" in the center", " in the middle"))
        elif spec.pos in ("top", "bottom"):
            t += f" at the {spec.pos}"
        elif spec.pos in ("left", "right"):
            t += f" on the {spec.pos}"
        elif spec.pos:
            t += rng.choice((f" in the {spec.pos} corner", f" at the {spec.pos}"))
    elif rel == "count":
        t = _noun_phrase(o[0], rng, number=NUMBERS[spec.n])
    elif rel == "row":
        t = f"{np_(o[0])}, {np_(o[1])} and {np_(o[2])}"
    elif rel == "tri":
        t = f"{np_(o[0])} {rng.choice(REL_PHRASES['above'][:2])} {np_(o[1])} and {np_(o[2])}"
    else:
        t = f"{np_(o[0])} {rng.choice(REL_PHRASES[rel])} {np_(o[1])}"
    t += _bg_phrase(spec.bg, rng)
    if article and rng.chance(0.2):
        t = rng.choice(PREFIXES) + " " + t
    if rng.chance(0.15):
        t = t[0].upper() + t[1:]
    if rng.chance(0.15):
        t += "."
    return t


_WORD2COLOR = {w: c for c, ws in COLOR_WORDS.items() for w in ws}
_WORD2SHAPE = {}
for _s, _ws in SHAPE_WORDS.items():
    for _w in _ws:
        _WORD2SHAPE[_w] = _s
        _WORD2SHAPE[
            {"cross": "crosses", "plus": "pluses", "fish": "fish", "rhombus": "rhombuses"}.get(_w, _w + "s")
        ] = _s
_WORD2SIZE = {w: s for s, ws in SIZE_WORDS.items() for w in ws if w}
_C = "(" + "|".join(_WORD2COLOR) + ")"
_BG_RES = [
    (re.compile(rf"(?:,| on an?| with an?| over an?)? *{_C} to {_C} gradient(?: background)?$"), 2),
    (re.compile(rf" (?:on|with) an? gradient background from {_C} to {_C}$"), 2),
    (re.compile(rf"(?:,| on an?| with an?| on the| with) *{_C} background$"), 1),
    (re.compile(rf" on {_C}$"), 1),
]
_REL_RE = re.compile(
    r" ("
    + "|".join(sorted((p for k, v in REL_PHRASES.items() if k != "and" for p in v), key=len, reverse=True))
    + r") (?=(?:an? |the |\w+ )*)"
)


def _parse_obj(text):
    words = text.lower().replace(",", " ").split()
    color = shape = None
    size, pattern, n = "medium", "solid", 1
    for i, w in enumerate(words):
        if w in _WORD2COLOR:
            color = _WORD2COLOR[w]
        elif w in _WORD2SIZE:
            size = _WORD2SIZE[w]
        elif w in ("striped", "stripes"):
            pattern = "striped"
        elif w in ("dotted", "dots"):
            pattern = "dotted"
        elif w in ("two", "2"):
            n = 2
        elif w in ("three", "3"):
            n = 3
        elif w in ("letter", "letters", "number", "numbers") and i + 1 < len(words):
            shape = "glyph:" + words[i + 1].upper()
            break
        elif w in _WORD2SHAPE and shape is None:
            shape = _WORD2SHAPE[w]
    color = color or DEFAULT_COLOR.get(shape)
    if shape is None or color is None:
        return None, 1
    return Obj(shape, color, size, pattern), n


def parse(text):
    """caption -> Spec, or None when the text is outside the grammar."""
    t = " ".join(text.strip().rstrip(".").split())
    low = t.lower()
    for p in PREFIXES:
        if low.startswith(p + " "):
            low = low[len(p) + 1 :]
            break
    bg = ()
    for rex, k in _BG_RES:
        m = rex.search(low)
        if m:
            bg = tuple(_WORD2COLOR[m.group(i + 1)] for i in range(k))
            low = low[: m.start()].rstrip(" ,")
            break
    m = re.search(
        r" (?:at|in|on) the (center|middle|top left|top right|bottom left|bottom right|top|bottom|left|right)(?: corner)?$",
        low,
    )
    if m:
        o, _ = _parse_obj(low[: m.start()])
        return o and Spec("single", (o,), pos={"middle": "center"}.get(m.group(1), m.group(1)), bg=bg)
    m = _REL_RE.search(low)
    if m:
        rel = next(k for k, v in REL_PHRASES.items() if m.group(1) in v)
        a, _ = _parse_obj(low[: m.start()])
        rest = low[m.end() :]
        if rel == "above" and " and " in rest:
            b, c = (_parse_obj(x)[0] for x in rest.split(" and ", 1))
            return Spec("tri", (a, b, c), bg=bg) if a and b and c else None
        b, _ = _parse_obj(rest)
        return Spec(rel, (a, b), bg=bg) if a and b else None
    parts = [p for p in re.split(r", | and | next to | beside ", low) if p]
    objs = [_parse_obj(p) for p in parts]
    if any(o is None for o, _ in objs) or not 1 <= len(objs) <= 3:
        return None
    if len(objs) == 1:
        o, n = objs[0]
        return Spec("count", (o,), n=n, bg=bg) if n > 1 else Spec("single", (o,), bg=bg)
    return Spec("and" if len(objs) == 2 else "row", tuple(o for o, _ in objs), bg=bg)


def scene(seed, size=256, glyphs=0.0):
    """seed -> (uint8 picture, caption, spec): one training example."""
    spec = sample_spec(R(seed), glyphs)
    return render(layout(spec, seed), spec.bg, size), caption(spec, R(seed ^ 0x5BD1E995)), spec


# --------------------------------------------------------------------------------------------------- edits
def edit_pair(seed, glyphs=0.0):
    """seed -> (placed0, bg0, placed1, bg1, instruction): a picture, an instruction, the picture afterwards."""
    rng = R(seed)
    spec = sample_spec(rng, glyphs)
    while spec.rel == "count":
        spec = sample_spec(rng, glyphs)
    before = layout(spec, seed)
    bg = spec.bg
    after, bg2 = list(before), bg
    i = rng.integer(len(before))
    o = before[i].obj
    name = _shape_word(o, R(0))
    used = {p.obj.color for p in before} | set(bg or (DEFAULT_BG,))
    fresh = [c for c in COLORS if c not in used]
    k = rng.u()
    if k < 0.35:
        c = rng.choice(fresh)
        after[i] = replace(before[i], obj=replace(o, color=c))
        text = rng.choice((f"make the {name} {c}", f"change the {name} to {c}", f"paint the {name} {c}"))
    elif k < 0.55:
        c = rng.choice(fresh)
        bg2 = (c,)
        text = rng.choice((f"make the background {c}", f"change the background to {c}"))
    elif k < 0.75 and len(before) > 1 and spec.rel != "inside":
        after.pop(i)
        text = f"remove the {name}"
        if rng.chance(0.5):  # the same pair read backwards is an addition
            before, after = after, before
            where = {
                "above": ("above", "below"),
                "below": ("below", "above"),
                "left": ("on the left", "on the right"),
                "and": ("on the left", "on the right"),
                "right": ("on the right", "on the left"),
            }.get(spec.rel)
            text = f"add {_noun_phrase(o, rng)}" + (" " + where[i] if where else "")
    elif k < 0.9:
        s = rng.choice([s for s in SHAPES if s not in {p.obj.shape for p in before}])
        after[i] = replace(
            before[i],
            obj=replace(o, shape=s, pattern="solid" if s in ("tree", "fish", "flower", "ring") else o.pattern),
        )
        text = rng.choice(
            (
                f"replace the {name} with a{'n' if s[0] in 'aeio' else ''} {s}",
                f"turn the {name} into a{'n' if s[0] in 'aeio' else ''} {s}",
            )
        )
    else:
        grow = rng.chance(0.5)
        after[i] = replace(before[i], r=before[i].r * (1.35 if grow else 0.65))
        text = f"make the {name} {'bigger' if grow else 'smaller'}"
    return before, bg, after, bg2, text


# --------------------------------------------------------------------------------------------------- moving clips
MOTIONS = {
    "right": ["moves right", "moving to the right", "goes right"],
    "left": ["moves left", "moving to the left", "goes left"],
    "up": ["moves up", "moving up", "rises"],
    "down": ["moves down", "moving down", "falls"],
    "grow": ["grows", "gets bigger"],
    "shrink": ["shrinks", "gets smaller"],
    "spin": ["spins", "rotates"],
    "still": ["stays still", "does not move"],
}


def clip(seed, frames=17, size=128, glyphs=0.0):
    """seed -> (uint8 [frames, size, size, 3], caption). One or two objects; the first one moves."""
    rng = R(seed)
    bg = sample_bg(rng)
    a = sample_obj(rng, bg, glyphs)
    motion = rng.choice(list(MOTIONS))
    r = RADII[2][SIZES.index(a.size)]
    x0 = y0 = x1 = y1 = 0.5
    r0 = r1 = r
    spin = 0.0
    if motion in ("right", "left"):
        x0, x1 = (0.2, 0.8) if motion == "right" else (0.8, 0.2)
    elif motion in ("up", "down"):
        y0, y1 = (0.8, 0.2) if motion == "up" else (0.2, 0.8)
    elif motion == "grow":
        r0, r1 = r * 0.5, r * 1.6
    elif motion == "shrink":
        r0, r1 = r * 1.6, r * 0.5
    elif motion == "spin":
        spin = math.pi
    jx, jy = rng.u(-JITTER, JITTER), rng.u(-JITTER, JITTER)
    out = np.empty((frames, size, size, 3), np.uint8)
    for f in range(frames):
        t = f / max(1, frames - 1)
        m = lambda u, v: u + (v - u) * t
        out[f] = render([Placed(a, m(x0, x1) + jx, m(y0, y1) + jy, m(r0, r1), spin * t)], bg, size)
    return out, _noun_phrase(a, rng) + " " + rng.choice(MOTIONS[motion]) + _bg_phrase(bg, rng)


def corpus(n, seed=0, glyphs=0.3, edits=True):
    """n captions of the whole grammar (tokenizer training): still, edit and motion captions."""
    for i in range(n):
        s = seed + i
        yield caption(sample_spec(R(s), glyphs), R(s ^ 0x5BD1E995))
        if edits and i % 4 == 0:
            yield edit_pair(s, glyphs)[4]
        if i % 8 == 0:
            rng = R(s)
            bg = sample_bg(rng)
            a = sample_obj(rng, bg, glyphs)
            yield _noun_phrase(a, rng) + " " + rng.choice(MOTIONS[rng.choice(list(MOTIONS))]) + _bg_phrase(bg, rng)
