"""Provide the grids of harmonic.py: planes in frames of zeros, the system on one grid, and its coarser grid.

    A x = free * (diagonal * x - [1 2 1] x [1 2 1] x)        free: 1 where a pixel is unknown, and x is 0 elsewhere

Planes are stored one after the other in frames of zeros, where a shift is an offset. Every step writes into preallocated
buffers, through preallocated views.
"""

import torch
from torch import Tensor

STRETCH = 1.2  # factor on the coarse correction, because coarse systems are too stiff at the border of a hole


class PlaneFrame:
    """Planes of one size in frames of zeros, and the buffers for the steps on them.

    A frame is one pixel above and left, one or two below and right. So the points of the coarser grid have odd
    indices along both axes, with neighbours on both sides. In `sums` and `spare` the frame is not zero.
    """

    def __init__(self, count: int, size: tuple[int, int], like: Tensor) -> None:
        self.like, self.size = like, size
        self.coarse_size = size[0] // 2 + 1, size[1] // 2 + 1  # the last point may be just outside the image
        self.framed = count, 2 * self.coarse_size[0] + 1, 2 * self.coarse_size[1] + 1
        self.down, self.end = self.framed[2], count * self.framed[1] * self.framed[2]
        self.sums, self.spare = Planes(self), Planes(self)
        self.half = like.new_zeros(count, self.coarse_size[0], self.framed[2])
        self._cut()
        inside = Planes(self)
        inside.pixels.fill_(1)
        self.neighbours = torch.where(inside.all > 0, self.spread(inside), 8)  # a pixel has weight 4 for itself

    def _cut(self) -> None:
        """Make all views of the buffers once, because making a view takes as long as a small sum."""
        down, left = self.down, self.end - 2 * self.down
        spare, sums = self.spare.all.view(-1), self.sums.all.view(-1)
        self._pairs = spare[: left + down]
        self._additions = (
            (spare[:left], spare[down : left + down], sums[:left]),
            (sums[: left - 1], sums[1:left], spare[: left - 1]),
            (spare[: left - 2], spare[1 : left - 1], sums[down + 1 : left + down - 1]),
        )
        sums, spare = (planes.all.view(self.framed) for planes in (self.sums, self.spare))
        across = self.half[..., ::2]
        self.gather_down = sums[:, :-1:2], sums[:, 2::2], sums[:, 1::2]
        self.gather_across = across[..., :-1], across[..., 1:], self.half[..., 1::2]
        self.spread_across = self.half[..., 1::2], across[..., 1:-1]
        self.spread_down = spare[:, 1::2], spare[:, 2:-1:2], self.half[:, :-1], self.half[:, 1:]

    def spread(self, x: "Planes") -> Tensor:  # (count, n)
        """Return [1 2 1] x [1 2 1] of x, in `sums`."""
        torch.add(x.upper, x.lower, out=self._pairs)
        for first, second, out in self._additions:
            torch.add(first, second, out=out)
        return self.sums.all


class Planes:
    """A vector (count, n) of framed planes, and its parts."""

    def __init__(self, frame: PlaneFrame) -> None:
        self.all = frame.like.new_zeros(frame.framed).flatten(1)
        self.pixels = self.all.view(frame.framed)[:, 1 : 1 + frame.size[0], 1 : 1 + frame.size[1]]
        flat = self.all.view(-1)
        self.upper, self.lower = flat[: frame.end - frame.down], flat[frame.down :]


class Grid:
    """One grid: the system A x = free * (diagonal * x - spread(x)). If `free` is 0, x is 0 and `right` is not read."""

    def __init__(self, frame: PlaneFrame) -> None:
        self.frame = frame
        self.free, self.right, self.x, self.other = (Planes(frame) for _ in range(4))
        self.jacobi = Planes(frame).all
        self.set_diagonal(frame.neighbours)

    def set_diagonal(self, diagonal: Tensor) -> None:
        """Set the diagonal, including the weight 4 of a pixel itself, and the factor of x after a sweep."""
        self.diagonal = diagonal
        self.rest = -4 / (diagonal - 4)
        torch.mul(self.free.all, self.rest, out=self.jacobi).mul_(-0.25)

    def negative(self, x: Planes) -> Tensor:  # (count, n)
        """Return -A x, in the frame's `sums`; it is not zero where `free` is 0."""
        return self.frame.spread(x).addcmul_(self.diagonal, x.all, value=-1)

    def first_sweep(self) -> None:
        """Sweep from 0: set `x`, and the frame's `sums` to the residual of `right`."""
        torch.mul(self.jacobi, self.right.all, out=self.x.all)
        self.frame.spread(self.x).addcmul_(self.rest, self.right.all).mul_(self.free.all)

    def last_sweep(self) -> None:
        """Sweep `x`: x + jacobi * (right - A x)."""
        sums = self.frame.spread(self.x).add_(self.right.all).mul_(self.jacobi)
        torch.addcmul(sums, self.rest, self.x.all, out=self.x.all)


class Link:
    """A grid and some planes of the next coarser one."""

    def __init__(self, fine: Grid, coarse: Grid, planes: slice) -> None:
        self.fine, self.frame = fine, fine.frame
        self.right, self.x, self.free = (one.pixels[planes] for one in (coarse.right, coarse.x, coarse.free))
        self._lower, self._upper = self.x[..., :-1], self.x[..., 1:]

    def restrict(self, out: Tensor) -> None:  # (count, h', w')
        """Write P^T sums: a coarse point receives itself (every second pixel) and half of its neighbours on each side."""
        above, below, own = self.frame.gather_down
        torch.add(above, below, out=self.frame.half)
        torch.add(own, self.frame.half, alpha=0.5, out=self.frame.half)
        before, behind, own = self.frame.gather_across
        torch.add(before, behind, out=out)
        torch.add(own, out, alpha=0.5, out=out)

    def correct(self) -> None:
        """Add P x of the coarser grid (linear interpolation) to `x`."""
        own, between = self.frame.spread_across
        torch.mul(self.x, 2, out=own)
        torch.add(self._lower, self._upper, out=between)
        own, between, above, below = self.frame.spread_down
        torch.mul(self.frame.half, 2, out=own)
        torch.add(above, below, out=between)
        self.fine.x.all.addcmul_(self.fine.free.all, self.frame.spare.all, value=STRETCH / 4)

    def set_coarse_system(self) -> None:
        """Set the coarser grid's `free`, and in `x` the weights of its points to kept pixels, as -P^T A P 1."""
        self.frame.sums.all.copy_(self.fine.free.all)
        self.restrict(self.free)
        self.free.sign_()
        self.fine.negative(self.fine.free).mul_(self.fine.free.all)
        self.restrict(self.x)
