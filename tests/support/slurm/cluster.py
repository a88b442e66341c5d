"""A real Slurm cluster on the loopback of one machine: a controller and three nodes, one with a simulated GPU.

Each node is a PID namespace with its own host name, so that killing its first process simulates a power failure: the
daemon and all its jobs end at once. Needs root, and Debian's slurmctld, slurmd, slurm-client and munge; no systemd, no
cgroups, no network.
"""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

NODES = ("c1", "c2", "g1")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "unshare")

CONF = """
ClusterName=little
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={run}/munge/socket,cred_expire=15
CredType=cred/munge
{listen}
StateSaveLocation={run}/state
SlurmdSpoolDir={run}/spool/%n
SlurmctldPidFile={run}/pid/slurmctld.pid
SlurmdPidFile={run}/spool/%n/slurmd.pid
SlurmctldLogFile={run}/log/slurmctld.log
SlurmdLogFile={run}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
MpiDefault=none
SwitchType=switch/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
# a node that is lost is noticed in seconds, a job starts in less
SlurmdTimeout=5
MessageTimeout=5
TCPTimeout=2
UnkillableStepTimeout=180
KillWait=5
MinJobAge=3600
# a job that the controller requeues goes on in the log it had
JobFileAppend=1
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_interval=5,batch_sched_delay=1,sched_min_interval=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
EnforcePartLimits=ALL
GresTypes=gpu
# more cores than the machine may have
SlurmdParameters=config_overrides
"""


def missing() -> list[str]:
    """Return the requirements of the cluster that this machine lacks."""
    lacking = [program for program in PROGRAMS if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None]
    return lacking if os.getuid() == 0 else ["root", *lacking]


