"""Fill images harmonically: every removed pixel becomes the weighted mean of its neighbours, for a complete batch.

    d_i x_i = sum_j w_ij x_j     i removed, j its 8 neighbours; w = 1/6 beside, 1/12 across;  d_i = sum_j w_ij over those that exist

This is a sparse symmetric system over the removed pixels, with the kept pixels as boundary. We solve it by conjugate
gradients, preconditioned by one multigrid V-cycle. Three properties of these weights make that fast:

- 12 (D - W) = diag(s s^T) - [1 2 1] x [1 2 1], s = [3 4 ... 4 3]: the stencil is four shifted additions.
- One Jacobi sweep, undamped, reduces any rough error to at most a third.
- A coarser grid uses the same stencil, plus on its diagonal the weights between the removed pixels of a point and kept
  pixels, P^T A P 1. This row sum is exact, so scattered holes, combs and single kept pixels cost no more than one large hole.

The iteration stops when the estimated error, the largest entry of the preconditioned residual, is below `tolerance` times
the range of the kept pixels; this last estimate is then added. Each plane stops independently, so that its batch does not
matter.

Measured at the default tolerance on inputs in [-1, 1]: 3-9 cycles for images of 4 to 224 pixels a side and
20-100 % removed (a blob, an outline, scattered, chequered, striped, all but one pixel); up to 40 for strips
of one pixel; largest error against scipy's spsolve 2e-4, in strips of 4 pixels 3e-4. Plain conjugate
gradients take 80-110 iterations. A second visit of the second grid would save two cycles, but leave a larger error.

Memory access is the cost, not arithmetic. So planes are stored one after the other in frames of zeros (framed_grid.py),
every step writes into a preallocated buffer, and a CPU processes the finest grid plane by plane, in its cache, on one
thread: two threads take twice as long on such small work. A grey image in three channels is one plane.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor

from gradfaith.errors import ImputationFailed
from gradfaith.metrics.imputers.framed_grid import Grid, Link, PlaneFrame, Planes

COARSEST = 8  # pixels a side; solved by a dense inverse, 64 x 64
CACHED = 64_000  # values of the finest grid that a CPU processes at once: ten buffers of this size fit into its cache
TOGETHER = 4  # planes that a CPU solves together: on small grids the function call dominates the cost
TINY = 1e-30  # below any relevant residual, so that 0 / TINY is 0


class FinestGrid(Grid):
    """The grid of the pixels, for a few planes, solved by conjugate gradients from 0; `other` is the direction."""

    def __init__(self, frame: PlaneFrame) -> None:
        super().__init__(frame)
        self.solution = Planes(frame)

    def begin(self, planes: Tensor, keep: Tensor, tolerance: float) -> None:  # (count, h, w) twice
        """Set the system of these planes. Each is shifted by its middle value, and not scaled."""
        self.planes, self.keep, x = planes, keep, planes.to(self.x.all.dtype)
        self.low = x.masked_fill(~keep, torch.inf).amin((1, 2), keepdim=True)  # (count, 1, 1)
        self.high = x.masked_fill(~keep, -torch.inf).amax((1, 2), keepdim=True)
        middle = torch.where(keep, x, 0).sum((1, 2), keepdim=True) / keep.sum((1, 2), keepdim=True)
        self.middle = middle.clamp(
            self.low, self.high
        )  # exactly, so that a constant plane is solved before the first step
        self.free.pixels.copy_(~keep)
        torch.mul(self.free.all, self.rest, out=self.jacobi).mul_(-0.25)
        self.x.pixels.copy_((x - self.middle).masked_fill_(~keep, 0))
        torch.mul(self.frame.spread(self.x), self.free.all, out=self.right.all)
        self.solution.all.zero_(), self.other.all.zero_()
        self.close = (tolerance * (self.high - self.low))[:, 0]  # (count, 1)
        self.last = torch.full_like(self.close, torch.inf)
        self.done = torch.zeros_like(self.close, dtype=torch.bool)

    def advance(self) -> bool:
        """Do one step, with `x` as the estimate of the remaining error; return whether the solution is reached."""
        z, p, right, spare = self.x.all, self.other.all, self.right.all, self.frame.spare.all
        self.done |= torch.abs(z, out=spare).amax(1, keepdim=True) <= self.close
        if bool(self.done.all()):
            self.solution.all.add_(z)
            return True
        now = torch.mul(right, z, out=spare).sum(1, keepdim=True)
        torch.addcmul(z, p, now / self.last.clamp(min=TINY), out=p)
        ap = self.negative(self.other)
        power = torch.mul(p, ap, out=spare).sum(1, keepdim=True).neg_()
        step = torch.where(self.done, 0, now / power.clamp(min=TINY))
        self.solution.all.addcmul_(step, p)
        right.addcmul_(step, ap)
        self.last = now
        return False

    def filled(self) -> Tensor:  # (count, h, w)
        """Return the filled planes; as in the exact solution, no pixel leaves the range of the kept pixels."""
        found = (self.middle + self.solution.pixels).clamp(self.low, self.high)
        return torch.where(self.keep, self.planes, found.to(self.planes.dtype))


class Solver:
    """All grids for `count` planes: the finest for a few planes at a time, each coarser one, half as fine, for all."""

    def __init__(self, count: int, size: tuple[int, int], like: Tensor) -> None:
        at_once = max(1, CACHED // (size[0] * size[1])) if like.is_cpu else count
        self.parts = [slice(start, min(start + at_once, count)) for start in range(0, count, at_once)]
        frames = {length: PlaneFrame(length, size, like) for length in {part.stop - part.start for part in self.parts}}
        self.finest = [FinestGrid(frames[part.stop - part.start]) for part in self.parts]
        self.grids = [Grid(PlaneFrame(count, self.finest[0].frame.coarse_size, like))]
        while max(self.grids[-1].frame.size) > COARSEST:
            self.grids.append(Grid(PlaneFrame(count, self.grids[-1].frame.coarse_size, like)))
        self._first = [Link(grid, self.grids[0], part) for grid, part in zip(self.finest, self.parts, strict=True)]
        self._links = [Link(*pair, slice(None)) for pair in pairwise(self.grids)]
        height, width = self.grids[-1].frame.size
        self._spread = torch.kron(_tridiagonal(height, like), _tridiagonal(width, like))
        self._inverse = like.new_zeros(0)

    def solve(self, planes: Tensor, keep: Tensor, tolerance: float, limit: int) -> Tensor:  # (count, h, w) twice
        """Return the planes with their removed pixels filled."""
        for grid, part in zip(self.finest, self.parts, strict=True):
            grid.begin(planes[part], keep[part], tolerance)
        _require_finite(torch.cat([grid.middle for grid in self.finest]))
        self._set_coarse_systems()
        active = list(range(len(self.parts)))
        for _ in range(limit):
            self._estimate(active)
            active = [number for number in active if not self.finest[number].advance()]
            if not active:
                return torch.cat([grid.filled() for grid in self.finest])
        missed = sum(int((~self.finest[number].done).sum()) for number in active)
        raise ImputationFailed(
            problem=f"the removed pixels of {missed} of {len(planes)} image channels were not filled to a tolerance of {tolerance:g} "
            f"in {limit} iterations.",
            reason="The default tolerance needs about ten iterations for most masks, so this tolerance is probably too small.",
            fix="Set a larger `tolerance` of the imputer noisy_linear in the study: single precision allows about 1e-6 and above.",
        )

    def _set_coarse_systems(self) -> None:
        """Set the systems of all grids but the finest, and invert the coarsest."""
        for links, coarse in zip([self._first, *([link] for link in self._links)], self.grids, strict=True):
            for link in links:
                link.set_coarse_system()
            coarse.set_diagonal(coarse.frame.neighbours - coarse.x.all)
        last = self.grids[-1]
        diagonal = last.diagonal.view(last.frame.framed)[:, 1 : 1 + last.frame.size[0], 1 : 1 + last.frame.size[1]]
        free, diagonal = last.free.pixels.flatten(1), diagonal.flatten(1)  # (count, k)
        system = torch.diag_embed(diagonal) - self._spread
        self._inverse = torch.linalg.inv(free[:, :, None] * system * free[:, None] + torch.diag_embed(1 - free))

    def _estimate(self, active: Sequence[int]) -> None:
        """Set `x` of some of the finest grids to an estimate for their `right`; it is symmetric, as conjugate gradients need."""
        for number in active:
            self.finest[number].first_sweep()
            self._first[number].restrict(self._first[number].right)
        self._cycle(0)
        for number in active:
            self._first[number].correct()
            self.finest[number].last_sweep()

    def _cycle(self, level: int) -> None:
        """Set `x` of a grid to an estimate for its `right`: one sweep, the coarser grids, one sweep."""
        grid = self.grids[level]
        if level == len(self._links):
            right = grid.right.pixels.flatten(1)[:, None]
            grid.x.pixels.copy_((right @ self._inverse).view(-1, *grid.frame.size))
            return
        link = self._links[level]
        grid.first_sweep()
        link.restrict(link.right)
        self._cycle(level + 1)
        link.correct()
        grid.last_sweep()


def _tridiagonal(length: int, like: Tensor) -> Tensor:
    """Return [1 2 1] as a matrix."""
    beside = like.new_ones(length - 1)
    return torch.diag(like.new_full((length,), 2.0)) + torch.diag(beside, 1) + torch.diag(beside, -1)


def _require_finite(middle: Tensor) -> None:
    """Raise ImputationFailed if the mean of a plane's kept pixels is not a finite number."""
    broken = int((~middle.isfinite()).sum())
    if broken:
        raise ImputationFailed(
            problem=f"{broken} of {len(middle)} image channels contain NaN or infinity in pixels that are not removed.",
            reason="A removed pixel is filled with a mean of the other pixels, so it would be NaN or infinite too.",
            fix="Remove NaN and infinity from the images.",
        )


