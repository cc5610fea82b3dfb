"""What an image costs from its file's bytes to its bucket's pixels, and how true they are.

    python benchmarks/pixels.py                # decode, resize, crop: against Pillow, in one thread
    python benchmarks/pixels.py --libraries    # the same with other libraries, where installed
    python benchmarks/pixels.py --formats      # who decodes which format
    python benchmarks/pixels.py --scales       # what decoding a JPEG costs at each scale
    python benchmarks/pixels.py --loader       # what a second worker adds
    python benchmarks/pixels.py --memory       # whether a worker grows

Photographs come from ``--photos``; without them, a dozen are made of 2 to 12 megapixels. The path
that is compared with is Pillow's: decode all, turn upright, resize with Lanczos, crop. Costs are
seconds of the processor, so other programs hardly disturb them, the least of some rounds in which
all ways take turns. Fidelity is the peak signal-to-noise ratio against that path's picture.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import io
import resource
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
import torch
from PIL import Image, ImageOps
from torchvision import io as vision
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from lit_buckets import BucketDataModule, geometry
from lit_buckets.geometry import Offset, Size
from lit_buckets.pixels.decode import decode
from lit_buckets.pixels.resize import resize_crop

PHOTOS = Path(__file__).parents[2] / "shared" / "photos" / "camera"
AREAS = (512 * 512, 1024 * 1024)
ROUNDS = 5
# so many that the begin and the end, when a worker waits for the others, count as little as in use
LOADER_IMAGES, LOADER_PAIRS = 432, 5
FEW, MANY = 2_000, 20_000


class Photo(NamedTuple):
    """A file and where its picture goes."""

    content: bytes
    resized: Size  # what covers the bucket
    bucket: Size

    @property
    def offset(self) -> Offset:
        """Of the crop at the centre."""
        return Offset(
            (self.resized.height - self.bucket.height) // 2,
            (self.resized.width - self.bucket.width) // 2,
        )


Way = Callable[[Photo], Any]  # to (H, W, 3) bytes, or to anything where only time counts


def photo(content: bytes, area: int) -> Photo:
    size = decode(content, wanted=Size(1, 1), quality="fast").original
    bucket = Size(*geometry.fit([size], max_area=area, divisor=64)[0].tolist())
    return Photo(content, Size(*geometry.cover(size, bucket).tolist()), bucket)


def make_photographs(folder: Path) -> None:
    """Sums of noise of all scales, whose spectrum falls as that of photographs does."""
    random = np.random.default_rng(0)
    for number, megapixels in enumerate((2, 3, 3, 4, 5, 5, 6, 8, 8, 10, 12, 12)):
        height = round((megapixels * 1e6 * (0.75, 1.33)[number % 3 == 1]) ** 0.5)
        width = round(megapixels * 1e6 / height)
        picture = np.full((height, width, 3), 128.0)
        for octave in range(2, 10):
            coarse = random.normal(size=(height >> octave or 1, width >> octave or 1, 3))
            layer = Image.fromarray((coarse * 40 + 128).clip(0, 255).astype(np.uint8))
            smooth = layer.resize((width, height), Image.Resampling.BICUBIC)
            picture += (np.asarray(smooth) - 128.0) * 2.0 ** ((octave - 9) / 2)
        exif = Image.Exif()
        exif[0x0112] = (1, 1, 6, 1, 8, 3)[number % 6]
        image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        image.save(folder / f"{number:02d}.jpg", quality=92, exif=exif, subsampling=number % 3)


# -- ways from a file's bytes to its bucket's pixels ---------------------------------------------


def pillow_path(picture: Photo) -> np.ndarray:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(picture.content))).convert("RGB")
    image = image.resize(picture.resized[::-1], Image.Resampling.LANCZOS)
    return cropped(np.asarray(image), picture)


def ours(quality: Any, interpolation: Any = "bicubic") -> Way:
    def way(picture: Photo) -> np.ndarray:
        found = decode(picture.content, wanted=picture.resized, quality=quality)
        image = resize_crop(
            found.stored,
            resized=picture.resized,
            offset=picture.offset,
            crop=picture.bucket,
            interpolation=interpolation,
        )
        return image.permute(1, 2, 0).numpy()

    return way


def decoding_alone(picture: Photo) -> object:
    return decode(picture.content, wanted=picture.resized, quality="fast").stored


def torchvision_path(picture: Photo) -> np.ndarray:
    content = torch.frombuffer(bytearray(picture.content), dtype=torch.uint8)
    image = vision.decode_jpeg(content, apply_exif_orientation=True)
    image = transforms.resize(
        image, list(picture.resized), InterpolationMode.BICUBIC, antialias=True
    )
    return cropped(image.permute(1, 2, 0).numpy(), picture)


def pillow_draft(resample: Image.Resampling) -> Way:
    """Pillow at the least scale of twice the size; upright after resizing, as ours."""

    def way(picture: Photo) -> np.ndarray:
        image: Any = Image.open(io.BytesIO(picture.content))
        turned = image.getexif().get(0x0112, 1) >= 5
        height, width = picture.resized[::-1] if turned else picture.resized
        taken = image.draft(None, (2 * width, 2 * height))
        image = image.resize((width, height), resample, taken and taken[1])
        return cropped(np.asarray(ImageOps.exif_transpose(image)), picture)

    return way


def opencv_path(picture: Photo) -> np.ndarray:
    import cv2

    cv2.setNumThreads(1)
    content = np.frombuffer(picture.content, np.uint8)
    size = decode(picture.content, wanted=Size(1, 1), quality="fast").original
    spare = min(s / r for s, r in zip(size, picture.resized, strict=True)) / 2
    flag = next(
        flag
        for least, flag in (
            (8, cv2.IMREAD_REDUCED_COLOR_8),
            (4, cv2.IMREAD_REDUCED_COLOR_4),
            (2, cv2.IMREAD_REDUCED_COLOR_2),
            (0, cv2.IMREAD_COLOR),
        )
        if spare >= least
    )
    image = cv2.cvtColor(cv2.imdecode(content, flag), cv2.COLOR_BGR2RGB)
    image = cv2.resize(image, picture.resized[::-1], interpolation=cv2.INTER_AREA)
    return cropped(image, picture)


def vips_path(picture: Photo) -> np.ndarray:
    import pyvips

    height, width = picture.resized
    image = pyvips.Image.thumbnail_buffer(picture.content, width, height=height, size="force")
    return cropped(image.numpy(), picture)


def cropped(pixels: np.ndarray, picture: Photo) -> np.ndarray:
    (top, left), (height, width) = picture.offset, picture.bucket
    return pixels[top : top + height, left : left + width]


# -- measuring -----------------------------------------------------------------------------------


def psnr(found: np.ndarray, expected: np.ndarray) -> float:
    """In decibels; equal pictures count as 99."""
    error = np.square(found.astype(np.float32) - expected).mean()
    return min(10 * np.log10(255**2 / error), 99.0) if error else 99.0


def costs(ways: dict[str, Way], pictures: list[Photo], rounds: int) -> dict[str, float]:
    """Seconds for each picture, by way."""
    best = {name: [np.inf] * len(pictures) for name in ways}
    for _ in range(rounds):
        for place, picture in enumerate(pictures):
            for name, way in ways.items():
                begin = time.process_time()
                way(picture)
                best[name][place] = min(best[name][place], time.process_time() - begin)
    return {name: statistics.fmean(seconds) for name, seconds in best.items()}


def compare(contents: list[bytes], libraries: bool, rounds: int) -> None:
    ways: dict[str, Way] = {
        "Pillow, Lanczos": pillow_path,
        "ours, fast": ours("fast"),
        "ours, balanced": ours("balanced"),
        "ours, exact": ours("exact"),
        "ours, balanced, Lanczos": ours("balanced", "lanczos"),
        "decoding alone": decoding_alone,
    }
    if libraries:
        ways["torchvision, bicubic"] = torchvision_path
        ways["Pillow draft, bicubic"] = pillow_draft(Image.Resampling.BICUBIC)
        ways["Pillow draft, Lanczos"] = pillow_draft(Image.Resampling.LANCZOS)
        if importlib.util.find_spec("cv2"):
            ways["OpenCV reduced, area"] = opencv_path
        if importlib.util.find_spec("pyvips"):
            ways["libvips thumbnail"] = vips_path
    for area in AREAS:
        pictures = [photo(content, area) for content in contents]
        expected = [pillow_path(picture) for picture in pictures]
        seconds = costs(ways, pictures, rounds)
        print(f"bucket area {area**0.5:.0f}², {len(pictures)} photographs")
        print("| way | ms an image | times as fast | median PSNR | least PSNR |")
        print("|---|---|---|---|---|")
        for name, way in ways.items():
            fidelity = "| |"
            if way not in (pillow_path, decoding_alone):
                ratios = [psnr(way(p), e) for p, e in zip(pictures, expected, strict=True)]
                fidelity = f"| {statistics.median(ratios):.1f} dB | {min(ratios):.1f} dB |"
            faster = seconds["Pillow, Lanczos"] / seconds[name]
            print(f"| {name} | {1e3 * seconds[name]:.1f} | {faster:.2f} {fidelity}")
        print(flush=True)


def formats(content: bytes, rounds: int) -> None:
    """Pillow and torchvision on one photograph in several formats."""
    image = Image.open(io.BytesIO(content)).convert("RGB")
    print(f"one photograph of {image.width}x{image.height} pixels, decoded whole")
    print("| format | Pillow | torchvision | ours | same bytes |")
    print("|---|---|---|---|---|")
    for name, options in (
        ("JPEG", {"quality": 92}),
        ("WEBP", {"quality": 90}),
        ("PNG", {}),
        ("AVIF", {}),
    ):
        file = io.BytesIO()
        image.save(file, name, **options)  # type: ignore[arg-type]
        encoded = Photo(file.getvalue(), Size(1, 1), Size(1, 1))
        ways: dict[str, Way] = {
            "Pillow": lambda p: np.array(Image.open(io.BytesIO(p.content)).convert("RGB")),
            "ours": lambda p: decode(p.content).image.permute(1, 2, 0).numpy(),
        }
        if name != "AVIF":  # its decoder is a package of its own
            ways["torchvision"] = lambda p: (
                vision.decode_image(torch.frombuffer(bytearray(p.content), dtype=torch.uint8))
                .permute(1, 2, 0)
                .numpy()
            )
        seconds = costs(ways, [encoded], rounds)
        pictures = [way(encoded) for way in ways.values()]
        same = all((picture == pictures[0]).all() for picture in pictures)
        row = [
            f"{1e3 * seconds[way]:.1f} ms" if way in seconds else ""
            for way in ("Pillow", "torchvision", "ours")
        ]
        print(f"| {name} | {' | '.join(row)} | {'yes' if same else 'no'} |", flush=True)


def scales(contents: list[bytes], rounds: int) -> None:
    """Decoding alone at every scale that libjpeg-turbo has."""
    pictures = [Photo(content, *[decode(content).original] * 2) for content in contents[::3]]

    def at(scale: int) -> Way:
        def way(picture: Photo) -> object:
            rows, columns, *_ = simplejpeg.decode_jpeg_header(picture.content)
            least = {"min_height": -(-rows * scale // 8), "min_width": -(-columns * scale // 8)}
            return simplejpeg.decode_jpeg(picture.content, strict=False, **least)

        return way

    found = costs({f"{scale}/8": at(scale) for scale in range(1, 9)}, pictures, rounds)
    print(f"decoding alone, {len(pictures)} photographs")
    print(f"| scale | {' | '.join(found)} |")
    print(f"|---|{'---|' * len(found)}")
    print(f"| ms an image | {' | '.join(f'{1e3 * cost:.1f}' for cost in found.values())} |")


def loader(folder: Path) -> None:
    """Images a second through the whole loader with one worker and with two."""
    files = sum(1 for _ in folder.glob("*.jpg"))
    with tempfile.TemporaryDirectory() as cache:
        repeats = max(LOADER_IMAGES // files, 1)
        dm = BucketDataModule(
            {
                "data": {
                    "train": {"path": str(folder), "repeats": repeats},
                    "cache_dir": cache,
                },
                "batches": {"batch_size": 4},
            }
        )
        dm.prepare_data()
        dm.setup("fit")
        loaders = {workers: dm.loader("train", num_workers=workers) for workers in (1, 2)}
        for each in loaders.values():
            seconds(each)  # workers started, files in memory
        pairs = [[seconds(each) for each in loaders.values()] for _ in range(LOADER_PAIRS)]
    one, two = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(one / two for one, two in pairs)
    images = repeats * files
    print(f"1 worker:  {images / one:6.1f} images/s")
    print(f"2 workers: {images / two:6.1f} images/s, {ratio:.2f} times as fast (median of pairs)")


def seconds(batches: Any) -> float:
    """One pass, by the clock."""
    begin = time.perf_counter()
    for _ in batches:
        pass
    return time.perf_counter() - begin


def memory() -> None:
    """Resident memory of a process that decodes small files of many kinds over and over."""
    contents = list(small_files())
    way = ours("balanced")
    sizes = {}
    for count in range(1, MANY + 1):
        way(Photo(contents[count % len(contents)], Size(48, 64), Size(48, 48)))
        if count in (FEW, MANY):
            gc.collect()
            sizes[count] = resident()
    print(f"after {FEW:,} images:  {sizes[FEW] / 2**20:.1f} MiB")
    grown = (sizes[MANY] - sizes[FEW]) / 2**20
    print(f"after {MANY:,} images: {sizes[MANY] / 2**20:.1f} MiB, {grown:+.1f} MiB")


def small_files() -> Iterator[bytes]:
    random = np.random.default_rng(0)
    for number in range(40):
        height, width = random.integers(60, 400, size=2)
        pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = Image.fromarray(pixels)
        exif = Image.Exif()
        exif[0x0112] = 1 + number % 8
        file = io.BytesIO()
        kind = ("JPEG", "PNG", "WEBP", "JPEG")[number % 4]
        mode = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "RGBA", "P"), "WEBP": ("RGB", "RGBA")}
        image.convert(mode[kind][number % len(mode[kind])]).save(file, kind, exif=exif)
        yield file.getvalue()


def resident() -> int:
    """Bytes of this process that lie in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder of JPEGs")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    for name in ("libraries", "formats", "scales", "loader", "memory"):
        parser.add_argument(f"--{name}", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.memory:
        return memory()
    with tempfile.TemporaryDirectory() as made:
        folder = given.photos
        if not folder.is_dir():
            print(f"no photographs at {folder}: these are made\n")
            folder = Path(made)
            make_photographs(folder)
        if given.loader:
            return loader(folder)
        contents = [file.read_bytes() for file in sorted(folder.glob("*.jpg"))]
        if given.formats:
            return formats(contents[len(contents) // 2], given.rounds)
        if given.scales:
            return scales(contents, given.rounds)
        return compare(contents, given.libraries, given.rounds)


if __name__ == "__main__":
    main()
