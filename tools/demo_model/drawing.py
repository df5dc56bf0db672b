"""How the world looks: colours, shapes as signed distance fields, backgrounds, anti-aliased pictures (numpy only)."""

import math

import numpy as np

COLORS = {
    "red": (214, 40, 40),
    "orange": (247, 140, 20),
    "yellow": (252, 218, 50),
    "green": (44, 150, 62),
    "cyan": (70, 205, 210),
    "blue": (38, 84, 206),
    "purple": (130, 52, 176),
    "pink": (246, 150, 196),
    "brown": (122, 74, 36),
    "black": (22, 22, 26),
    "white": (246, 246, 246),
    "gray": (140, 142, 148),
}
DEFAULT_BG = "white"  # used when a caption names no background


def _poly(pts):
    pts = np.asarray(pts, np.float32)

    def f(x, y):
        d = np.full(x.shape, 1e9, np.float32)
        inside = np.zeros(x.shape, bool)
        for (ax, ay), (bx, by) in zip(pts, np.roll(pts, -1, 0)):
            ex, ey = bx - ax, by - ay
            wx, wy = x - ax, y - ay
            t = np.clip((wx * ex + wy * ey) / (ex * ex + ey * ey), 0, 1)
            dx, dy = wx - ex * t, wy - ey * t
            d = np.minimum(d, dx * dx + dy * dy)
            if ey != 0:
                inside ^= ((ay > y) != (by > y)) & (x < ex * (y - ay) / ey + ax)
        return np.where(inside, -1.0, 1.0).astype(np.float32) * np.sqrt(d)

    return f


def _box(cx, cy, hx, hy):
    return lambda x, y: np.maximum(np.abs(x - cx) - hx, np.abs(y - cy) - hy)


def _disc(cx, cy, r):
    return lambda x, y: np.sqrt((x - cx) ** 2 + (y - cy) ** 2) - r


def _union(*fs):
    return lambda x, y: np.minimum.reduce([f(x, y) for f in fs])


def _minus(a, b):
    return lambda x, y: np.maximum(a(x, y), -b(x, y))


def _ring(r, w):
    return lambda x, y: np.abs(np.sqrt(x * x + y * y) - r) - w


def _hexagon(r):
    return lambda x, y: np.maximum(np.abs(y), np.abs(x) * 0.8660254 + np.abs(y) * 0.5) - r * 0.8660254


def _rhombus(a, b):
    return lambda x, y: (np.abs(x) * b + np.abs(y) * a - a * b) / math.hypot(a, b)


def _ellipse(cx, cy, a, b):
    return lambda x, y: (np.sqrt(((x - cx) / a) ** 2 + ((y - cy) / b) ** 2) - 1) * min(a, b)


def _strokes(lines, w):
    def f(x, y):
        d = np.full(x.shape, 1e9, np.float32)
        for (ax, ay), (bx, by) in lines:
            ex, ey = bx - ax, by - ay
            wx, wy = x - ax, y - ay
            t = np.clip((wx * ex + wy * ey) / max(ex * ex + ey * ey, 1e-6), 0, 1)
            d = np.minimum(d, np.hypot(wx - ex * t, wy - ey * t))
        return d - w

    return f


_STAR = [
    (
        math.sin(i * math.pi / 5) * (1.0 if i % 2 == 0 else 0.42),
        -math.cos(i * math.pi / 5) * (1.0 if i % 2 == 0 else 0.42) + 0.05,
    )
    for i in range(10)
]
_HEART = _union(
    _disc(-0.44, -0.34, 0.5), _disc(0.44, -0.34, 0.5), _poly([(-0.83, -0.04), (0, -0.42), (0.83, -0.04), (0, 0.92)])
)
_PETALS = _union(*[_disc(0.6 * math.cos(k * math.pi / 3), 0.6 * math.sin(k * math.pi / 3), 0.36) for k in range(6)])
# shape -> parts drawn in order: (sdf, role); role "main" takes the object's colour and pattern
PARTS = {
    "circle": [(_disc(0, 0, 0.95), "main")],
    "square": [(_box(0, 0, 0.84, 0.84), "main")],
    "triangle": [(_poly([(0, -0.92), (0.98, 0.8), (-0.98, 0.8)]), "main")],
    "star": [(_poly(_STAR), "main")],
    "ring": [(_ring(0.68, 0.26), "main")],
    "heart": [(_HEART, "main")],
    "cross": [(_union(_box(0, 0, 0.93, 0.31), _box(0, 0, 0.31, 0.93)), "main")],
    "hexagon": [(_hexagon(0.98), "main")],
    "crescent": [(_minus(_disc(0, 0, 0.95), _disc(0.42, -0.05, 0.75)), "main")],
    "arrow": [(_union(_box(-0.36, 0, 0.58, 0.24), _poly([(0.1, -0.72), (0.98, 0), (0.1, 0.72)])), "main")],
    "diamond": [(_rhombus(0.68, 0.98), "main")],
    "house": [
        (_box(0, 0.38, 0.68, 0.54), "main"),
        (_poly([(0, -0.95), (0.95, -0.12), (-0.95, -0.12)]), "dark"),
        (_box(0, 0.58, 0.2, 0.34), "dark"),
    ],
    "tree": [
        (_box(0, 0.62, 0.15, 0.33), "trunk"),
        (_union(_disc(-0.4, 0.02, 0.42), _disc(0.4, 0.02, 0.42), _disc(0, -0.4, 0.52)), "main"),
    ],
    "flower": [(_PETALS, "main"), (_disc(0, 0, 0.33), "core")],
    "fish": [
        (_union(_ellipse(0.15, 0, 0.8, 0.52), _poly([(-0.3, 0), (-0.95, -0.55), (-0.95, 0.55)])), "main"),
        (_disc(0.55, -0.12, 0.1), "eye"),
    ],
}
# stroke font on a 4 x 6 grid, x 0..4, y 0..6; ";" separates polylines
_FONT = {
    "0": "10 30 41 45 36 16 05 01 10",
    "1": "11 20 26;16 36",
    "2": "01 10 30 41 42 06 46",
    "3": "00 40 23 33 44 45 36 16 05",
    "4": "36 30 04 44",
    "5": "40 00 02 32 43 45 36 06",
    "6": "40 20 03 05 16 36 45 44 33 03",
    "7": "00 40 16",
    "8": "10 30 41 42 33 13 02 01 10;13 04 05 16 36 45 44 33",
    "9": "43 13 02 01 10 30 41 43 26 06",
    "A": "06 20 46;14 34",
    "B": "00 06 36 45 44 33 03;33 42 41 30 00",
    "C": "41 30 10 01 05 16 36 45",
    "D": "00 06 26 45 41 20 00",
    "E": "40 00 06 46;03 33",
    "F": "40 00 06;03 33",
    "G": "41 30 10 01 05 16 36 45 43 23",
    "H": "00 06;40 46;03 43",
    "I": "10 30;20 26;16 36",
    "J": "40 45 36 16 05",
    "K": "00 06;40 03 46",
    "L": "00 06 46",
    "M": "06 00 23 40 46",
    "N": "06 00 46 40",
    "O": "10 30 41 45 36 16 05 01 10",
    "P": "06 00 30 41 42 33 03",
    "Q": "10 30 41 45 36 16 05 01 10;24 46",
    "R": "06 00 30 41 42 33 03;23 46",
    "S": "41 30 10 01 02 13 33 44 45 36 16 05",
    "T": "00 40;20 26",
    "U": "00 05 16 36 45 40",
    "V": "00 26 40",
    "W": "00 16 23 36 40",
    "X": "00 46;40 06",
    "Y": "00 23 40;23 26",
    "Z": "00 40 06 46",
}


