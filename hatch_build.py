"""Hatch's build hook: compiles retrieval/_native when the package is installed, editable or as a wheel."""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeKernels(BuildHookInterface):  # type: ignore[type-arg]
    """A failure to compile is said once and leaves an installation that works, slower, on numpy."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        builder = _builder(Path(self.root))
        try:
            libraries = builder.compile_kernels()
        except builder.CompilerFailed as error:
            self.app.display_warning(
                f"riddle: the native kernels were not built: {error}. Vector search will use numpy, many times slower. "
                "Install g++ and run: python -m retrieval._native.build"
            )
            return
        build_data["artifacts"] += [f"/{path.relative_to(self.root).as_posix()}" for path in libraries]
        build_data["pure_python"] = False
        build_data["tag"] = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")


def _builder(root: Path) -> ModuleType:
    """The module that compiles, loaded by its path: nothing of the package is installed yet."""
    spec = importlib.util.spec_from_file_location("riddle_native_build", root / "retrieval/_native/build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
