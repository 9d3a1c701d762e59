"""Images mirrored and cut out anew, as a recipe's draws say."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def augmented(images: Float[Tensor, "k c h w"], moves: Int64[Tensor, "k 3"], padding: int) -> Float[Tensor, "k c h w"]:
    """Return images of the same size.

    Parameters
    ----------
    moves : for each image, 1 to mirror it left to right, and where the crop begins in the image with
        ``padding`` zeros all around, down and across, from 0 to 2 ``padding``; mirrored after the cut.
    """
    k, c, h, w = images.shape
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    across = torch.arange(w, device=images.device).expand(k, w)
    across = torch.where(moves[:, :1] == 1, w - 1 - across, across) + moves[:, 2:]
    down = torch.arange(h, device=images.device) + moves[:, 1:2]
    image = torch.arange(k, device=images.device)
    channel = torch.arange(c, device=images.device)
    return padded[image.view(-1, 1, 1, 1), channel.view(-1, 1, 1), down.view(k, 1, h, 1), across.view(k, 1, 1, w)]
