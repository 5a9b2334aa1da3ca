"""Hosts on one machine: namespaces of Linux with an sshd each, on a network of their own.

A host has its own network, processes, hostname, home, /tmp and /dev/shm; the system below is
read-only, and the project, the data and the machine's network are not there. What is shared is the
"machine image", this interpreter with its packages, of which every host has a copy to write to,
and the folder /mnt/shared. Everything ends with the process that started it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HOME = "/home/tuner"
SHARED = "/mnt/shared"
NAMESPACES = ("--net", "--pid", "--mount", "--uts", "--ipc")
TOOLS = ("unshare", "nsenter", "setpriv", "mount", "ip", "sshd", "ssh-keygen", "rsync")
NETWORK = "10.77.0"

TRY = """
set -e
mount -t tmpfs none /mnt
mkdir /mnt/lower /mnt/upper /mnt/work /mnt/both
mount -t overlay overlay -o lowerdir=/mnt/lower,upperdir=/mnt/upper,workdir=/mnt/work /mnt/both
"""

BOOT = """
set -e
disk=$1 venv=$2 base=$3 address=$4 name=$5; shift 5
export PATH=$PATH:/usr/sbin:/sbin
read -r go  # the network is plugged in
mount --make-rprivate /
hostname "$name"
mount -t overlay overlay -o "lowerdir=$venv,upperdir=$disk/upper,workdir=$disk/work" "$disk/venv"
mount --bind "$disk/../shared" "$disk/shared"
mount --bind "$base" "$disk/base"
mount --rbind "$disk" /mnt
for hidden in "$@"; do mount -t tmpfs -o size=1m none "$hidden"; done
mount --bind /mnt/home /home
mount --bind /mnt/tmp /tmp
mount -t tmpfs none /run
mount -t tmpfs -o size=1g none /dev/shm
mkdir -m 755 /run/sshd
# The image, wherever it lies: what was mounted above may have hidden it.
[ -d "$base/lib" ] || { mkdir -p "$base"; mount --bind /mnt/base "$base"; }
mkdir -p "$venv"
mount --bind /mnt/venv "$venv"
for file in passwd hosts resolv.conf; do mount --bind "/mnt/etc/$file" "/etc/$file"; done
mount -o remount,bind,ro /
ip link set lo up
[ "$address" = none ] || { ip addr add "$address/24" dev eth0; ip link set eth0 up; }
exec /usr/sbin/sshd -D -e -f /mnt/etc/sshd_config
"""

SSHD = f"""
Port 22
HostKey /mnt/etc/host_key
AuthorizedKeysFile {HOME}/.ssh/authorized_keys
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 100
PidFile none
Subsystem sftp internal-sftp
"""

PROFILE = """
# What this machine has for each of its hosts, which would all take it for their own.
export RAY_OVERRIDE_RESOURCES='{resources}'
export RAY_memory_monitor_refresh_ms=0 RAY_local_fs_capacity_threshold=0.999
export RAY_USAGE_STATS_ENABLED=0 HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1
# No package index, and the image has what packages are built with.
export PIP_NO_INDEX=1 PIP_NO_BUILD_ISOLATION=0 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
"""
RESOURCES = '{"CPU": 1, "memory": 4000000000, "object_store_memory": 200000000}'


def why_not() -> str | None:
    """What keeps this machine from having such hosts; None: nothing does."""
    if os.geteuid() != 0:
        return "hosts in namespaces need root"
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    lacking = [tool for tool in TOOLS if shutil.which(tool, path=path) is None]
    if lacking:
        return f"{', '.join(lacking)} not installed (openssh-server, rsync, iproute2, util-linux)"
    tried = ["unshare", *NAMESPACES, "--fork", "bash", "-c", TRY]
    done = subprocess.run(tried, capture_output=True, text=True)
    return None if done.returncode == 0 else f"no hosts in namespaces: {done.stderr.strip()}"


@dataclass
class Host:
    """One of them. `pid` is its first process, as this machine numbers it."""

    name: str
    address: str
    disk: Path
    _process: subprocess.Popen[bytes] = field(repr=False)
    pid: int
    _switch: int | None = None
    """The first process of the host that has the switch."""

    @property
    def home(self) -> Path:
        """Its home, as this machine sees it."""
        return self.disk / "home" / "tuner"

    def command(self, command: str, folder: str = HOME) -> list[str]:
        """What runs `command` there, by a login shell's rules, from outside."""
        venv = Path(sys.prefix) / "bin"
        return [
            *("nsenter", "--target", str(self.pid), *NAMESPACES),
            *("env", "-i", f"HOME={HOME}", "USER=root", "TERM=dumb", "LC_ALL=C.UTF-8"),
            *("COLUMNS=120", f"PATH={venv}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
            *("bash", "-c", f"cd {shlex.quote(folder)}; . ~/.bashrc; {command}"),
        ]

    def start(self, command: str, folder: str = HOME) -> subprocess.Popen[str]:
        """Start a command there; its output, both streams together, can be read. Its input stays
        open, as a user's terminal does: without one, ssh ends what it has forwarded."""
        return subprocess.Popen(
            self.command(command, folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )

    def run(self, command: str, folder: str = HOME, timeout: float = 120.0) -> str:
        """Run a command there; what it printed. AssertionError, with that, when it fails."""
        try:
            done = subprocess.run(
                self.command(command, folder),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=timeout,
            )
        except subprocess.TimeoutExpired as error:
            said = error.stdout or b""
            raise AssertionError(f"{command}: not done in {timeout} s\n{said!r}") from error
        assert done.returncode == 0, f"{command}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    def answers(self, command: str) -> bool:
        """Whether a command there ends well."""
        command_line = self.command(command)
        return subprocess.run(command_line, capture_output=True, timeout=60).returncode == 0

    def power_off(self) -> None:
        """End it as a cut of its power does: at once, whatever runs."""
        if self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self._process.wait(timeout=20)

    def cut(self) -> None:
        """Nothing goes to or from it any more."""
        self._link("down")

    def mend(self) -> None:
        """Its link is up again."""
        self._link("up")

    def _link(self, state: str) -> None:
        _ip(self._switch, "link", "set", self.name, state)


def _ip(pid: int | None, *arguments: str) -> None:
    command = ["nsenter", f"--net=/proc/{pid}/ns/net", "ip", *arguments]
    subprocess.run(command, check=True, capture_output=True, text=True)


@contextmanager
def network(folder: Path, names: Sequence[str], hidden: Sequence[Path]) -> Iterator[list[Host]]:
    """A laptop, first in the list, and hosts called `names`, that its key opens.

    `folder` keeps their disks and what they share; they do not see the folders `hidden`.
    """
    (folder / "shared").mkdir(parents=True)
    addresses = {"laptop": f"{NETWORK}.1"}
    addresses |= {name: f"{NETWORK}.{number}" for number, name in enumerate(names, 2)}
    with ExitStack() as stack:
        found: list[Host] = []
        for name, address in addresses.items():
            disk = folder / name
            _make_disk(disk, name, addresses)
            found.append(_boot(name, address, disk, hidden))
            stack.callback(found[-1].power_off)
        laptop, *rest = found
        _keys(laptop, rest)
        _plug(laptop, rest)
        for host in rest:
            _await_ssh(laptop, host)
        yield found


def _make_disk(disk: Path, name: str, addresses: dict[str, str]) -> None:
    for part in ("upper", "work", "venv", "base", "shared", "home/tuner/.ssh", "tmp", "etc"):
        (disk / part).mkdir(parents=True)
    (disk / "tmp").chmod(0o1777)
    (disk / "home/tuner/.ssh").chmod(0o700)
    (disk / "home/tuner/venv").symlink_to(sys.prefix)
    (disk / "home/tuner/.bashrc").write_text(PROFILE.replace("{resources}", RESOURCES))
    known = Path("/etc/passwd").read_text().splitlines()
    others = [line for line in known if not line.startswith("root:")]
    passwd = "\n".join([f"root:*:0:0:root:{HOME}:/bin/bash", *others])
    (disk / "etc/passwd").write_text(passwd + "\n")
    lines = [f"{address} {other}" for other, address in addresses.items()]
    (disk / "etc/hosts").write_text("\n".join(["127.0.0.1 localhost", *lines]) + "\n")
    (disk / "etc/resolv.conf").write_text("")
    (disk / "etc/sshd_config").write_text(SSHD)
    _key(disk / "etc/host_key", name)


def _key(path: Path, comment: str) -> None:
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    subprocess.run(made, check=True)


def _boot(name: str, address: str, disk: Path, hidden: Sequence[Path]) -> Host:
    script = ["bash", "-c", BOOT, "boot", str(disk), sys.prefix, sys.base_prefix, address, name]
    end_with_us = ["setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--kill-child"]
    process = subprocess.Popen(
        [*end_with_us, *NAMESPACES, "--mount-proc", *script, *map(str, hidden)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=(disk / "boot.log").open("wb"),
    )
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until = time.monotonic() + 10
    while time.monotonic() < until:
        found = children.read_text().split()
        if found and os.readlink(f"/proc/{found[0]}/ns/net") != os.readlink("/proc/self/ns/net"):
            return Host(name, address, disk, process, int(found[0]))
        time.sleep(0.01)
    raise AssertionError(f"{name} did not start: {(disk / 'boot.log').read_text()}")


def _keys(laptop: Host, hosts: Sequence[Host]) -> None:
    """The laptop's key opens the hosts."""
    _key(laptop.home / ".ssh/id_ed25519", "laptop")
    public = (laptop.home / ".ssh/id_ed25519.pub").read_text()
    for host in hosts:
        (host.home / ".ssh/authorized_keys").write_text(public)


def _plug(laptop: Host, hosts: Sequence[Host]) -> None:
    """The switch is the laptop's: it is gone when the laptop is."""
    _ip(laptop.pid, "link", "add", "eth0", "type", "bridge")
    for host in hosts:
        peer = ("peer", "name", "eth0", "netns", str(host.pid))
        _ip(laptop.pid, "link", "add", host.name, "type", "veth", *peer)
        _ip(laptop.pid, "link", "set", host.name, "master", "eth0", "up")
        host._switch = laptop.pid
    for host in (laptop, *hosts):
        assert host._process.stdin is not None
        host._process.stdin.write(b"go\n")
        host._process.stdin.close()


def _await_ssh(laptop: Host, host: Host) -> None:
    until = time.monotonic() + 20
    options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=2"
    while True:
        try:
            laptop.run(f"ssh -q {options} root@{host.address} true")
            return
        except AssertionError as error:
            if time.monotonic() > until or host._process.poll() is not None:
                log = (host.disk / "boot.log").read_text()
                raise AssertionError(f"{host.name} does not answer: {log}") from error
        time.sleep(0.1)
