"""What the endpoint takes, and how it says no."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a request may be and how long things may take.

    Attributes:
        file_bytes: of an image file.
        pixels: of an image, height x width; larger ones are refused before they are decoded.
        waiting: requests for a model that may wait for it; more are refused.
        upload_seconds: for a request's body to arrive.
        answer_seconds: from there to the answer.
    """

    file_bytes: int = 32 * 2**20
    pixels: int = 16_000_000
    waiting: int = 32
    upload_seconds: float = 15.0
    answer_seconds: float = 60.0

    @property
    def held_bytes(self) -> int:
        """Of all request bodies that are held at once, before they are refused."""
        return 16 * self.file_bytes


class Refusal(Exception):
    """A request that gets no mask: the HTTP status, what is wrong, and how to mend it."""

    def __init__(self, status: int, what: str, mend: str = "") -> None:
        super().__init__(status, what, mend)  # so that it can be pickled
        self.status, self.what, self.mend = status, what, mend
