"""Recon3D's ini file, its arguments, and a scan as EDF files."""

from pathlib import Path
from typing import Any

import fabio
import numpy as np
from grain_scans import FRAME, SCALE, SIZE, VOXELS, scanned

from stream.commands.main import main

INI = f"""# a comment
sg_no  225  # Space group
unit_cell  [4.0495,4.0495,4.0495,90.,90.,90.]
hkl  [2,0,0]
wavelength  0.7293
grain_pos  [0,0,0]
grain_dim  [{SIZE}, {SIZE}, {SIZE}]\t# 3D ROI
grain_steps  [{VOXELS},{VOXELS},{VOXELS}]
ang_mean  [0,0]
detx_size  512
M {SCALE}
t_x  "None"
t_y  0
t_z  0
path  "PATH"  # Folder with # files
format  "edf"
mode "horizontal"
completeness_cutoff 0
xyz_up [0,0,0]
"""


GAMMA = ("--tilt1", "mu", "--gamma", "phi,chi,0.5,0", "--omega", "omega")


def edf(path: Path, image: np.ndarray, **motors: float) -> None:
    header = {
        "motor_mne": " ".join(motors),
        "motor_pos": " ".join(f"{value:.7f}" for value in motors.values()),
    }
    fabio.edfimage.EdfImage(data=image, header=header).write(str(path))


def recorded_scan(folder: Path) -> Path:
    """The phantom's scan as EDF files, its motors jittering; phi and chi turn with the sample, so that gamma is made of
    them. Two background files."""
    dice = np.random.default_rng(3)
    for each in scanned():
        image = np.frombuffer(each.payloads["ch"].data, np.uint16).reshape(FRAME)
        mu, gamma, omega = (each.readings[name] for name in ("mu", "gamma", "omega"))
        turned = np.radians(omega)
        motors = {"phi": 0.5 + gamma * np.cos(turned), "chi": gamma * np.sin(turned), "mu": mu, "omega": omega}
        motors = {name: value + dice.uniform(-4e-4, 4e-4) for name, value in motors.items()}
        edf(folder / f"run1_{each.index:04d}.edf", image + np.uint16(3), **motors)
    for number, level in enumerate((2, 4)):
        edf(folder / f"bg1_{number}.edf", np.full(FRAME, level, np.uint16))
    return folder


def getdata(recorded: Path, target: Path, *more: str, bg: tuple[str, str] | None = None, roi: Any = None) -> int:
    given = bg or (str(recorded), "bg1_")
    poi, size = roi or (f"{FRAME[1] // 2},{FRAME[0] // 2}", f"{FRAME[1]},{FRAME[0]}")
    return main(["recon3d-getdata", str(recorded), "run1_", *given, poi, size, str(target), "array", *GAMMA, *more])