def parts(shape):
    if not shape.startswith("glyph:"):
        return PARTS[shape]
    if shape not in PARTS:
        lines = []
        for poly in _FONT[shape[6:]].split(";"):
            pts = [((int(p[0]) - 2) * 0.34, (int(p[1]) - 3) * 0.29) for p in poly.split()]
            lines += list(zip(pts, pts[1:]))
        PARTS[shape] = [(_strokes(lines, 0.13), "main")]
    return PARTS[shape]


def rgb(name):
    return np.array(COLORS[name], np.float32)


def second_color(c):
    v = rgb(c)
    return v * 0.35 if v.mean() > 165 else v * 0.22 + 255 * 0.78


def background(bg, size):
    bg = bg or (DEFAULT_BG,)
    img = np.empty((size, size, 3), np.float32)
    if len(bg) == 1:
        img[:] = rgb(bg[0])
    else:
        t = ((np.arange(size, dtype=np.float32) + 0.5) / size)[:, None, None]
        img[:] = rgb(bg[0]) * (1 - t) + rgb(bg[1]) * t
    return img


def _paint(img, p):
    size = img.shape[0]
    rp = p.r * size
    x0, x1 = max(0, int((p.x - 1.1 * p.r) * size) - 1), min(size, int((p.x + 1.1 * p.r) * size) + 2)
    y0, y1 = max(0, int((p.y - 1.1 * p.r) * size) - 1), min(size, int((p.y + 1.1 * p.r) * size) + 2)
    if x1 <= x0 or y1 <= y0:
        return
    xs = ((np.arange(x0, x1, dtype=np.float32) + 0.5) - p.x * size) / rp
    ys = ((np.arange(y0, y1, dtype=np.float32) + 0.5) - p.y * size) / rp
    x, y = np.broadcast_to(xs[None], (y1 - y0, x1 - x0)), np.broadcast_to(ys[:, None], (y1 - y0, x1 - x0))
    if p.rot:
        c, s = math.cos(p.rot), math.sin(p.rot)
        x, y = c * x + s * y, c * y - s * x
    main = rgb(p.obj.color)
    view = img[y0:y1, x0:x1]
    for f, role in parts(p.obj.shape):
        a = np.clip(0.5 - f(x, y) * rp, 0, 1)[..., None]
        col = {
            "dark": main * 0.55 if main.mean() > 60 else main * 0.4 + 90,
            "trunk": rgb("brown") if p.obj.color != "brown" else rgb("black"),
            "core": rgb("yellow") if p.obj.color != "yellow" else rgb("orange"),
            "eye": rgb("white") if main.mean() < 165 else rgb("black"),
        }.get(role, main)
        if role == "main" and p.obj.pattern != "solid":
            if p.obj.pattern == "striped":
                d = (np.abs((y / 0.5) % 1 - 0.5) - 0.25) * 0.5
            else:
                d = np.hypot((x / 0.62 + 0.5) % 1 - 0.5, (y / 0.62 + 0.5) % 1 - 0.5) * 0.62 - 0.17
            k = np.clip(0.5 - d * rp, 0, 1)[..., None]
            col = main * (1 - k) + second_color(p.obj.color) * k
        view[:] = view * (1 - a) + col * a


def render(placed, bg=(), size=256):
    """-> uint8 [size, size, 3]"""
    img = background(bg, size)
    for p in placed:
        _paint(img, p)
    return np.clip(img + 0.5, 0, 255).astype(np.uint8)


def mask(shape, size=64, r=0.45):
    """Filled silhouette (union of parts) in a square, used as a template by the evaluation."""
    g = (np.arange(size, dtype=np.float32) + 0.5 - size / 2) / (size * r)
    x, y = np.meshgrid(g, g)
    return np.minimum.reduce([f(x, y) for f, _ in parts(shape)]) < 0