def solve(images: Tensor, keep: Tensor, *, tolerance: float = 1e-4, limit: int = 100) -> Tensor:  # (m, c, h, w)
    """Return the images with their removed pixels filled; `keep` (m, h, w) is true where a pixel stays."""
    keep, channels = keep.bool(), images.shape[1]
    if not bool(keep.flatten(1).any(dim=1).all()):
        raise ImputationFailed(
            problem="an image cannot be filled if all of its pixels are removed.",
            reason="Removed pixels are filled from the others; with none left, every constant solves the equations.",
            fix="Handle such images before calling `solve`; the imputer noisy_linear fills them with the dataset's mean.",
        )
    if channels > 1 and torch.equal(images, images[:, :1].expand_as(images)):
        return solve(images[:, :1], keep, tolerance=tolerance, limit=limit).repeat(1, channels, 1, 1)
    planes = images.flatten(0, 1)
    keep = keep if channels == 1 else keep.repeat_interleave(channels, 0)
    pieces = -(-len(planes) // TOGETHER) if images.is_cpu else 1
    at_once = max(1, -(-len(planes) // max(1, pieces)))
    like = images.new_empty(0, dtype=torch.promote_types(images.dtype, torch.float32))
    solvers, filled = dict[int, Solver](), torch.empty_like(planes)
    with _one_thread():
        for start in range(0, len(planes), at_once):
            some = slice(start, start + at_once)
            count = len(planes[some])
            if count not in solvers:
                solvers[count] = Solver(count, (images.shape[2], images.shape[3]), like)
            filled[some] = solvers[count].solve(planes[some], keep[some], tolerance, limit)
    return filled.view_as(images)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute on one thread: the steps are so short that several threads would mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
