# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def, no-untyped-call, no-any-unimported"
"""The Triton kernel of the 5 x 5 median, by networks of comparisons in registers, and how kernels are tiled."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def pixels(WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Return rows and columns of this program's tile, (ROWS, COLUMNS) each."""
    across = (WIDTH + COLUMNS - 1) // COLUMNS
    tile = tl.program_id(0)
    y = (tile // across) * ROWS + tl.arange(0, ROWS)[:, None]
    x = (tile % across) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    return y + 0 * x, x + 0 * y


@triton.jit
def _sort2(a, b):
    return tl.minimum(a, b), tl.maximum(a, b)


@triton.jit
def _sort5(a, b, c, d, e):
    """Sort five values by a network of nine comparisons."""
    a, b = _sort2(a, b)
    d, e = _sort2(d, e)
    c, e = _sort2(c, e)
    c, d = _sort2(c, d)
    b, e = _sort2(b, e)
    a, d = _sort2(a, d)
    a, c = _sort2(a, c)
    b, d = _sort2(b, d)
    b, c = _sort2(b, c)
    return a, b, c, d, e


@triton.jit
def _row_of_5(image, y, x, ok, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """Return the five pixels around x in row y, sorted; a border pixel repeats."""
    row = image + tl.minimum(tl.maximum(y, 0), HEIGHT - 1) * WIDTH
    return _sort5(
        tl.load(row + tl.maximum(x - 2, 0), mask=ok, other=0.0),
        tl.load(row + tl.maximum(x - 1, 0), mask=ok, other=0.0),
        tl.load(row + x, mask=ok, other=0.0),
        tl.load(row + tl.minimum(x + 1, WIDTH - 1), mask=ok, other=0.0),
        tl.load(row + tl.minimum(x + 2, WIDTH - 1), mask=ok, other=0.0),
    )


@triton.jit
def _without_ends(a, b, c, d, e):
    """Return the three of five values that are neither the least nor the greatest."""
    a, b, c, d, e = _sort5(a, b, c, d, e)
    return b, c, d


@triton.jit
def _median_of_13(a, b, c, d, e, f, g, h, i, j, k, m, n):
    """Return the median: of one more than half of the values, least and greatest cannot be it, eight times over."""
    # eight values: sort two halves, drop the ends of both
    a, b = _sort2(a, b)
    c, d = _sort2(c, d)
    e, f = _sort2(e, f)
    g, h = _sort2(g, h)
    a, c = _sort2(a, c)
    e, g = _sort2(e, g)
    a, e = _sort2(a, e)  # a is the least of eight
    b, d = _sort2(b, d)
    f, h = _sort2(f, h)
    d, h = _sort2(d, h)  # h is the greatest of eight
    # seven: b c d e f g, i
    b, c = _sort2(b, c)
    d, e = _sort2(d, e)
    f, g = _sort2(f, g)
    b, d = _sort2(b, d)
    f, i = _sort2(f, i)
    b, f = _sort2(b, f)
    c, e = _sort2(c, e)
    g, i = _sort2(g, i)
    e, i = _sort2(e, i)
    # six: c d e f g, j
    c, d = _sort2(c, d)
    e, f = _sort2(e, f)
    g, j = _sort2(g, j)
    c, e = _sort2(c, e)
    c, g = _sort2(c, g)
    d, f = _sort2(d, f)
    f, j = _sort2(f, j)
    # five: d e f g, k; then three and the last two
    e, f, g = _without_ends(d, e, f, g, k)
    e, f = _sort2(e, f)
    f, g = _sort2(f, g)
    e, f = _sort2(e, f)
    # e <= f <= g and m: drop the ends of four, then the middle of three
    low, high = tl.maximum(e, tl.minimum(f, m)), tl.minimum(g, tl.maximum(f, m))
    low, high = _sort2(low, high)
    return tl.maximum(low, tl.minimum(high, n))


@triton.jit
def median5(active, flow, out, HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Write the median of 5 x 5 pixels of one component of a pair's flow, as `worker.video.flow.images.median5`."""
    y, x = pixels(WIDTH, ROWS, COLUMNS)
    ok = (y < HEIGHT) & (x < WIDTH)
    x = tl.minimum(x, WIDTH - 1)
    pair = tl.load(active + tl.program_id(1) // 2).to(tl.int64)
    shift = (pair * 2 + tl.program_id(1) % 2) * HEIGHT * WIDTH
    image = flow + shift
    a0, a1, a2, a3, a4 = _row_of_5(image, y - 2, x, ok, HEIGHT, WIDTH)
    b0, b1, b2, b3, b4 = _row_of_5(image, y - 1, x, ok, HEIGHT, WIDTH)
    c0, c1, c2, c3, c4 = _row_of_5(image, y, x, ok, HEIGHT, WIDTH)
    d0, d1, d2, d3, d4 = _row_of_5(image, y + 1, x, ok, HEIGHT, WIDTH)
    e0, e1, e2, e3, e4 = _row_of_5(image, y + 2, x, ok, HEIGHT, WIDTH)
    a0, b0, c0, d0, e0 = _sort5(a0, b0, c0, d0, e0)
    a1, b1, c1, d1, e1 = _sort5(a1, b1, c1, d1, e1)
    a2, b2, c2, d2, e2 = _sort5(a2, b2, c2, d2, e2)
    a3, b3, c3, d3, e3 = _sort5(a3, b3, c3, d3, e3)
    a4, b4, c4, d4, e4 = _sort5(a4, b4, c4, d4, e4)
    middle = _median_of_13(a3, a4, b2, b3, b4, c1, c2, c3, d0, d1, d2, e0, e1)
    tl.store(out + shift + y * WIDTH + x, middle, mask=ok)
