"""What pictures cost as PNG, by zlib's level and strategy: CPU time (median of 5) and size.

    python benchmarks/png_compression.py FILE...

ComfyUI's SaveImage: level 4, usual strategy. FAST_PNG=true: level 4, run lengths.
"""

from __future__ import annotations

import io
import statistics
import sys
import time
from pathlib import Path

from PIL import Image

USUAL, HUFFMAN_ONLY, RUN_LENGTHS = -1, 2, 3
WAYS = {
    "level 4": (4, USUAL),
    "level 1": (1, USUAL),
    "Huffman only": (4, HUFFMAN_ONLY),
    "run lengths": (4, RUN_LENGTHS),
}


def save(picture: Image.Image, level: int, strategy: int) -> tuple[float, bytes]:
    """CPU seconds, and the file."""
    file, begin = io.BytesIO(), time.process_time()
    picture.save(file, "PNG", compress_level=level, compress_type=strategy)
    return time.process_time() - begin, file.getvalue()


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        picture = Image.open(path).convert("RGB")
        cells = []
        for name, way in WAYS.items():
            runs = [save(picture, *way) for _ in range(5)]
            file = runs[0][1]
            if Image.open(io.BytesIO(file)).tobytes() != picture.tobytes():
                sys.exit(f"{path}: {name} changed the picture")
            cells.append(f"{name} {statistics.median(run[0] for run in runs) * 1000:.0f} ms {len(file) / 1e6:.3f} MB")
        print(f"{path.name} {picture.width}x{picture.height}:", " | ".join(cells), flush=True)


if __name__ == "__main__":
    main()
