"""Train a small picture generator on images of every shape, then draw new ones in three shapes.

    python train_example.py                                   # paints its own images; two minutes
    python train_example.py --data ~/photos --max-steps 20000 --devices 2 buckets.max_area=16384
    python train_example.py --resume outputs/last.ckpt        # go on after Ctrl-C, at the next batch

The model is a rectified flow in pixel space (Liu et al., doi:10.48550/arXiv.2209.03003) that is told
the sizes of each picture as SDXL is (Podell et al., doi:10.48550/arXiv.2307.01952).
"""

from __future__ import annotations

import argparse
import math
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import lightning as L
import rich
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.transforms.functional import to_pil_image

from example_images import draw_curve, make_images, stack_rows
from lit_buckets import BucketDataModule, load_config
from lit_buckets.geometry import fit

HERE = Path(__file__).parent
RATIOS = [(9, 16), (1, 1), (16, 9)]  # (height, width) of the pictures drawn at the end


def waves(values: Tensor, count: int = 16) -> Tensor:
    """Sines and cosines of (B, N) numbers, slow to fast: (B, N * 2 * count)."""
    pace = torch.exp(torch.linspace(0, -math.log(10_000), count, device=values.device))
    angles = values[..., None] * pace
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
        scale, shift = self.modulate(condition)[..., None, None].chunk(2, dim=1)
        hidden = self.norm(self.first(x)) * (1 + scale) + shift
        out: Tensor = self.shortcut(x) + self.second(F.silu(hidden))
        return out


class UNet(nn.Module):
    """Velocity of the flow, for pictures whose sides are multiples of 16."""

    def __init__(self, widths: tuple[int, ...] = (48, 96, 160), condition: int = 256) -> None:
        super().__init__()
        lowest = widths[-1]
        self.condition = nn.Sequential(
            nn.Linear(7 * 32, condition), nn.SiLU(), nn.Linear(condition, condition), nn.SiLU()
        )
        self.enter = nn.Conv2d(3 * 4 + 2, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Block(a, b, condition) for a, b in pairwise((widths[0], *widths)))
        self.middle = nn.ModuleList(Block(lowest, lowest, condition) for _ in range(2))
        self.attention = nn.MultiheadAttention(lowest, 4, batch_first=True)
        self.up = nn.ModuleList(
            Block(a + b, b, condition) for a, b in pairwise((lowest, *reversed(widths)))
        )
        self.leave = nn.Conv2d(widths[0], 3 * 4, 3, padding=1)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, time: Tensor, sizes: Tensor) -> Tensor:
        """Velocity (B, 3, H, W) at times (B,), for original, crop and target sizes (B, 6)."""
        condition = self.condition(waves(torch.cat([1000 * time[:, None], sizes], dim=1)))
        x = F.pixel_unshuffle(x, 2)
        rows, columns = (torch.linspace(-1, 1, n, device=x.device) for n in x.shape[-2:])
        where = torch.stack(torch.meshgrid(rows, columns, indexing="ij")).expand(len(x), -1, -1, -1)
        x = self.enter(torch.cat([x, where], dim=1))
        skips = []
        for block in self.down:
            x = block(x, condition)
            skips.append(x)
            x = F.avg_pool2d(x, 2)
        x = self.middle[0](x, condition)
        tokens = x.flatten(2).transpose(1, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        x = self.middle[1](x + mixed.transpose(1, 2).unflatten(2, x.shape[2:]), condition)
        for block, skip in zip(self.up, reversed(skips), strict=True):
            x = block(torch.cat([F.interpolate(x, scale_factor=2.0), skip], dim=1), condition)
        return F.pixel_shuffle(self.leave(x), 2)


class Flow(L.LightningModule):
    """Rectified flow: a straight way from noise at time 0 to the picture at time 1."""

    def __init__(self, learning_rate: float = 2e-3) -> None:
        super().__init__()
        self.learning_rate = learning_rate
        self.net = UNet()
        self.average = AveragedModel(self.net, multi_avg_fn=get_ema_multi_avg_fn(0.99))
        self.average.requires_grad_(False)
        self.losses: list[float] = []

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        image, valid = batch["image"], batch["valid"]
        step = self.global_step * self.trainer.world_size + self.global_rank
        dice = torch.Generator(self.device).manual_seed(step)  # a resumed run draws the same
        noise = torch.randn(image.shape, generator=dice, device=self.device)
        time = torch.randn(len(image), generator=dice, device=self.device).sigmoid()
        sizes = torch.cat([batch[k] for k in ("original_size", "crop_top_left", "target_size")], 1)
        velocity = self.net(noise.lerp(image, time[:, None, None, None]), time, sizes)
        errors = (velocity - (image - noise)).square().mean(dim=(1, 2, 3))
        loss = (errors * valid).sum() / valid.sum().clamp(min=1)
        self.log("loss", loss, prog_bar=True, batch_size=len(image))
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> Any:
        def schedule(step: int) -> float:
            progress = min(step / self.trainer.max_steps, 1)
            return min((step + 1) / 50, 0.5 + 0.5 * math.cos(math.pi * progress))

        optimizer = torch.optim.AdamW(self.net.parameters(), self.learning_rate, betas=(0.9, 0.99))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.net)

    @torch.no_grad()
    def sample(self, height: int, width: int, count: int = 6, steps: int = 50) -> Tensor:
        x = torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0))
        x = x.to(self.device)
        size = torch.tensor([height, width], device=self.device)
        sizes = torch.cat([2 * size, 0 * size, size]).expand(count, -1)
        for step in range(steps):
            x = x + self.average(x, torch.full_like(x[:, 0, 0, 0], step / steps), sizes) / steps
        return x.clamp(-1, 1)
