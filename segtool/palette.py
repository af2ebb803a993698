"""Default colours for classes."""


def voc_color(index: int) -> tuple[int, int, int]:
    """The PASCAL VOC colour of a class id: its bits dealt to the high bits of R, G and B."""
    red = green = blue = 0
    for bit in range(8):
        red |= (index >> 0 & 1) << 7 - bit
        green |= (index >> 1 & 1) << 7 - bit
        blue |= (index >> 2 & 1) << 7 - bit
        index >>= 3
    return red, green, blue
