"""The network that ``train_example.py`` trains: a small U-Net for images of any shape."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["UNet"]


def waves(numbers: Tensor, count: int = 16) -> Tensor:
    """Sines and cosines of (B, N) numbers, fast to slow: (B, N * 2 * count)."""
    paces = torch.logspace(0, -4, count, device=numbers.device)
    angles = numbers[..., None] * paces
    return torch.cat([angles.sin(), angles.cos()], dim=-1).flatten(1)


class Block(nn.Module):
    """Two convolutions beside a shortcut; the condition scales and shifts what lies between."""

    def __init__(self, inside: int, outside: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, inside), nn.SiLU(), nn.Conv2d(inside, outside, 3, padding=1)
        )
        self.norm, self.modulate = nn.GroupNorm(8, outside), nn.Linear(condition, 2 * outside)
        self.second = nn.Conv2d(outside, outside, 3, padding=1)
        self.shortcut = nn.Conv2d(inside, outside, 1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Features (B, inside, H, W) and a condition (B, C) to features (B, outside, H, W)."""
        scale, shift = self.modulate(condition)[..., None, None].chunk(2, dim=1)
        hidden = self.norm(self.first(x)) * (1 + scale) + shift
        return self.shortcut(x) + self.second(F.silu(hidden))


class UNet(nn.Module):
    """Sees the image behind the noise, in any shape whose sides are multiples of 16.

    Args:
        widths: Channels, doubled strides apart.
        patch: Side of the square of pixels that is seen as one.
        condition: Length of the vector that time and sizes become.
    """

    def __init__(self, widths: tuple[int, ...] = (96, 160), patch: int = 4, condition: int = 256) -> None:
        super().__init__()
        deep, self.patch = widths[-1], patch
        self.condition = nn.Sequential(
            nn.Linear(7 * 32, condition), nn.SiLU(), nn.Linear(condition, condition), nn.SiLU()
        )
        self.enter = nn.Conv2d(3 * patch**2 + 2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Block(a, b, condition) for a, b in pairwise((widths[0], *widths)))
        self.middle = nn.ModuleList(Block(deep, deep, condition) for _ in range(2))
        self.attention = nn.MultiheadAttention(deep, num_heads=4, batch_first=True)
        self.up = nn.ModuleList(
            Block(a + b, b, condition) for a, b in pairwise((deep, *reversed(widths)))
        )
        self.leave = nn.Sequential(
            nn.GroupNorm(8, widths[0]), nn.SiLU(), nn.Conv2d(widths[0], 3 * patch**2, 3, padding=1)
        )

    def forward(self, x: Tensor, time: Tensor, sizes: Tensor) -> Tensor:
        """The image behind the noise.

        Args:
            x: (B, 3, H, W) images, more or less noisy.
            time: (B,) from 0, all noise, to 1, none.
            sizes: (B, 6) original size, top left corner of the crop, and target size, in pixels.

        Returns:
            (B, 3, H, W) images, without noise.
        """
        condition = self.condition(waves(torch.cat([1000 * time[:, None], sizes], dim=1)))
        x = F.pixel_unshuffle(x, self.patch)
        rows, columns = (torch.linspace(-1, 1, n, device=x.device) for n in x.shape[-2:])
        place = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(x), -1, -1, -1)
        x = torch.cat([x, place], dim=1).contiguous(memory_format=torch.channels_last)
        x, skips = self.enter(x), []
        for block in self.down:
            x = block(x, condition)
            skips.append(x)
            x = F.avg_pool2d(x, 2)
        x = self.middle[0](x, condition)
        x = self.middle[1](x + self.attend(x), condition)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=1), condition)
        return F.pixel_shuffle(self.leave(x), self.patch)

    def attend(self, x: Tensor) -> Tensor:
        """What each place (B, C, H, W) learns from all others."""
        tokens = x.flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return mixed.transpose(1, 2).unflatten(2, x.shape[2:])
