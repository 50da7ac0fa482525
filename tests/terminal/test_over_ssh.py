"""Over a real sshd on 127.0.0.1, nothing forwarded: it opens, trains, and outlives a dropped line
with its work saved."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.terminal, pytest.mark.sshd, pytest.mark.slow]

SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/client_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AllowTcpForwarding no
AllowAgentForwarding no
AllowStreamLocalForwarding no
X11Forwarding no
PermitTunnel no
PermitUserEnvironment no
"""


def sshd_program() -> str:
    """Where sshd is: not on everyone's PATH, and it must be called by its whole path."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
    found = shutil.which("sshd", path=path)
    if found is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("openssh-server is not installed")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[str]:
    """The command line of a client for a server of the test's own."""
    program = sshd_program()
    folder = tmp_path / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host_key", "client_key"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    port = free_port()
    (folder / "sshd_config").write_text(SERVER.format(port=port, folder=folder))
    if os.geteuid() == 0:
        # Run by root, it wants this empty folder, which the system's start script makes.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with open(folder / "sshd.log", "wb") as log:
        server = subprocess.Popen(
            [program, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log, stdout=log
        )
    options = {
        "IdentitiesOnly": "yes",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "ForwardX11": "no",
        "BatchMode": "yes",
        "ConnectionAttempts": "10",
    }
    words = " ".join(f"-o {name}={value}" for name, value in options.items())
    login = f"{getpass.getuser()}@127.0.0.1"
    command = f"ssh -tt -F none -p {port} -i {folder}/client_key {words} {login}"
    try:
        done = subprocess.run([*command.split(), "true"], stdin=subprocess.DEVNULL)
        if done.returncode:
            log = (folder / "sshd.log").read_text()
            pytest.skip(f"this machine lets no one in by ssh: {log.splitlines()[-1:]}")
        yield command
    finally:
        server.terminate()
        server.wait(10)


def test_it_trains_over_ssh_and_a_dropped_line_saves(
    ssh, pane, long_run, files, environ, places
) -> None:
    tmux = pane(120, 40)
    words = " ".join(f"{name}={value}" for name, value in (environ | places).items())
    tmux.line(f"{ssh} 'cd {tmux.folder} && exec env {words} {sys.executable} -m tui'")
    seen = tmux.wait_for(lambda now: "commands" in now.rstrip("\n").rsplit("\n", 1)[-1])
    assert "1 Model" in seen and "○ ready" in seen
    tmux.keys("t")
    tmux.wait_for("● training")
    files.wait(lambda: len(files.logged(files.runs(tmux.folder)[0])) > 5)
    (run,) = files.runs(tmux.folder)
    (process,) = [one for one in psutil.process_iter() if runs_in(one, tmux.folder)]

    shell = psutil.Process(int(tmux.state("pane_pid")))
    (client,) = [one for one in shell.children() if one.name() == "ssh"]
    client.kill()
    process.wait(60)
    assert files.complete(run) == [files.logged(run)[-1]]
    tmux.wait_for("Killed")


def runs_in(process: psutil.Process, folder: Path) -> bool:
    """Whether this is the program that was started over ssh."""
    with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return process.cmdline()[1:] == ["-m", "tui"] and Path(process.cwd()) == folder
    return False
