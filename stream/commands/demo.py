"""`inbeam demo`: a simulated EIGER2 4M in its own process, through the whole pipeline, with a picture at the end."""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import webbrowser
from pathlib import Path

import h5py
import numpy as np
import yaml

from stream.commands.picture import draw
from stream.commands.progress import show_progress
from stream.config import load
from stream.errors import InbeamError
from stream.numbers import above_zero, whole
from stream.pipeline.memory import keep_freed_memory
from stream.pipeline.report import Report
from stream.pipeline.runner import Run, stop_on_signals
from stream.roles import Counters

DETECTOR_PATIENCE_S = 60.0
MADE_HERE = ("frames.h5*", "results.h5*", "demo.png", "demo.yaml", "detector.*", ".inbeam-*")
"""What an earlier demo left in its folder; nothing else is touched."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `inbeam demo`."""
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where everything goes (default: demo)")
    parser.add_argument("--frames", type=whole(1), default=240, help="frames to send (default: 240, about 350 MB)")
    parser.add_argument("--rate", type=above_zero, default=40.0, help="frames per second (default: 40)")


def run(options: argparse.Namespace) -> int:
    """Make the folder, start the detector, run the pipeline, show what came of it."""
    folder: Path = options.folder
    for pattern in MADE_HERE:
        for left in folder.glob(pattern):
            left.unlink()
    keep_freed_memory()
    say("A first scan of two frames prepares geometry and kernels; both are cached for the next start.")
    first = scan(folder / "first", frames=2, rate=options.rate, look=False)
    if first.exit_code:
        say(f"inbeam demo: {first.summary()}")
        return first.exit_code
    say(f"A simulated EIGER2 4M sends {options.frames} frames at {options.rate:g} Hz to {folder / 'demo.yaml'}.")
    report = scan(folder, frames=options.frames, rate=options.rate, look=True)
    shutil.rmtree(folder / "first")
    if (folder / "results.h5").exists():
        show(folder, report)
    else:
        say(f"inbeam demo: {report.summary()}")
    return report.exit_code


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def scan(folder: Path, *, frames: int, rate: float, look: bool) -> Report:
    """One scan of the simulated detector through the pipeline, into `folder`. look: with a live page."""
    folder.mkdir(parents=True, exist_ok=True)
    port, monitor, page = free_port(), free_port(), free_port() if look else None
    configuration = folder / "demo.yaml"
    configuration.write_text(yaml.safe_dump(pipeline(folder, port, monitor, page), sort_keys=False), encoding="utf-8")
    detector = start_detector(folder, port, frames, rate)
    pages = [f"http://127.0.0.1:{page}/"] if look else []
    try:
        running = Run(load(configuration), reopen=True)
        with show_progress() as progress, stop_on_signals(running.stop):

            def shown(counters: Counters) -> None:
                progress(counters)
                if counters.scan and pages:  # the page is there with the scan
                    show_page(pages.pop())

            report = running.execute(shown)
        detector.wait(DETECTOR_PATIENCE_S)
    finally:
        if detector.poll() is None:
            detector.terminate()
            detector.wait()
    return report


def show_page(address: str) -> None:
    """In the browser of a desktop, if there is one."""
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or sys.platform == "darwin":
        webbrowser.open(address)


def pipeline(folder: Path, port: int, monitor: int, page: int | None) -> dict[str, object]:
    """The configuration of the demo, which is also one to begin with."""
    return {
        "stream": {"type": "stream2", "endpoint": f"tcp://127.0.0.1:{port}"},
        "processors": [
            {"type": "correct"},
            {
                "type": "integrate",
                "poni": str(folder / "detector.poni"),
                "npt": 1000,
                "unit": "q_nm^-1",
                "polarization": 0.99,
                "error_model": "poisson",
            },
        ],
        "sinks": [
            {"type": "archive", "path": str(folder / "frames.h5")},
            {"type": "hdf5", "path": str(folder / "results.h5"), "link": str(folder / "frames.h5")},
            {"type": "monitor", "endpoint": f"tcp://127.0.0.1:{monitor}"},
            *([{"type": "page", "endpoint": f"127.0.0.1:{page}"}] if page else []),
        ],
        "run": {"scans": 1},
    }


def start_detector(folder: Path, port: int, frames: int, rate: float) -> "subprocess.Popen[bytes]":
    """The simulator in its own process, which waits for our socket before it arms. Returns when it listens: its
    geometry is there, and nobody is told that the detector is not."""
    command = [sys.executable, "-m", "stream.commands.main", "simulate", "--detector", "eiger2-4m"]
    command += ["--frames", str(frames), "--rate", str(rate), "--poni", str(folder / "detector.poni")]
    command += ["--bind", f"tcp://127.0.0.1:{port}", "--timeout", "300"]
    said = folder / "detector.log"
    with said.open("wb") as log:
        detector = subprocess.Popen(command, stdout=log, stderr=log)
    while b"listening on" not in said.read_bytes():
        try:
            detector.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
        raise InbeamError(f"the simulated detector did not start: see {said}")
    return detector


def show(folder: Path, report: Report) -> None:
    """The short table, the paths, the picture."""
    if report.exit_code:
        print(f"inbeam: {report.summary()}")
    with h5py.File(folder / "results.h5") as file:
        ledger = file["entry/ledger"]
        received, on_disk = ledger["received_time"][()], ledger["on_disk_time"][()]
        there = on_disk > 0
        seconds = float(np.ptp(received[there])) or 1.0
        latency = 1e3 * (on_disk - received)[there]
    picture = draw(folder / "results.h5", folder / "demo.png")
    size = (folder / "frames.h5").stat().st_size / 1e6
    rows = [
        ("frames received", f"{there.sum()} of {report.scans[0].expected}"),
        ("rate", f"{(there.sum() - 1) / seconds:.1f} frames/s"),
        ("from socket to file, median", f"{np.median(latency):.0f} ms"),
        ("from socket to file, 99 %", f"{np.percentile(latency, 99):.0f} ms"),
        ("lost", f"{report.scans[0].lost}"),
        ("compressed frames on disk", f"{size:.0f} MB"),
    ]
    print()
    for name, value in rows:
        print(f"  {name:28} {value}")
    print(f"\n  frames    {folder / 'frames.h5'}\n  patterns  {folder / 'results.h5'}")
    print(f"  picture   {picture}\n  pipeline  {folder / 'demo.yaml'}")


def free_port() -> int:
    """A port of the loopback interface that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
