"""A SLURM of one node on loopback, of its own keys and ports, for as long as a test module runs."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from commands import wait_for

from stream.commands.demo import free_port

PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
"""Its daemons lie where not every user looks."""
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")


def there() -> bool:
    """Whether it can be started: Debian's slurm-wlm and munge, and the right to start jobs."""
    return all(shutil.which(name, path=PATH) for name in PROGRAMS) and os.geteuid() == 0


@contextmanager
def one_node(folder: Path) -> Iterator[Path]:
    """Its configuration, for SLURM_CONF. Partition `short`, one core."""
    name = socket.gethostname().partition(".")[0]
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    for each in ("state", "spool"):
        (folder / each).mkdir()
    config = folder / "slurm.conf"
    config.write_text(f"""
ClusterName=one
SlurmctldHost={name}(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
CredType=cred/munge
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
MessageTimeout=60
SelectType=select/cons_tres
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={name} NodeAddr=127.0.0.1 CPUs=1 RealMemory=2000 State=UNKNOWN
PartitionName=short Nodes={name} Default=YES MaxTime=60 State=UP
""")
    environment = {**os.environ, "PATH": PATH, "SLURM_CONF": str(config)}
    munge = ["munged", "--force", "--foreground", f"--key-file={key}", f"--socket={folder}/munge.sock"]
    munge += [f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log", f"--seed-file={folder}/seed"]

    def idle() -> bool:
        told = subprocess.run(["sinfo", "-h", "-o", "%T"], env=environment, capture_output=True, text=True, check=False)
        return told.stdout.strip() == "idle"

    with ExitStack() as stack:
        stack.enter_context(_running(munge, folder, environment))
        wait_for((folder / "munge.sock").exists, "munged")
        stack.enter_context(_running(["slurmctld", "-D", "-c"], folder, environment))
        stack.enter_context(_running(["slurmd", "-D", "-c"], folder, environment))
        wait_for(idle, "the node to be idle")
        yield config


@contextmanager
def _running(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[None]:
    with open(folder / f"{command[0]}.out", "wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
