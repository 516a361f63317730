"""Loops over values in memory, compiled by numba: one pass over memory each.

Values of feature maps are float32, or bfloat16 as 16 bits, in a flat array (n,) in which channels
change fastest. What belongs to a channel is repeated as often as it fits into a tile (t,), so that
one loop runs over a tile with full vectors, however few the channels. Arithmetic is in float32,
rounded once.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fmnist_models.files import has_home

WORD, HALF = ir.IntType(32), ir.IntType(16)
KEPT = has_home()
"""Whether what was compiled is kept: without a known home numba would make a folder called ~."""
compiled = numba.njit(nogil=True, cache=KEPT, fastmath={"contract"}, error_model="numpy")
cut = numba.njit("void(u1[::1], i8[::1], b1[::1], i8, u1[:, :, ::1])", nogil=True, cache=KEPT)


@intrinsic
def widened(typing: Any, value: Any) -> Any:
    """A float32, or the bits of a bfloat16, as float32."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if value != types.uint16:
            return args[0]
        bits = builder.shl(builder.zext(args[0], WORD), WORD(16))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(value), generate


@intrinsic
def narrowed(typing: Any, value: Any, like: Any) -> Any:
    """A float32 as what `like` is: itself, or the bits of the nearest bfloat16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        if like != types.uint16:
            return args[0]
        bits = builder.bitcast(args[0], WORD)
        is_odd = builder.and_(builder.lshr(bits, WORD(16)), WORD(1))
        rounded = builder.add(bits, builder.add(is_odd, WORD(0x7FFF)))
        return builder.trunc(builder.lshr(rounded, WORD(16)), HALF)

    return like(types.float32, like), generate


@cut
def crops(pixels, starts, mirrored, stride, found):
    """Write into `found` (B, side, side) the part of a plane that begins at each of starts (B,).

    pixels: planes with rows of `stride`, flat; where mirrored (B,) is set, from right to left.
    """
    side = found.shape[1]
    for b in range(len(starts)):
        for i in range(side):
            row = pixels[starts[b] + i * stride : starts[b] + i * stride + side]
            if mirrored[b]:
                found[b, i] = row[::-1]
            else:
                found[b, i] = row


@compiled
def sums(x, shift):
    """Sums over tiles of x (n,) minus `shift` (t,), and of its square: (2, t)."""
    found = np.zeros((2, len(shift)), np.float32)
    total, squares = found[0], found[1]
    for start in range(0, len(x), len(shift)):
        part = x[start : start + len(shift)]
        for i in range(len(part)):
            value = widened(part[i]) - shift[i]
            total[i] += value
            squares[i] += value * value
    return found


@compiled
def scaled(x, y, scale, offset, floor):
    """Write x * scale + offset, `floor` at least, into y: x, y (n,), the others (t,)."""
    for start in range(0, len(x), len(scale)):
        part, out = x[start : start + len(scale)], y[start : start + len(scale)]
        for i in range(len(part)):
            value = widened(part[i]) * scale[i] + offset[i]
            out[i] = narrowed(floor if value <= floor else value, part[i])


@compiled
def gradient_sums(grad, x, mean, scale, offset, floor):
    """Sums over tiles of the gradient of x * scale + offset, and of it times x - mean: (2, t).

    grad (n,) is that of `scaled`, so nothing where that gave the floor.
    """
    found = np.zeros((2, len(scale)), np.float32)
    total, products = found[0], found[1]
    for start in range(0, len(x), len(scale)):
        part, above = x[start : start + len(scale)], grad[start : start + len(scale)]
        for i in range(len(part)):
            value, slope = widened(part[i]), widened(above[i])
            if value * scale[i] + offset[i] <= floor:
                slope = np.float32(0)
            total[i] += slope
            products[i] += slope * (value - mean[i])
    return found


@compiled
def gradients(grad, x, below, of_x, rest, scale, offset, floor):
    """Write grad * scale + x * of_x + rest into `below` (n,), grad as in `gradient_sums`."""
    for start in range(0, len(x), len(scale)):
        part, above = x[start : start + len(scale)], grad[start : start + len(scale)]
        out = below[start : start + len(scale)]
        for i in range(len(part)):
            value, slope = widened(part[i]), widened(above[i])
            if value * scale[i] + offset[i] <= floor:
                slope = np.float32(0)
            out[i] = narrowed(slope * scale[i] + value * of_x[i] + rest[i], part[i])
