"""Makes tests/golden/media with Pillow 11.3 and numpy: small synthetic pictures of every kind and what PIL makes of them.

Pillow must be older than 13, which changed the order of the two resampling passes.

usage: python tools/make_test_pictures.py tests/golden/media
"""
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)


def synthetic(height, width, channels=3, top=255):
    """Smooth waves, hard edges and noise, so that every filter has something to get wrong."""
    y, x = np.mgrid[0:height, 0:width]
    generator = np.random.default_rng(height * 1000 + width)
    planes = []
    for c in range(channels):
        wave = 0.5 + 0.5 * np.sin(x / (2.0 + c) + y / (5.0 - c))
        edge = ((x // 5 + y // (4 + c)) % 2).astype(float)
        planes.append(0.4 * wave + 0.4 * edge + 0.2 * generator.random((height, width)))
    return np.clip(np.stack(planes, -1) * top + 0.5, 0, top)


def picture(height, width, mode="RGB"):
    values = synthetic(height, width, len(mode)).astype(np.uint8)
    return Image.fromarray(values[..., 0] if len(mode) == 1 else values, mode)


def expect(name, image):
    """What diffusers' load_image gives."""
    ImageOps.exif_transpose(image).convert("RGB").save(folder / f"{name}.expected.png")


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(name, header, raw, extra=b""):
    """A PNG of a kind PIL does not write; `raw` are the filtered rows."""
    (folder / name).write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", *header)) + extra
                                + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b""))


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]


def interlaced_rows(values):
    rows = b""
    for left, top, across, down in ADAM7:
        part = values[top::down, left::across]
        if part.size:
            rows += b"".join(b"\0" + row.tobytes() for row in part)
    return rows


def plain_rows(values):
    return b"".join(b"\0" + row.tobytes() for row in values)


# Resampling.
source = picture(37, 53)
source.save(folder / "source.png")
FILTERS = {"lanczos": Image.LANCZOS, "bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR}
for height, width in [(16, 16), (37, 20), (80, 53), (64, 96), (5, 3), (1, 1), (36, 54)]:
    for name, resample in FILTERS.items():
        source.resize((width, height), resample).save(folder / f"resize_{name}_{height}x{width}.png")

# Kinds of PNG.
for mode in ("L", "LA", "RGBA"):
    image = picture(17, 23, mode)
    image.save(folder / f"png_{mode.lower()}.png")
picture(17, 23, "L").convert("1").save(folder / "png_1bit.png")
picture(17, 23).quantize(200).save(folder / "png_palette.png")
picture(17, 23).quantize(13).save(folder / "png_palette4.png", bits=4)
transparent = picture(17, 23).quantize(50)
transparent.save(folder / "png_palette_transparent.png", transparency=3)
sixteen = synthetic(17, 23, 3, 65535).astype(">u2")
png("png_rgb16.png", (23, 17, 16, 2, 0, 0, 0), plain_rows(sixteen))
png("png_rgba16.png", (23, 17, 16, 6, 0, 0, 0), plain_rows(synthetic(17, 23, 4, 65535).astype(">u2")))
png("png_interlaced.png", (23, 17, 8, 2, 0, 0, 1), interlaced_rows(synthetic(17, 23).astype(np.uint8)))
png("png_interlaced_1x1.png", (1, 1, 8, 2, 0, 0, 1), interlaced_rows(synthetic(1, 1).astype(np.uint8)))
grey4 = np.packbits(np.unpackbits(np.arange(17 * 12, dtype=np.uint8).reshape(17, 12), axis=1), axis=1)
png("png_grey4.png", (23, 17, 4, 0, 0, 0, 0), plain_rows(grey4))
png("png_rgb_transparent.png", (23, 17, 8, 2, 0, 0, 0), plain_rows(synthetic(17, 23).astype(np.uint8)),
    chunk(b"tRNS", struct.pack(">HHH", 10, 20, 30)))
for name in ("l", "la", "rgba", "1bit", "palette", "palette4", "palette_transparent", "rgb16", "rgba16", "interlaced",
             "interlaced_1x1", "grey4", "rgb_transparent"):
    expect(f"png_{name}", Image.open(folder / f"png_{name}.png"))
png("png_grey16.png", (23, 17, 16, 0, 0, 0, 0), plain_rows(sixteen[..., 0]))

# Kinds of JPEG.
picture(17, 23).save(folder / "jpeg_420.jpg", quality=85)
picture(17, 23).save(folder / "jpeg_444_progressive.jpg", quality=90, subsampling=0, progressive=True)
picture(17, 23, "L").save(folder / "jpeg_grey.jpg", quality=85)
Image.fromarray(synthetic(17, 23, 4).astype(np.uint8), "CMYK").save(folder / "jpeg_cmyk.jpg", quality=85)
for name in ("420", "444_progressive", "grey", "cmyk"):
    expect(f"jpeg_{name}", Image.open(folder / f"jpeg_{name}.jpg"))

# Kinds of WebP.
picture(17, 23).save(folder / "webp_lossy.webp", quality=80)
picture(17, 23, "RGBA").save(folder / "webp_alpha.webp", quality=80)
picture(17, 23).save(folder / "webp_lossless.webp", lossless=True)
for name in ("lossy", "alpha", "lossless"):
    expect(f"webp_{name}", Image.open(folder / f"webp_{name}.webp"))
picture(17, 23).save(folder / "animated.webp", save_all=True, append_images=[picture(17, 23).rotate(180)], duration=100)

# Orientations.
for orientation in range(1, 9):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture(5, 7).save(folder / f"turned_{orientation}.png", exif=exif)
    expect(f"turned_{orientation}", Image.open(folder / f"turned_{orientation}.png"))
exif = Image.Exif()
exif[0x0112] = 6
picture(17, 23).save(folder / "turned_6.jpg", exif=exif)
picture(17, 23).save(folder / "turned_6.webp", exif=exif, lossless=True)
expect("turned_6_jpg", Image.open(folder / "turned_6.jpg"))
expect("turned_6_webp", Image.open(folder / "turned_6.webp"))
