"""Train a small image generator on images of every shape, then draw new ones in three shapes.

    python train_example.py                              # paints its own images; two minutes
    python train_example.py --data ~/photos --max-steps 20000 --devices 2 buckets.max_area=16384
    python train_example.py --resume outputs/last.ckpt   # after Ctrl-C: on from the next batch

The model is a rectified flow in pixel space (Liu et al., doi:10.48550/arXiv.2209.03003). It is told
every image's sizes as SDXL is (Podell et al., doi:10.48550/arXiv.2307.01952).
"""

from __future__ import annotations

import argparse
import math
import os
import signal
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # leave idle cores to the loader's workers

import lightning as L
import numpy as np
import rich
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torchvision.transforms.functional import to_pil_image

from example_images import draw_curve, make_images, stack_rows
from example_network import UNet
from lit_buckets import BucketDataModule, load_config
from lit_buckets.geometry import fit

CONFIG = Path(__file__).parent / "configs" / "example.yaml"
PAINTED = Path(".lit_buckets/example/images")  # the folder that CONFIG names
RATIOS = [(9, 16), (1, 1), (16, 9)]  # height : width of the images drawn at the end


class Flow(L.LightningModule):
    """Rectified flow: the straight way from noise at time 0 to the image at time 1."""

    def __init__(self) -> None:
        super().__init__()
        self.net = UNet()
        self.average = AveragedModel(self.net, avg_fn=lambda old, new, _: old.lerp(new, 0.01))
        self.average.requires_grad_(False)
        self.losses: list[float] = []

    def training_step(self, batch: dict[str, Any], _: int) -> Tensor:
        """Mean squared error of the velocity at random times, over the samples that count."""
        image, valid = batch["image"], batch["valid"]
        step = self.global_step * self.trainer.world_size + self.global_rank
        dice = torch.Generator(self.device).manual_seed(step)  # a resumed run throws the same
        noise = torch.randn(image.shape, generator=dice, device=self.device)
        time = torch.sigmoid(torch.randn(len(image), generator=dice, device=self.device) - 0.6)
        sizes = torch.cat([batch[k] for k in ("original_size", "crop_top_left", "target_size")], 1)
        left = (1 - time).clamp(min=0.05)[:, None, None, None]
        seen = image.lerp(noise, left)
        velocity = (self.net(seen, time, sizes) - seen) / left
        errors = (velocity - (image - noise)).square().mean(dim=(1, 2, 3))
        loss = (errors * valid).sum() / valid.sum().clamp(min=1)
        self.log("loss", loss, prog_bar=True, batch_size=len(image))
        self.losses.append(loss.item())
        return loss

    @torch.no_grad()
    def sample(self, size: list[int], zoom: float, count: int, steps: int = 50) -> Tensor:
        """Draw (count, 3, H, W) images in [0, 1], as if scaled down by ``zoom`` and not cropped."""
        x = torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(0)).to(self.device)
        sizes = torch.tensor([[side * zoom for side in size] + [0, 0] + size], device=self.device)
        for step in range(steps):  # Euler's: the share of the way that is left, step by step
            time = torch.full((count,), step / steps, device=self.device)
            x = x.lerp(self.average(x, time, sizes.expand(count, -1)), 1 / (steps - step))
        return (x.clamp(-1, 1) + 1) / 2

    def configure_optimizers(self) -> Any:
        """AdamW; the learning rate rises over 50 steps and falls along a cosine."""

        def schedule(step: int) -> float:
            fallen = 0.5 + 0.5 * math.cos(math.pi * min(1, step / self.trainer.max_steps))
            return min((step + 1) / 50, fallen)

        optimizer = torch.optim.AdamW(self.net.parameters(), lr=1e-3, betas=(0.9, 0.99))
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
        return [optimizer], [{"scheduler": scheduler, "interval": "step"}]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Let the averaged weights, which draw, follow the trained ones."""
        super().optimizer_step(*args, **kwargs)
        self.average.update_parameters(self.net)

    def on_fit_start(self) -> None:
        """Show which buckets there are, and what an epoch is made of."""
        if self.trainer.is_global_zero:
            rich.print(self.trainer.datamodule.summary())  # type: ignore[attr-defined]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the losses, so that the curve of a resumed run is whole."""
        checkpoint["losses"] = self.losses

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the losses up again."""
        self.losses = checkpoint["losses"]


class StopOnInterrupt(L.Callback):
    """Ctrl-C ends training after the step under way, on every rank; the last step is saved."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint, self.asked = checkpoint, False

    def on_fit_start(self, *_: Any) -> None:
        """Listen; a second Ctrl-C ends the run on the spot."""

        def ask(*_: Any) -> None:
            self.asked = True
            signal.signal(signal.SIGINT, signal.default_int_handler)

        signal.signal(signal.SIGINT, ask)

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        """Agree with the other ranks on whether this step is the last."""
        self.asked = trainer.strategy.reduce_boolean_decision(self.asked, all=False)
        if self.asked or trainer.global_step == trainer.max_steps:
            trainer.save_checkpoint(self.checkpoint)
            trainer.should_stop = True


