"""The formats of images and videos that are read, and how their files are named."""

from PIL import features

try:
    from pillow_heif import register_heif_opener
except ImportError:
    _HEIF = False
else:
    register_heif_opener()
    _HEIF = True

INSTALL_HEIC = "pip install 'segtool[heic]'"
_HEIC_SUFFIXES = (".heic", ".heif", ".hif")
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# What a file holds decides, not its name; Pillow's other decoders (one runs Ghostscript) are not for strangers' files.
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "BMP": (".bmp", ".dib"),
    "TIFF": (".tif", ".tiff"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
if "avif" in features.modules and features.check("avif"):  # Pillow 11.3 brings it
    _SUFFIXES["AVIF"] = (".avif",)
if _HEIF:
    _SUFFIXES["HEIF"] = _HEIC_SUFFIXES

FORMATS = tuple(_SUFFIXES)
IMAGE_SUFFIXES = tuple(suffix for suffixes in _SUFFIXES.values() for suffix in suffixes)
VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v")


def is_heic_unread(name: str) -> bool:
    """Whether a file is named as HEIC, which nothing here reads."""
    return not _HEIF and name.lower().endswith(_HEIC_SUFFIXES)


def holds_heic(head: bytes) -> bool:
    """Whether a file with these first 12 bytes is HEIC."""
    return head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS
