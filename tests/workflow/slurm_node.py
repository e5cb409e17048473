"""A real SLURM of one node, for tests: Debian's packages, 127.0.0.1 only, two pretended GPUs, no database, gone afterwards.

Its own munge key and socket, its own folder for everything; /etc/slurm holds links to its configuration while it runs, because the
executor takes SLURM_CONF out of the environment of its inner `srun`. Where /etc/slurm holds a real configuration nothing is touched.
"""

import contextlib
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

NEEDED = ("slurmctld", "slurmd", "munged", "sbatch", "squeue", "scontrol", "scancel")
ETC = Path("/etc/slurm")
FILES = ("slurm.conf", "gres.conf", "cgroup.conf")
GPUS = 2
SLURM = """\
ClusterName=pretended
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={run}/munge.socket
CredType=cred/munge
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmctldPidFile={run}/slurmctld.pid
SlurmdPidFile={run}/slurmd.pid
SlurmctldLogFile={run}/slurmctld.log
SlurmdLogFile={run}/slurmd.log
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool
SlurmdParameters=config_overrides
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
MinJobAge=3600
DefMemPerCPU=1000
KillWait=5
GresTypes=gpu
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} Sockets=1 CoresPerSocket={cpus} RealMemory={memory} Gres=gpu:fake:{gpus} State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=1-00:00:00 State=UP
PartitionName=gpu Nodes={host} MaxTime=1-00:00:00 State=UP
"""


def missing() -> str:
    """Why there can be no SLURM here; empty: there can."""
    absent = [name for name in NEEDED if shutil.which(name) is None]
    if absent:
        return f"SLURM is not installed: no {', '.join(absent)} (.ci/run installs the Debian packages as root)"
    if os.geteuid() != 0:
        return "only root may start a SLURM of one node"
    try:  # root in a container of an ordinary user makes no devices
        _device(Path(tempfile.gettempdir()) / f"gradfaith-device-{os.getpid()}").unlink()
    except OSError as error:
        return f"no device file can be made here: {error.strerror}"
    taken = [str(ETC / name) for name in FILES if _in_use(ETC / name)]
    return f"{', '.join(taken)} is in use, and is not touched" if taken else ""


def _device(path: Path) -> Path:
    os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    return path


def _in_use(path: Path) -> bool:
    """A file that somebody wrote, or a link to the configuration of a controller that lives."""
    if not path.is_symlink():
        return path.exists()
    pid = next(iter(path.resolve().parent.parent.glob("**/slurmctld.pid")), None)
    return pid is not None and Path(f"/proc/{pid.read_text().strip() or 'none'}").exists()


class Node:
    """The one node, from `start` to `stop`."""

    def __init__(self, folder: Path) -> None:
        self.run, self.host = folder, socket.gethostname().split(".")[0]
        self.linked: list[Path] = []

    def start(self) -> None:
        for part in ("state", "spool", "dev"):
            (self.run / part).mkdir(parents=True, exist_ok=True)
        self.run.chmod(0o755)
        self._configure()
        self._munge()
        for daemon in (("slurmctld",), ("slurmd", "-N", self.host)):
            subprocess.run([*daemon, "-f", str(self.run / "slurm.conf")], check=True, capture_output=True)
        ready = lambda: {"idle", "mixed"} & set(said("sinfo", "-h", "-o", "%T").split())  # noqa: E731
        _wait(ready, 60, f"the node is not ready; see {self.run}/slurmctld.log")

    def stop(self) -> None:
        if self.linked:
            subprocess.run(["scancel", "--user", "root"], check=False, timeout=30, capture_output=True)
            _wait(lambda: not _steps(), 20, "", strict=False)
            for step in _steps():  # a busy machine may be slower than that
                with contextlib.suppress(psutil.NoSuchProcess):
                    for process in (*step.children(recursive=True), step):
                        process.kill()
        for daemon in ("slurmd", "slurmctld", "munged"):
            pid_file = self.run / f"{daemon}.pid"
            if pid_file.is_file() and (pid := pid_file.read_text().strip()):
                _end(int(pid))
        for link in self.linked:
            link.unlink(missing_ok=True)

    def _configure(self) -> None:
        memory = int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20 * 0.9)
        words = {"host": self.host, "run": self.run, "ports": free_ports(2), "gpus": GPUS, "memory": memory}
        (self.run / "slurm.conf").write_text(SLURM.format(cpus=os.cpu_count(), **words))
        for number in range(GPUS):  # a plain file is counted, but CUDA_VISIBLE_DEVICES is then not set
            _device(self.run / f"dev/gpu{number}")
        devices = f"{self.run}/dev/gpu[0-{GPUS - 1}]"
        (self.run / "gres.conf").write_text(f"AutoDetect=off\nNodeName={self.host} Name=gpu Type=fake File={devices}\n")
        (self.run / "cgroup.conf").write_text("CgroupPlugin=cgroup/v1\n")  # read even where no cgroup is used
        ETC.mkdir(exist_ok=True)
        for name in FILES:
            link = ETC / name
            if link.is_symlink():
                link.unlink()
            link.symlink_to(self.run / name)
            self.linked.append(link)

    def _munge(self) -> None:
        key = self.run / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        options = {"key-file": key, "socket": self.run / "munge.socket", "pid-file": self.run / "munged.pid"}
        options |= {"log-file": self.run / "munged.log", "seed-file": self.run / "munge.seed"}
        words = [f"--{name}={path}" for name, path in options.items()]
        subprocess.run(["munged", "--force", "--num-threads=2", *words], check=True, capture_output=True)


def said(*command: str) -> str:
    """What a command of SLURM answers; nothing, where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout if done.returncode == 0 else ""


def jobs() -> list[dict[str, str]]:
    """Every job that the controller remembers, as `scontrol show job` says it."""
    found = []
    for line in said("scontrol", "--oneliner", "show", "job").splitlines():
        words = (word.partition("=") for word in line.split() if "=" in word)
        found.append({key: value for key, _, value in words})
    return [job for job in found if "JobId" in job]


def free_ports(many: int) -> Sequence[int]:
    sockets = [socket.socket() for _ in range(many)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _steps() -> list[psutil.Process]:
    """What holds a job's processes; only this SLURM runs here, or it would not have begun."""
    living = psutil.process_iter(["name", "status"])
    return [one for one in living if one.info["name"] == "slurmstepd" and one.info["status"] != psutil.STATUS_ZOMBIE]


def _end(pid: int) -> None:
    for signal, seconds in ((15, 15), (9, 5)):
        try:
            os.kill(pid, signal)
            _wait(lambda: not Path(f"/proc/{pid}").exists(), seconds, "", strict=False)
        except ProcessLookupError:
            return


def _wait(until: Callable[[], object], seconds: float, else_say: str, *, strict: bool = True) -> None:
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            assert not strict, else_say
            return
        time.sleep(0.2)