def draw(flow: Flow, data: BucketDataModule, out: Path) -> None:
    """Write samples.png, in three shapes, and loss.png."""
    buckets = data.config.buckets
    areas, largest = data.manifest_of("train").sizes.prod(axis=1), int(np.max(buckets.max_area))
    zoom = math.sqrt(float(np.median(areas)) / largest)
    shapes = fit(RATIOS, max_area=largest, divisor=buckets.divisor).tolist()
    widest = max(width for _, width in shapes)
    rows = [flow.sample([h, w], zoom, count=5 * widest // w) for h, w in shapes]
    stack_rows([[to_pil_image(image) for image in row] for row in rows]).save(out / "samples.png")
    draw_curve(flow.losses).save(out / "loss.png")
    rich.print(f"Drawn: {out}/samples.png and {out}/loss.png")


def main() -> None:
    """Read the command line, train, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("overrides", nargs="*", metavar="section.key=value")
    parser.add_argument("--data", type=Path, help="folder of images; otherwise some are painted")
    parser.add_argument("--config", type=Path, default=CONFIG, help="default: %(default)s")
    parser.add_argument("--devices", type=int, default=1, help="GPUs, or processes on the CPU")
    parser.add_argument("--max-steps", type=int, default=1200, help="default: %(default)s")
    parser.add_argument("--resume", type=Path, metavar="CKPT", help="go on where this was saved")
    parser.add_argument("--out", type=Path, default=Path("outputs"), help="default: %(default)s")
    args = parser.parse_args()

    if args.config == CONFIG and not args.data:
        make_images(PAINTED)
    overrides = [f"data.train={args.data}"] if args.data else []
    data = BucketDataModule(load_config(args.config, overrides + args.overrides))
    L.seed_everything(0)
    flow, stop = Flow(), StopOnInterrupt(args.out / "last.ckpt")
    saved = ModelCheckpoint(args.out, "last", every_n_train_steps=100, enable_version_counter=False)
    trainer = L.Trainer(
        devices=args.devices,
        strategy="ddp" if args.devices > 1 else "auto",
        max_steps=args.max_steps,
        gradient_clip_val=1.0,
        logger=CSVLogger(args.out, name="logs"),
        log_every_n_steps=10,
        enable_model_summary=False,
        callbacks=[saved, stop],
    )
    trainer.fit(flow, datamodule=data, ckpt_path=args.resume)
    if stop.asked:
        raise SystemExit(f"Stopped. Go on with --resume {stop.checkpoint}")
    if trainer.is_global_zero:
        draw(flow.to(trainer.strategy.root_device).eval(), data, args.out)


if __name__ == "__main__":
    main()
