"""Many small CNNs (factory ``cnn``) in the profile ``exact``, forwards and backwards as matrix products.

Layout: a map is (m, channels, height, width, rows), rows innermost, so that the nine pixels under a
filter are nine copies of long runs, and a layer of all models is one batch of products of weights
(m, outputs, 9 inputs) and columns (m, 9 inputs, positions * rows). A library's convolution might
transform (Winograd, Fourier), which rounds; these products do not. The first layer's columns are
one for all models where rows are shared.

Numbers as in ``grids``. A mean over 2x2 pixels is a sum over 4, rounded; the mean over the image is
a sum times ``numerics.mean_share``, rounded. The slopes of a convolution with P positions are about 1/P
of a dense layer's; their step and range are 2^-floor(log2 P) of it. A convolution's gradient is
rounded to a velocity's step before it is added, which saves it momentum's bits.
"""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float64
from torch import Tensor

from protocol.numerics import Convolution, convolutions, mean_share
from protocol.recipes import Sgd
from protocol.training.descent.blocks import Blocks
from protocol.training.exact.grids import Grids, SlopesOf

_AROUND = [offset for offset in itertools.product(range(3), range(3)) if offset != (1, 1)]


class ExactConvolutions:
    """CNNs of one shape, as ``exact.Network``.

    Parameters
    ----------
    recipe : of factory ``cnn``. grids : the profile's.
    """

    def __init__(self, recipe: Sgd, grids: Grids) -> None:
        self._image, self._grids, self._layers = recipe.image, grids, convolutions(recipe)
        self._mean_share = mean_share(self._layers[-1].positions)

    def bytes_per_subset(self, n_rows: int) -> int:
        """Return the working memory of one model on so many rows."""
        values = sum((18 * layer.inputs + 4 * layer.outputs) * layer.positions for layer in self._layers)
        return 8 * values * n_rows

    def scores(self, weights: Blocks, x: Float64[Tensor, "q d"]) -> Float64[Tensor, "m c q"]:
        """Return each model's scores at rows that all share, not rounded, in units of an activation's step."""
        return self._dense(weights, self._forward(weights, x)[-1])

    def add_gradients(
        self, weights: Blocks, x: Float64[Tensor, "*m b d"], slopes_of: SlopesOf, into: Blocks, beta: float
    ) -> None:
        """Set ``into`` to ``beta`` times itself plus the gradients, in units of a velocity's step."""
        columns, maps, means = self._forward(weights, x)
        slope = self._through_dense(weights, means, slopes_of(self._dense(weights, means)), into, beta)
        slope = self._through_mean(slope, maps[-1])
        for layer in reversed(self._layers):
            k = layer.layer - 1
            self._add_convolution(layer, columns[k], slope, into, beta)
            if k:
                slope = self._through_convolution(layer, weights.blocks[2 * k], slope, maps[k - 1])

    def _forward(self, weights: Blocks, x: Float64[Tensor, "*m b d"]) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return each convolution's columns (*m, 9 inputs, P b) and map (m, outputs, h, w, b), and the last's means."""
        grid, blocks = self._grids.activation, weights.blocks
        unit = 2.0**grid.step_bits  # biases are in their own
        below = x.mT.contiguous().unflatten(-2, self._image)
        columns: list[Tensor] = []
        maps: list[Tensor] = []
        for layer, weight, bias in zip(self._layers, blocks[:-2:2], blocks[1:-2:2], strict=True):
            if layer.pools:
                below = grid.round_(_quarter_sums(below).mul_(0.25))
            columns.append(_columns(below))
            if columns[-1].ndim == 2:
                above = torch.addmm(bias.reshape(-1, 1), weight.view(-1, 9 * layer.inputs), columns[-1], beta=unit)
            else:
                above = torch.baddbmm(bias.unsqueeze(2), weight.flatten(2), columns[-1], beta=unit)
            below = grid.rectify_(above).view(weights.m, layer.outputs, layer.height, layer.width, -1)
            maps.append(below)
        return columns, maps, grid.round_(below.sum(dim=(2, 3)).mul_(self._mean_share))

    def _dense(self, weights: Blocks, means: Float64[Tensor, "m i b"]) -> Float64[Tensor, "m c b"]:
        weight, bias = weights.blocks[-2:]
        return torch.baddbmm(bias.unsqueeze(2), weight, means, beta=2.0**self._grids.activation.step_bits)

    def _through_dense(
        self,
        weights: Blocks,
        means: Float64[Tensor, "m i b"],
        slope: Float64[Tensor, "m c b"],
        into: Blocks,
        beta: float,
    ) -> Float64[Tensor, "m i b"]:
        """Add the dense layer's gradients, and return the slopes in its inputs."""
        grid = self._grids.slope
        into.blocks[-1].mul_(beta).add_(slope.sum(dim=2), alpha=self._grids.in_velocity(grid.step_bits))
        of_weight = self._grids.in_velocity(grid.step_bits + self._grids.activation.step_bits)
        into.blocks[-2].baddbmm_(slope, means.mT, beta=beta, alpha=of_weight)
        return grid.round_(torch.bmm(weights.blocks[-2].mT, slope))

    def _through_mean(
        self, slope: Float64[Tensor, "m i b"], last: Float64[Tensor, "m i h w b"]
    ) -> Float64[Tensor, "m i h w b"]:
        """Return the slopes in the last map's sums: each pixel's the same, but where the ReLU cut."""
        finer = 2.0 ** self._layers[-1].finer_bits
        slope = self._grids.slope.round_(slope.mul_(self._mean_share * finer))
        return _where_positive(slope.unsqueeze(2).unsqueeze(3).expand_as(last), last)

    def _add_convolution(
        self,
        layer: Convolution,
        columns: Float64[Tensor, "*m i k"],
        slope: Float64[Tensor, "m o h w b"],
        into: Blocks,
        beta: float,
    ) -> None:
        k, step_bits = 2 * (layer.layer - 1), self._grids.slope.step_bits + layer.finer_bits
        slope = slope.flatten(2)
        shared = columns.ndim == 2
        gradient = torch.mm(slope.flatten(0, 1), columns.mT) if shared else torch.bmm(slope, columns.mT)
        parts = (gradient, step_bits + self._grids.activation.step_bits), (slope.sum(dim=2), step_bits)
        for block, (part, bits) in zip(into.blocks[k : k + 2], parts, strict=True):
            block.mul_(beta).add_(part.mul_(self._grids.in_velocity(bits)).round_().view_as(block))

    def _through_convolution(
        self,
        layer: Convolution,
        weight: Float64[Tensor, "m o i 3 3"],
        slope: Float64[Tensor, "m o h w b"],
        below: Float64[Tensor, "m i y x b"],
    ) -> Float64[Tensor, "m i y x b"]:
        """Return the slopes in the sums of the layer below, whose map is ``below``."""
        columns = torch.bmm(weight.flatten(2).mT, slope.flatten(2))
        slope = _folded(columns.view(len(weight), layer.inputs, 3, 3, *slope.shape[2:]))
        if not layer.pools:
            return _where_positive(self._grids.slope.round_(slope), below, out=slope)
        finer = 2.0 ** (self._layers[layer.layer - 2].finer_bits - layer.finer_bits)
        slope = self._grids.slope.round_(slope.mul_(finer / 4))
        height, width = 2 * layer.height, 2 * layer.width
        of = below[:, :, :height, :width]
        is_whole = of.shape == below.shape
        whole = torch.empty_like(below) if is_whole else torch.zeros_like(below)  # a last odd pixel is in no mean
        fours = whole[:, :, :height, :width]
        for dy, dx in itertools.product(range(2), range(2)):
            _where_positive(slope, of[:, :, dy::2, dx::2], out=fours[:, :, dy::2, dx::2])
        return whole


