"""What the benchmark scripts share: a test picture, the record of the machine."""

import json
import platform
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

RESULTS = Path(__file__).parent / "results"


def picture(width: int, height: int) -> Tensor:
    """A picture whose lattice has about as many vertices as a photo's, float32 [1,3,H,W], levels 0..255."""
    generator = torch.Generator().manual_seed(0)
    # Mostly grey, as photos are: colours far from grey would need many more vertices.
    grey, color = (torch.rand(1, c, 13, 17, generator=generator) - 0.5 for c in (1, 3))
    smooth = torch.nn.functional.interpolate(127.5 + 160 * grey + 30 * color, (height, width), mode="bicubic")
    return (smooth + 3 * torch.randn(1, 3, height, width, generator=generator)).clamp(0, 255).round()


def cpu_name() -> str:
    """The processor as Linux names it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def write_results(name: str, rows: list[dict[str, Any]], folder: Path, **more: Any) -> Path:
    """Writes NAME.json with rows, machine, versions and date."""
    packages = ("segtool", "torch", "numpy")
    record = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"cpu": cpu_name(), "threads": torch.get_num_threads(), "platform": platform.platform()},
        "versions": {p: metadata.version(p) for p in packages},
        **more,
        "rows": rows,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record, indent=2) + "\n")
    return path


def print_rows(rows: list[dict[str, Any]]) -> None:
    """Rows as a Markdown table."""
    names = list(rows[0])
    print("| " + " | ".join(names) + " |\n|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(str(row[n]) for n in names) + " |")
