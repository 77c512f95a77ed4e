# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for launch and launch_ros, which are no PyPI packages.

As a script it loads a launch file as apt's ``ros2 launch`` does, in a Python without what only a virtual environment
holds: ``python launch_stand.py segmentor [rigs]``.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

LAUNCH = Path(__file__).resolve().parents[1] / "launch"
NOT_FROM_APT = ("torch", "numba", "rosbags", "safetensors")
MODULES = (
    "launch",
    "launch.actions",
    "launch.conditions",
    "launch.event_handlers",
    "launch.events",
    "launch.launch_description_sources",
    "launch.substitutions",
    "launch_ros",
    "launch_ros.actions",
    "launch_ros.parameter_descriptions",
    "launch_ros.substitutions",
)


class Stand:
    """Stands in for any class of launch: keeps what it was made with."""

    def __init__(self, *args, **kwargs):
        self.args, self.kwargs = args, kwargs

    def perform(self, context):
        return context[self.args[0]]


def stands() -> dict[str, ModuleType]:
    """Every module of launch that our launch files import."""
    found = {name: ModuleType(name) for name in MODULES}
    for module in found.values():
        module.__getattr__ = _stand
        module.__path__ = []
    return found


def _stand(attribute: str) -> type[Stand]:
    # inspect asks every module that is loaded for its __file__.
    if attribute.startswith("__"):
        raise AttributeError(attribute)
    return Stand


def loaded(path: Path) -> ModuleType:
    """A launch file as a module."""
    spec = importlib.util.spec_from_file_location(path.name.replace(".", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(name: str, rigs: str = "") -> None:
    """Loads a launch file and, with rigs, starts it."""
    sys.modules.update(dict.fromkeys(NOT_FROM_APT) | stands())
    module = loaded(LAUNCH / f"{name}.launch.py")
    module.generate_launch_description()
    if rigs:
        module.start({**{name: default for name, (default, _) in module.ARGUMENTS.items()}, "rigs": rigs})


if __name__ == "__main__":
    main(*sys.argv[1:])
