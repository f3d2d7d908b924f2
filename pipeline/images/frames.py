"""A picture that Pillow has opened and loaded: its pixels as samples, orientation, resolution.

Legend: H W rows and columns, C channels, S side of a square.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import ExifTags, Image, ImageFile

from pipeline.images.chroma import resample
from pipeline.images.formats import READ_BY_PILLOW
from pipeline.images.gray import Kind, Profile, Samples, color_of, eight_bits, gray_of
from pipeline.images.regions import Look, look_at
from pipeline.images.tiff_fields import xmp_orientation
from pipeline.images.tones import LOOK
from pipeline.metadata.exif import older_exif
from pipeline.metadata.segments import Parts, jpeg2000_parts

_COLOR_MAP = 320  # a tag of TIFF
MULTIPLIED = {"La": "LA", "RGBa": "RGBA"}  # modes with alpha multiplied in, and without
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def open_by_pillow(data: bytes) -> ImageFile.ImageFile:
    """A picture of which only the header is read. Raises whatever Pillow raises."""
    return Image.open(io.BytesIO(data), formats=READ_BY_PILLOW)


def format_of(image: Image.Image) -> str:
    """The format by its name in pipeline.images.formats. A JPEG with several pictures is a JPEG."""
    return {"MPO": "JPEG"}.get(image.format or "", image.format or "")


def repair_palette(image: Image.Image) -> None:
    """Repair palettes of TIFFs whose colors a program wrote as 0..255, not 0..65535, which Pillow
    reads as black."""
    colors = getattr(image, "tag_v2", {}).get(_COLOR_MAP, ())
    if image.mode in ("P", "PA") and colors and max(colors) <= 255:
        image.putpalette(bytes(colors), "RGB;L")


def samples_of(image: Image.Image) -> Samples:
    """The pixels of any loaded image, by the rules at the top of pipeline/images/masters.py."""
    image.info.pop("transparency", None)  # else Pillow blends or warns
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _deep_samples(image)
    if image.mode in MULTIPLIED:
        image = image.convert(MULTIPLIED[image.mode])
    if image.mode == "LAB":
        return Samples(ImageRows(image), "lab", 255)
    kinds: dict[str, Kind] = {"1": "gray", "L": "gray", "LA": "gray", "CMYK": "cmyk"}
    kind = kinds.get(image.mode, "rgb")
    mode = {"gray": "L", "cmyk": "CMYK"}.get(kind, "RGB")
    return Samples(ImageRows(image, mode), kind, 255)


class ImageRows:
    """The pixels (H, W, C) of a loaded image in some mode, band by band: converted all at once,
    they would be in memory two or three times."""

    def __init__(self, image: Image.Image, mode: str | None = None) -> None:
        self._image, self._mode = image, mode or image.mode
        first = self[0:1]
        self.shape = (image.height, *first.shape[1:])
        self.dtype = first.dtype

    def __getitem__(self, rows: slice) -> np.ndarray:
        band = self._image.crop((0, rows.start, self._image.width, rows.stop))
        pixels = np.asarray(band if band.mode == self._mode else band.convert(self._mode))
        return pixels if pixels.ndim == 3 else pixels[..., None]


def look_of(image: Image.Image, kind: Kind, profile: Profile | None) -> Look:
    if kind not in ("rgb", "cmyk"):
        return Look("gray")
    small = small_channels(image if image.mode == "CMYK" else rgb_of(image))
    return look_at(color_of(Samples(small, kind, 255), profile))


def small_channels(image: Image.Image) -> np.ndarray:
    """A picture of several channels as uint8 (S, S, C), S = LOOK."""
    return np.stack([squeezed(channel, LOOK, 1) for channel in image.split()], axis=-1)


def rgb_of(image: Image.Image) -> Image.Image:
    """Any loaded image as mode RGB."""
    if image.mode in ("P", "RGBA", "CMYK", "YCbCr", "HSV"):
        image.info.pop("transparency", None)
        return image.convert("RGB")
    if image.mode == "RGBa":
        return image.convert(MULTIPLIED[image.mode]).convert("RGB")
    if image.mode == "RGB":
        return image
    return Image.fromarray(eight_bits(gray_of(samples_of(image)))).convert("RGB")


def _deep_samples(image: Image.Image) -> Samples:
    """The pixels of a one-channel image of more than 8 bits a pixel."""
    tags = getattr(image, "tag_v2", {})
    depth = tags.get(ExifTags.Base.BitsPerSample, (16,))[0]
    white: float | None = None
    if image.mode != "F" and depth != 32:
        signed = tags.get(ExifTags.Base.SampleFormat, (1,))[0] == 2
        white = float(2 ** (depth - signed) - 1)
    inverted = tags.get(ExifTags.Base.PhotometricInterpretation) == 0  # not undone by Pillow
    return Samples(ImageRows(image), "gray", white, inverted)


def orientation_of(image: Image.Image, data: bytes) -> int:
    """Orientation, 1..8, from EXIF or else from XMP; 1 if both are absent or damaged, which is no
    fault of the picture. data: the file."""
    boxes = jpeg2000_parts(data) if image.format == "JPEG2000" else Parts()  # unknown to Pillow
    try:
        value = image.getexif().get(ExifTags.Base.Orientation)
        if value is None and (block := boxes.exif or older_exif(image.info)):
            exif = Image.Exif()
            exif.load(block)
            value = exif.get(ExifTags.Base.Orientation)
    except Exception:
        return 1
    packet = boxes.xmp or image.info.get("xmp")
    if value is None and isinstance(packet, bytes):
        value = xmp_orientation(packet)
    return value if value in UPRIGHT else 1


def resolution_of(image: Image.Image) -> tuple[float, float] | None:
    """Dots per inch (x, y), or None if absent or not a usable number."""
    try:
        x, y = (float(value) for value in image.info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (x, y) if 1 < x <= 65535 and 1 < y <= 65535 else None  # Pillow's default is 1


def squeezed(image: Image.Image, side: int, detail: int = 4) -> np.ndarray:
    """A gray image as a square uint8 (S, S): means of areas, linear interpolation where it
    grows."""
    cells = detail * side  # more would cost much and change little
    image = image.reduce((max(1, image.width // cells), max(1, image.height // cells)))
    return np.rint(resample(np.asarray(image), side, side)).astype(np.uint8)
