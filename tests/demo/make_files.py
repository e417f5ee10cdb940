"""Makes the demo's files: the same bytes each time, from a seed.

    python3 tests/demo/make_files.py FOLDER
"""

import hashlib
import random
import struct
import sys
import zlib
from pathlib import Path

SEED = "trevor demo 1"
BANDS = ("50-59", "60-69", "70-79", "80-89", "90+")
MODEL_BYTES = 64 << 20


def main(folder):
    table = frailty_table(random.Random(SEED))
    write(folder / "frailty-by-age/tables/frailty-by-age.csv", csv(("age_band", "people", "mean", "sd"), table))
    write(folder / "frailty-by-age/figures/frailty-by-age.png", bar_chart([float(row[2]) for row in table]))
    # An extendable hash: incompressible, and the same whatever the version of Python.
    write(folder / "frailty-by-age/model/weights.bin", hashlib.shake_256(SEED.encode()).digest(MODEL_BYTES))
    header = ("site", "January", "February", "March", "April", "total")
    write(folder / "admissions-by-site/tables/by-site.csv", csv(("site", "admissions"), [("north", 284), ("south", 391)]))
    write(folder / "admissions-by-site/tables/by-month.csv",
          csv(header, [("north", 96, 94, 6, 88, 284), ("south", 101, 97, 99, 94, 391)]))
    write(folder / "admissions-by-site-round-2/tables/by-month.csv",
          csv(header, [("north", 96, 94, "<10", 88, 284), ("south", 101, 97, 99, 94, 391)]))
    # Their sizes and digests stand in examples/first-ingress-request.yaml.
    write(folder / "reference-rates/rates.csv",
          csv(("age_band", "rate"), [("50-59", 3.1), ("60-69", 8.4), ("70-79", 16.9), ("80-89", 31.2), ("90+", 44.0)]))
    write(folder / "reference-rates/notes.txt", b"Rates per 1,000 person years, from the national registry, 2025.\n")


def frailty_table(chance):
    """A made-up table; people are rounded to the nearest ten."""
    people, mean = 2400, 0.09
    rows = []
    for band in BANDS:
        rows.append((band, round(people, -1), f"{mean:.3f}", f"{0.06 + mean / 3:.3f}"))
        people = int(people * chance.uniform(0.55, 0.75))
        mean += chance.uniform(0.04, 0.08)
    return rows


def csv(header, rows):
    return "".join(",".join(map(str, row)) + "\n" for row in (header, *rows)).encode()


def bar_chart(values, width=320, height=200):
    """A greyscale PNG with one bar for each value."""
    slot = width // len(values)
    tops = [height - 1 - int(value / max(values) * (height - 20)) for value in values]

    def shade(x, y):
        bar = min(x // slot, len(values) - 1)
        return 0x50 if slot // 5 < x - bar * slot < slot - slot // 5 and y > tops[bar] else 0xFF

    lines = b"".join(b"\0" + bytes(shade(x, y) for x in range(width)) for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