class Cluster:
    """A Slurm cluster, controlled only through its own pid files; it writes only below the folder `run`.

    No node sees the folder `run/here`.
    """

    def __init__(self, run: Path) -> None:
        self.run = run
        self.ports = _free_ports(1 + len(NODES))
        self.spaces: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("etc", "munge", "state", "spool", "log", "pid", "here"):
            (run / name).mkdir(parents=True, mode=0o755)
        self._configure()

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment for programs that talk to this cluster."""
        return {**os.environ, "SLURM_CONF": str(self.run / "etc" / "slurm.conf")}

    def _configure(self) -> None:
        host = socket.gethostname()
        # daemons listen on the address of the host's name: on loopback alone, if that is loopback
        local = socket.gethostbyname(host).startswith("127.")
        listen = "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" if local else ""
        lines = [CONF.format(host=host.split(".")[0], port=self.ports[0], run=self.run, listen=listen)]
        for node, port in zip(NODES, self.ports[1:], strict=True):
            size = "CPUs=2 Boards=1 SocketsPerBoard=1 CoresPerSocket=2 ThreadsPerCore=1 RealMemory=6000"
            gpu = "Gres=gpu:fake:1" if node == "g1" else ""
            lines.append(f"NodeName={node} NodeHostname={node} NodeAddr=127.0.0.1 Port={port} {size} {gpu}")
        lines.append("PartitionName=cpu Nodes=c1,c2 Default=YES MaxTime=60 DefaultTime=5 PriorityTier=1")
        lines.append("PartitionName=urgent Nodes=c1,c2 MaxTime=60 DefaultTime=5 PriorityTier=2")
        lines.append("PartitionName=closed Nodes=c1,c2 MaxTime=60 AllowAccounts=others")
        lines.append("PartitionName=gpu Nodes=g1 MaxTime=60 DefaultTime=5")
        etc = self.run / "etc"
        (etc / "slurm.conf").write_text("\n".join(lines) + "\n")
        (etc / "gres.conf").write_text("NodeName=g1 Name=gpu Type=fake File=/dev/null\n")
        (etc / "cgroup.conf").write_text("CgroupAutomount=no\n")
        (etc / "hosts").write_text(Path("/etc/hosts").read_text() + f"127.0.0.1 {' '.join(NODES)}\n")
        key = self.run / "munge" / "key"
        key.touch(mode=0o600)
        key.write_bytes(secrets.token_bytes(1024))

    def start(self) -> None:
        """Start all daemons that are not running, including killed nodes."""
        munge = self.run / "munge"
        if not self._alive("munged"):
            files = {"key-file": "key", "socket": "socket", "log-file": "log", "seed-file": "seed"}
            options = [f"--{option}={munge / name}" for option, name in files.items()]
            pid = self.run / "pid" / "munged.pid"
            subprocess.run([_find("munged"), *options, f"--pid-file={pid}", "--num-threads=2"], check=True)
        self.start_controller()
        for node in NODES:
            if not self._alive(node):
                self._start_node(node)
        up = ("idle", "mixed", "allocated", "completing")
        self.wait(lambda: all(state in up for state in self._states()), "nodes", 60)

    def start_controller(self) -> None:
        """Start the controller if it is not running."""
        if not self._alive("slurmctld"):
            subprocess.run([_find("slurmctld")], env=self.environment, check=True)
            self.wait(self._answers, "the controller", 20)

    def _answers(self) -> bool:
        ping = subprocess.run(["scontrol", "ping"], env=self.environment, capture_output=True, check=False)
        return ping.returncode == 0

    def _start_node(self, node: str) -> None:
        # the node finds the configuration in /etc/slurm, even if a step changes its environment
        script = (
            'hostname "$1"; mount --bind "$2/etc/hosts" /etc/hosts; mount --bind "$2/etc" /etc/slurm; '
            'mount -t tmpfs none "$2/here"; '
            '"$3" -D -N "$1" & s=$!; trap "kill -TERM $s" TERM; while kill -0 $s 2>/dev/null; do wait $s; done'
        )
        (self.run / "spool" / node).mkdir(exist_ok=True)
        Path("/etc/slurm").mkdir(exist_ok=True)
        space = ["unshare", "--fork", "--pid", "--uts", "--mount-proc", "--kill-child=KILL"]
        with (self.run / "log" / f"{node}.out").open("ab") as out:
            shell = ["bash", "-c", script, "node", node, str(self.run), _find("slurmd")]
            process = subprocess.Popen(
                [*space, *shell],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=self.environment,
                start_new_session=True,
            )
        self.spaces[node] = process
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        self.wait(lambda: bool(children.read_text().split()), f"namespace of {node}", 10)
        (self.run / "pid" / f"{node}.pid").write_text(children.read_text().split()[0])

    def kill(self, name: str) -> None:
        """Kill the controller or, as in a power failure, a node."""
        os.kill(int((self.run / "pid" / f"{name}.pid").read_text()), signal.SIGKILL)
        self.wait(lambda: not self._alive(name), f"the end of {name}", 10)
        if name in self.spaces:
            self.spaces.pop(name).wait(10)

    def stop(self) -> None:
        """Stop nodes, controller and munge of this cluster alone."""
        for name in (*NODES, "slurmctld", "munged"):
            if self._alive(name):
                os.kill(int((self.run / "pid" / f"{name}.pid").read_text()), signal.SIGTERM)
        for name in (*NODES, "slurmctld", "munged"):
            try:
                self.wait(lambda name=name: not self._alive(name), f"the end of {name}", 10)  # type: ignore[misc]
            except TimeoutError:
                self.kill(name)
        for process in self.spaces.values():
            process.wait(10)

    def ask(self, *command: str) -> str:
        """Return the output of one of Slurm's programs."""
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def jobs(self, state: str = "all") -> dict[str, dict[str, str]]:
        """Return the jobs in a state by id, with name, state, node and partition."""
        told = self.ask("squeue", "-h", f"--states={state}", "-o", "%i|%j|%T|%N|%P|%k")
        rows = [line.split("|") for line in told.splitlines()]
        return {
            row[0]: dict(zip(("name", "state", "node", "partition", "comment"), row[1:], strict=True)) for row in rows
        }

    def _states(self) -> list[str]:
        told = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%T"], env=self.environment, capture_output=True, text=True, check=False
        )
        states = told.stdout.split()
        return [state.rstrip("*") if not state.endswith("*") else "gone" for state in states]

    def _alive(self, name: str) -> bool:
        path = self.run / "pid" / f"{name}.pid"
        try:
            pid = int(path.read_text())
            command, state = Path(f"/proc/{pid}/comm").read_text(), Path(f"/proc/{pid}/stat").read_text()
        except (OSError, ValueError):
            return False
        return command.startswith("bash" if name in NODES else name) and state.rsplit(")", 1)[1].split()[0] != "Z"

    def wait(self, ready: Callable[[], bool], what: str, seconds: float) -> None:
        """Wait until a condition holds.

        Raises:
            TimeoutError: the condition did not hold within the given seconds.
        """
        end = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > end:
                raise TimeoutError(
                    f"waited {seconds} s for {what}; nodes: {self._states()}; logs are in {self.run / 'log'}"
                )
            time.sleep(0.1)


def _find(program: str) -> str:
    return shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") or program


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports
