"""Programs started as a user would start them: their own process group, their log kept, waited for by their health."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parent.parent


class Program:
    """One program and the processes that it starts in turn; ``stop`` or ``kill`` ends them all."""

    def __init__(self, name: str, command: Sequence[str], environ: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as written:
            self._process = subprocess.Popen(
                list(command),
                cwd=ROOT,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def said(self) -> str:
        """The last lines of its log, for the message of a test that fails."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join([f"--- {self.name} said, in {self.log}:", *lines[-30:]])

    def wait_until(self, done: Callable[[], bool], patience_s: float = 120.0) -> None:
        """Fails, with what the program said, when it ends or ``done`` does not become true."""
        ends = time.monotonic() + patience_s
        while not done():
            assert self.running, f"{self.name} ended with {self._process.returncode}\n{self.said()}"
            assert time.monotonic() < ends, f"{self.name} is not there after {patience_s:.0f} s\n{self.said()}"
            time.sleep(0.2)

    def wait(self, patience_s: float = 300.0) -> int:
        """Its exit code, for programs that end by themselves."""
        return self._process.wait(patience_s)

    def signal(self, number: int) -> None:
        """Send it a signal, and to it alone."""
        self._process.send_signal(number)

    def stop(self, patience_s: float = 30.0) -> int:
        """Ask it to end, as a supervisor does; what has not gone by then is killed. Returns its exit code."""
        if self.running:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        self.kill()
        return self._process.returncode

    def kill(self) -> None:
        """End it and all that it started at once, without a chance to tidy up."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


@contextlib.contextmanager
def program(name: str, command: Sequence[str], environ: Mapping[str, str], log: Path) -> Iterator[Program]:
    """Run a program for the length of a block."""
    running = Program(name, command, environ, log)
    try:
        yield running
    finally:
        running.stop()


def answers(url: str) -> bool:
    """Whether a GET of ``url`` is answered with 200."""
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
