# mypy: disable-error-code="import-untyped, untyped-decorator, no-untyped-def, no-untyped-call, no-any-unimported"
"""Triton kernels of TV-L1: warp and linearise, median, and one whole inner iteration in a single pass over memory.

An inner iteration reads flow (2), dual (4) and terms (3) of a pixel and writes flow and dual (6): 15 floats, 60 bytes,
each once from memory; the neighbours that its stencil needs come from the cache. Flow and dual alternate between two
buffers. Each pair stops by itself: the partial sums of its change lie in memory, and the blocks of a pair whose last
sum is within the limit return at once. Sums have a fixed order, so that equal input gives equal bytes.

Triton's interpreter (``TRITON_INTERPRET=1``) runs them on a CPU, which is how the tests check them without a GPU.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from worker.video.flow.median_kernels import median5, pixels

ROWS, COLUMNS = 8, 128  # of a tile: rows of 512 bytes, one pixel above and beside it comes from the cache
WARPS = 4


class Numbers(NamedTuple):
    """Parameters of a warp: see `worker.video.flow.tvl1.TVL1`.

    Attributes:
        reach: lambda theta, the largest step of the data term in gradients.
        theta: coupling.
        rate: tau / theta.
        limit: sum of squared changes at which a pair is done.
        inner: iterations between two median filters.
        outer: median filters.
    """

    reach: float
    theta: float
    rate: float
    limit: float
    inner: int
    outer: int


def solve(numbers: Numbers, first: Tensor, images: Tensor, flow: Tensor, dual: Tensor) -> tuple[Tensor, Tensor]:
    """Iterate one warp of N pairs to its end.

    Args:
        numbers: the parameters.
        first: float32 (N, H, W).
        images: second frame, its d/dx and its d/dy: float32 (N, 3, H, W).
        flow: float32 (N, 2, H, W).
        dual: float32 (N, 4, H, W).

    Returns:
        The next flow and dual.
    """
    height, width = first.shape[-2:]
    tiles = triton.cdiv(height, ROWS) * triton.cdiv(width, COLUMNS)
    size = {"HEIGHT": height, "WIDTH": width, "ROWS": ROWS, "COLUMNS": COLUMNS, "num_warps": WARPS}
    terms = torch.empty_like(images)
    _linearise[(tiles, len(flow))](first, images.contiguous(), flow.contiguous(), terms, **size)
    flows, duals = [flow.clone(), torch.empty_like(flow)], [dual.clone(), torch.empty_like(dual)]
    flow, dual = torch.empty_like(flow), torch.empty_like(dual)
    active = torch.arange(len(flow), device=flow.device, dtype=torch.int32)
    steps = torch.zeros(len(flow), device=flow.device, dtype=torch.int32)
    for _ in range(numbers.outer):
        grid = (tiles, len(active))
        median5[(grid[0], 2 * grid[1])](active, flows[0], flows[1], **size)
        flows.reverse()
        errors = torch.empty(numbers.inner, len(active), tiles, device=flow.device)
        for step in range(numbers.inner):
            state = (flows[step % 2], duals[step % 2], flows[1 - step % 2], duals[1 - step % 2])
            _iterate[grid](active, steps, errors, *state, terms, step, len(active), *numbers[:4], TILES=tiles,
                           SUMS=triton.next_power_of_2(tiles), **size)  # fmt: skip
        done = steps[active].long()
        moving = (done == numbers.inner) & (errors[-1].sum(dim=-1) > numbers.limit)
        for parity in (0, 1):
            ended = active[~moving & (done % 2 == parity)].long()
            flow[ended], dual[ended] = flows[parity][ended], duals[parity][ended]
        active = active[moving]
        if numbers.inner % 2:
            flows.reverse()
            duals.reverse()
        if len(active) == 0:
            return flow, dual
    left = active.long()
    flow[left], dual[left] = flows[0][left], duals[0][left]
    return flow, dual


@triton.jit
def _cubic(t):
    """Return the weights of four pixels, as `worker.video.flow.images.cubic_weights`."""
    before = ((-0.75 * (t + 1.0) + 3.75) * (t + 1.0) - 6.0) * (t + 1.0) + 3.0
    here = (1.25 * t - 2.25) * t * t + 1.0
    far = 1.0 - t
    after = (1.25 * far - 2.25) * far * far + 1.0
    return before, here, after, 1.0 - before - here - after


@triton.jit
def _cubic_row(image, y, x, a, b, c, d, ok, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """Return four pixels of a row, weighted; what lies outside the image counts as 0."""
    row = image + y * WIDTH
    ok = ok & (y >= 0) & (y < HEIGHT)
    value = tl.load(row + x - 1, mask=ok & (x >= 1) & (x <= WIDTH), other=0.0) * a
    value += tl.load(row + x, mask=ok & (x >= 0) & (x < WIDTH), other=0.0) * b
    value += tl.load(row + x + 1, mask=ok & (x >= -1) & (x < WIDTH - 1), other=0.0) * c
    value += tl.load(row + x + 2, mask=ok & (x >= -2) & (x < WIDTH - 2), other=0.0) * d
    return value


@triton.jit
def _cubic_read(image, y, x, t, s, ok, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """Return the image at (y + s, x + t)."""
    a, b, c, d = _cubic(t)
    e, f, g, h = _cubic(s)
    value = _cubic_row(image, y - 1, x, a, b, c, d, ok, HEIGHT, WIDTH) * e
    value += _cubic_row(image, y, x, a, b, c, d, ok, HEIGHT, WIDTH) * f
    value += _cubic_row(image, y + 1, x, a, b, c, d, ok, HEIGHT, WIDTH) * g
    value += _cubic_row(image, y + 2, x, a, b, c, d, ok, HEIGHT, WIDTH) * h
    return value


@triton.jit
def _linearise(first, images, flow, terms, HEIGHT: tl.constexpr, WIDTH: tl.constexpr,
               ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # fmt: skip
    """Write d/dx, d/dy and rho of the warped second frame: terms (N, 3, H, W)."""
    y, x = pixels(WIDTH, ROWS, COLUMNS)
    ok = (y < HEIGHT) & (x < WIDTH)
    offset, plane = y * WIDTH + x, HEIGHT * WIDTH
    pair = tl.program_id(1).to(tl.int64)
    u = tl.load(flow + pair * 2 * plane + offset, mask=ok, other=0.0)
    v = tl.load(flow + (pair * 2 + 1) * plane + offset, mask=ok, other=0.0)
    at_x = tl.minimum(tl.maximum(x + u, -4.0), WIDTH + 4.0)
    at_y = tl.minimum(tl.maximum(y + v, -4.0), HEIGHT + 4.0)
    left, top = tl.floor(at_x), tl.floor(at_y)
    column, row = left.to(tl.int32), top.to(tl.int32)
    image = images + pair * 3 * plane
    warped = _cubic_read(image, row, column, at_x - left, at_y - top, ok, HEIGHT, WIDTH)
    dx = _cubic_read(image + plane, row, column, at_x - left, at_y - top, ok, HEIGHT, WIDTH)
    dy = _cubic_read(image + 2 * plane, row, column, at_x - left, at_y - top, ok, HEIGHT, WIDTH)
    rho = warped - dx * u - dy * v - tl.load(first + pair * plane + offset, mask=ok, other=0.0)
    out = terms + pair * 3 * plane + offset
    tl.store(out, dx, mask=ok)
    tl.store(out + plane, dy, mask=ok)
    tl.store(out + 2 * plane, rho, mask=ok)


@triton.jit
def _moved(flow, dual, terms, y, x, ok, reach, theta, HEIGHT: tl.constexpr, WIDTH: tl.constexpr):
    """Return the next flow at pixels, x and y, and the squared length of its change."""
    offset, plane = y * WIDTH + x, HEIGHT * WIDTH
    u = tl.load(flow + offset, mask=ok, other=0.0)
    v = tl.load(flow + plane + offset, mask=ok, other=0.0)
    dx = tl.load(terms + offset, mask=ok, other=0.0)
    dy = tl.load(terms + plane + offset, mask=ok, other=0.0)
    rho = tl.load(terms + 2 * plane + offset, mask=ok, other=0.0) + (dx * u + dy * v)
    square = dx * dx + dy * dy
    along = tl.where(square > 1.1920928955078125e-07, -rho / tl.maximum(square, 1.1920928955078125e-07), 0.0)
    along = tl.where(rho < -reach * square, reach, tl.where(rho > reach * square, -reach, along))
    inner_x, inner_y = ok & (x > 0), ok & (y > 0)
    smooth_u = tl.load(dual + offset, mask=ok, other=0.0) + tl.load(dual + plane + offset, mask=ok, other=0.0)
    smooth_u -= tl.load(dual + offset - 1, mask=inner_x, other=0.0)
    smooth_u -= tl.load(dual + plane + offset - WIDTH, mask=inner_y, other=0.0)
    dual += 2 * plane
    smooth_v = tl.load(dual + offset, mask=ok, other=0.0) + tl.load(dual + plane + offset, mask=ok, other=0.0)
    smooth_v -= tl.load(dual + offset - 1, mask=inner_x, other=0.0)
    smooth_v -= tl.load(dual + plane + offset - WIDTH, mask=inner_y, other=0.0)
    change_u, change_v = along * dx + theta * smooth_u, along * dy + theta * smooth_v
    return u + change_u, v + change_v, change_u * change_u + change_v * change_v


@triton.jit
def _dual_step(dual, out, dx, dy, offset, ok, rate, plane):
    """Write the next dual variable of one component from the gradient of its flow."""
    norm = 1.0 + rate * tl.sqrt(dx * dx + dy * dy)
    tl.store(out + offset, (tl.load(dual + offset, mask=ok, other=0.0) + rate * dx) / norm, mask=ok)
    tl.store(out + plane + offset, (tl.load(dual + plane + offset, mask=ok, other=0.0) + rate * dy) / norm, mask=ok)


@triton.jit
def _iterate(active, steps, errors, flow, dual, next_flow, next_dual, terms, step, count, reach, theta, rate, limit,
             HEIGHT: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
             TILES: tl.constexpr, SUMS: tl.constexpr):  # fmt: skip
    """Make one primal and one dual step of a pair, unless its last change was within the limit."""
    slot = tl.program_id(1)
    pair = tl.load(active + slot).to(tl.int64)
    mine = errors + (step * count + slot) * TILES
    if step > 0:
        tiles = tl.arange(0, SUMS)
        before = tl.sum(tl.load(mine - count * TILES + tiles, mask=tiles < TILES, other=0.0))
        if before <= limit:
            tl.store(mine + tl.program_id(0), 0.0)
            return
    plane: tl.constexpr = HEIGHT * WIDTH
    y, x = pixels(WIDTH, ROWS, COLUMNS)
    ok = (y < HEIGHT) & (x < WIDTH)
    right, below = ok & (x + 1 < WIDTH), ok & (y + 1 < HEIGHT)
    flow, dual, terms = flow + pair * 2 * plane, dual + pair * 4 * plane, terms + pair * 3 * plane
    u, v, change = _moved(flow, dual, terms, y, x, ok, reach, theta, HEIGHT, WIDTH)
    u_right, v_right, _ = _moved(flow, dual, terms, y, x + 1, right, reach, theta, HEIGHT, WIDTH)
    u_below, v_below, _ = _moved(flow, dual, terms, y + 1, x, below, reach, theta, HEIGHT, WIDTH)
    offset = y * WIDTH + x
    out = next_flow + pair * 2 * plane
    tl.store(out + offset, u, mask=ok)
    tl.store(out + plane + offset, v, mask=ok)
    out = next_dual + pair * 4 * plane
    dx, dy = tl.where(right, u_right - u, 0.0), tl.where(below, u_below - u, 0.0)
    _dual_step(dual, out, dx, dy, offset, ok, rate, plane)
    dx, dy = tl.where(right, v_right - v, 0.0), tl.where(below, v_below - v, 0.0)
    _dual_step(dual + 2 * plane, out + 2 * plane, dx, dy, offset, ok, rate, plane)
    tl.store(mine + tl.program_id(0), tl.sum(tl.where(ok, change, 0.0)))
    if tl.program_id(0) == 0:
        tl.store(steps + pair, step + 1)
