"""Sparsification of a crystal on an EIGER2 4M: `inbeam sparsify-bragg` against pyFAI's `sparsify-Bragg`, end to end.

    python bench/sparsify.py [--frames 400] [--theirs 40] [--peaks] [--weighted]

Both read bslz4 frames (2162 x 2068 uint32, rings, 300 spots, Poisson noise) and write their sparse file, with the same
options, on the same cores, by turns; pyFAI on the OpenCL device 0 0 (on CPUs: PoCL). Start-up, geometry and compilation
are left out on both sides: ours is from the first frame received to the last on disk, by the ledger in the file, less
the same for a short file; theirs is the time of the whole process, less the same for a short file. Beside it the "total
sparsification time" that the program prints, which leaves out its writing. CPU: of the process, less that for a short
file.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fabio
import h5py
import numpy as np
from common import OUT, Cost, frame_file, inbeam, measure, reap, table

from stream.simulate.eiger import eiger2_4m, pixel_mask

SPOTS = 300
FEW = 4


def prepare(frames: int, name: str) -> tuple[Path, list[str]]:
    """A file of frames, and the words that both commands take; no peak finding unless told, as the tools' default."""
    detector = eiger2_4m()
    path = frame_file(detector, frames, pool=8, spots=SPOTS, name=name)
    mask = OUT / "sparsify_mask.edf"
    fabio.edfimage.EdfImage((pixel_mask(detector) != 0).astype(np.uint8)).save(str(mask))
    return path, ["-p", str(path.with_suffix(".poni")), "-m", str(mask)]


def timed(command: list[str], path: Path, words: list[str], tag: str) -> tuple[float, Cost, Path]:
    """One run over one file: seconds for its frames, the cost of the process, and the result."""
    result = OUT / f"{path.stem}_{tag}.h5"
    result.unlink(missing_ok=True)
    with tempfile.TemporaryFile("w+") as told:
        began = time.perf_counter()
        line = [*command, *words, "-o", str(OUT / f"{{basename}}_{tag}.h5"), str(path)]
        cost = reap(subprocess.Popen(line, stderr=told, stdout=subprocess.DEVNULL), began)
        told.seek(0)
        said = re.search(r"Total sparsification time: ([0-9.]+)s", told.read())
    with h5py.File(result) as file:
        if said:
            return float(said[1]), cost, result
        table = file["entry/ledger"]
        return float(table["on_disk_time"][:].max() - table["received_time"][:].min()), cost, result


def same_pixels(ours: Path, theirs: Path) -> tuple[int, int]:
    """(pixels in both, pixels in one only) of the frames that both files have."""
    with h5py.File(ours) as one, h5py.File(theirs) as other:
        groups = [file["entry_0000/sparse_frames"] for file in (one, other)]
        pointers = [group["frame_ptr"][()].astype(int) for group in groups]
        both = differing = 0
        for number in range(min(len(pointer) for pointer in pointers) - 1):
            kept = [
                set(group["index"][pointer[number] : pointer[number + 1]].tolist())
                for group, pointer in zip(groups, pointers, strict=True)
            ]
            both += len(kept[0] & kept[1])
            differing += len(kept[0] ^ kept[1])
    return both, differing


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=400, help="frames for inbeam")
    parser.add_argument("--theirs", type=int, default=40, help="frames for pyFAI")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--peaks", action="store_true", help="with peak finding, for which pyFAI takes seconds on CPUs")
    parser.add_argument("--weighted", action="store_true", help="with solid angle and polarization")
    options = parser.parse_args()
    few, words = prepare(FEW, "sparsify_few.h5")
    words += ["--cutoff-peak", "4"] if options.peaks else []
    words += ["-A", "-P", "0.99"] if options.weighted else []
    many, _ = prepare(options.frames, "sparsify_many.h5")
    some, _ = prepare(options.theirs, "sparsify_some.h5")
    peer = [os.path.join(os.path.dirname(sys.executable), "sparsify-Bragg"), "--device", "0", "0"]
    measure([*inbeam("sparsify-bragg"), *words, "-o", str(OUT / "{basename}_warm.h5"), str(few)])
    ours, theirs, printed, our_cpu, their_cpu = [], [], [], [], []
    for _ in range(options.repeat):
        begin, little, _ = timed(inbeam("sparsify-bragg"), few, words, "inbeam")
        whole, much, kept = timed(inbeam("sparsify-bragg"), many, words, "inbeam")
        ours.append((whole - begin) / (options.frames - FEW))
        our_cpu.append((much.cpu_s - little.cpu_s) / (options.frames - FEW))
        _, little, _ = timed(peer, few, words, "pyfai")
        whole, much, their_result = timed(peer, some, words, "pyfai")
        theirs.append((much.wall_s - little.wall_s) / (options.theirs - FEW))
        printed.append(whole / options.theirs)
        their_cpu.append((much.cpu_s - little.cpu_s) / (options.theirs - FEW))
    one, other, one_cpu, other_cpu = (statistics.median(values) for values in (ours, theirs, our_cpu, their_cpu))
    both, differing = same_pixels(kept, their_result)
    with h5py.File(many) as file:
        packed = file["entry/data/data"].id.get_storage_size() / options.frames
    size = kept.stat().st_size / options.frames
    with h5py.File(kept) as file:
        fixed = sum(file[f"entry/sparse_frames/{name}"].id.get_storage_size() for name in ("mask", "radius"))
    each = (kept.stat().st_size - fixed) / options.frames
    kind = ", peak finding" * options.peaks + ", solid angle and polarization" * options.weighted
    table(
        f"sparsify an EIGER2 4M ({SPOTS} spots, poisson{kind}), bslz4 file to sparse file, {os.cpu_count()} cores",
        [
            ("`inbeam sparsify-bragg`, per frame", f"{1e3 * one:.1f} ms", f"CPU {1e3 * one_cpu:.1f} ms"),
            (
                "`sparsify-Bragg` (pyFAI, OpenCL 0 0), per frame",
                f"{1e3 * other:.0f} ms",
                f"CPU {1e3 * other_cpu:.0f} ms",
            ),
            ("the same, as it prints, without writing", f"{1e3 * statistics.median(printed):.0f} ms", ""),
            ("**ratio, wall**", f"**{other / one:.1f}**", ">= 20"),
            ("ratio, CPU", f"{other_cpu / one_cpu:.1f}", ""),
            ("picked pixels in both / in one only", f"{both} / {differing}", "0 but for ties"),
            (
                "a frame in bslz4 / in the sparse file",
                f"{packed / 1e6:.2f} / {each / 1e6:.3f} MB",
                f"{packed / each:.1f} : 1",
            ),
            ("the same with what is written once", f"{size / 1e6:.3f} MB", f"{packed / size:.1f} : 1"),
        ],
    )


if __name__ == "__main__":
    sys.exit(main())