def _columns(x: Float64[Tensor, "*m c h w b"]) -> Float64[Tensor, "*m k p"]:
    """Return the nine pixels under the filter at each position, zeros outside: (*m, 9 c, h w b)."""
    *_, channels, height, width, rows = x.shape
    padded = torch.nn.functional.pad(x, (0, 0, 1, 1, 1, 1))
    windows = padded.unfold(-3, height, 1).unfold(-3, width, 1)  # (*m, c, 3, 3, b, h, w)
    columns = windows.movedim(-3, -1).contiguous()
    return columns.view(*x.shape[:-4], 9 * channels, height * width * rows)


def _folded(columns: Float64[Tensor, "m c 3 3 h w b"]) -> Float64[Tensor, "m c h w b"]:
    """Return the sum, at each pixel, of what its nine windows have for it: the transpose of :func:`_columns`."""
    height, width = columns.shape[4:6]
    total = columns[:, :, 1, 1].contiguous()
    for dy, dx in _AROUND:
        to_y, from_y = _overlap(dy, height)
        to_x, from_x = _overlap(dx, width)
        total[:, :, to_y, to_x] += columns[:, :, dy, dx, from_y, from_x]
    return total


def _overlap(offset: int, length: int) -> tuple[slice, slice]:
    """Return the pixels that windows ``offset`` - 1 away reach, and those windows."""
    return (
        slice(max(offset - 1, 0), length + min(offset - 1, 0)),
        slice(max(1 - offset, 0), length + min(1 - offset, 0)),
    )


def _quarter_sums(x: Float64[Tensor, "*m c y x b"]) -> Float64[Tensor, "*m c h w b"]:
    """Return the sums of 2x2 pixels; the last of an odd side is in none."""
    *_, height, width, _ = x.shape
    x = x[..., : height // 2 * 2, : width // 2 * 2, :]
    rows = x[..., 0::2, :, :] + x[..., 1::2, :, :]
    return rows[..., 0::2, :] + rows[..., 1::2, :]


def _where_positive(slope: Tensor, activation: Tensor, out: Tensor | None = None) -> Tensor:
    """Return slopes where the ReLU lets them through, else 0."""
    found: Tensor
    if out is None:
        found = torch.ops.aten.threshold_backward(slope, activation, 0)
    else:
        found = torch.ops.aten.threshold_backward(slope, activation, 0, grad_input=out)
    return found
