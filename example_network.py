"""The network that ``train_example.py`` trains: a small U-Net for images of any shape."""

from __future__ import annotations

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


class Attention(nn.Module):
    """Each place learns from all others."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.mix = nn.MultiheadAttention(width, heads, batch_first=True)
        nn.init.zeros_(self.mix.out_proj.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C, H, W) to features of the same shape."""
        tokens = self.norm(x).flatten(2).transpose(1, 2)
        mixed, _ = self.mix(tokens, tokens, tokens, need_weights=False)
        return x + mixed.transpose(1, 2).unflatten(2, x.shape[2:])


class UNet(nn.Module):
    """Sees the image behind the noise, in any shape whose sides are multiples of 8.

    Args:
        fine: Channels at a quarter of the resolution.
        coarse: Channels at an eighth of it.
        depth: Blocks there, each with attention before it.
        condition: Length of the vector that time and sizes become.
    """

    def __init__(
        self, fine: int = 64, coarse: int = 128, depth: int = 2, condition: int = 256
    ) -> None:
        super().__init__()
        self.condition = nn.Sequential(
            nn.Linear(7 * 32, condition), nn.SiLU(), nn.Linear(condition, condition), nn.SiLU()
        )
        self.enter = nn.Conv2d(3 * 16 + 2, fine, 3, padding=1)
        self.down = Block(fine, fine, condition)
        self.widen = Block(fine, coarse, condition)
        self.attend = nn.ModuleList(Attention(coarse) for _ in range(depth))
        self.deep = nn.ModuleList(Block(coarse, coarse, condition) for _ in range(depth))
        self.up = Block(coarse + fine, fine, condition)
        self.leave = nn.Sequential(
            nn.GroupNorm(8, fine), nn.SiLU(), nn.Conv2d(fine, 8 * 16, 3, padding=1)
        )
        self.smooth = nn.Sequential(nn.PixelShuffle(4), nn.SiLU(), nn.Conv2d(8, 3, 3, padding=1))
        nn.init.zeros_(self.smooth[-1].weight)

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
        x = F.pixel_unshuffle(x, 4)
        rows, columns = (torch.linspace(-1, 1, n, device=x.device) for n in x.shape[-2:])
        place = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(x), -1, -1, -1)
        x = torch.cat([x, place], dim=1).contiguous(memory_format=torch.channels_last)
        fine = self.down(self.enter(x), condition)
        x = self.widen(F.avg_pool2d(fine, 2), condition)
        for attend, block in zip(self.attend, self.deep, strict=True):
            x = block(attend(x), condition)
        x = self.up(torch.cat([F.interpolate(x, scale_factor=2.0), fine], dim=1), condition)
        return self.smooth(self.leave(x))
