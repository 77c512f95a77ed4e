# SPDX-License-Identifier: Apache-2.0
"""What the topics, statuses and parameters of one rig are called, in a node that may run several."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from rclpy.impl.rcutils_logger import RcutilsLogger

from anyseg_ros.nodes.parameters import ParameterError, SegmentorParameters
from anyseg_ros.nodes.runner import find_file
from anyseg_ros.sensors.rig import Rig, load_rig

_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # of a topic's name; a leading underscore would hide the topic


@dataclass(frozen=True)
class RigNames:
    """Names for the rig called ``rig``; for the one of the parameter ``rig`` that is empty, and names are short."""

    rig: str = ""

    def topic(self, topic: str) -> str:
        """``~/output/labels`` becomes ``~/front/output/labels``."""
        return f"~/{self.rig}/{topic.removeprefix('~/')}" if self.rig else topic

    def part(self, what: str) -> str:
        """A sensor or the output, as diagnostics call it: ``front/camera``."""
        return f"{self.rig}/{what}" if self.rig else what

    def key(self, sensor: str) -> str:
        """A sensor, as parameters call it: ``front.camera`` in ``sensors.front.camera.enabled``."""
        return f"{self.rig}.{sensor}" if self.rig else sensor

    def sentence(self, text: str) -> str:
        """What the log says of the rig."""
        return f"{self.rig}: {text}" if self.rig else text

    def lines_of(self, log: RcutilsLogger) -> tuple[Callable[[str], None], Callable[[str], None]]:
        """What writes warnings and what writes information about the rig to a log.

        Each is on a line of its own: rclpy raises where one line is used for a second severity.
        """

        def warn(text: str) -> None:
            log.warning(self.sentence(text))

        def inform(text: str) -> None:
            log.info(self.sentence(text))

        return warn, inform


ONLY_RIG = RigNames()


def rigs_of(settings: SegmentorParameters) -> dict[RigNames, Rig]:
    """The rigs that the parameters name, as their files describe them.

    Raises:
        ParameterError: two rigs have the same name, or one has a name that no topic can have.
        RigError, OSError: a file cannot be used.
    """
    if settings.rig:
        return {ONLY_RIG: load_rig(find_file(settings.rig))}
    found: dict[RigNames, Rig] = {}
    files: dict[str, str] = {}
    for path in settings.rigs:
        rig = load_rig(find_file(path))
        if rig.name in files:
            raise ParameterError(
                f"parameter 'rigs' holds two rigs named '{rig.name}' ({files[rig.name]} and {path}); the name is the "
                "namespace of a rig's topics: give each rig file a 'name' of its own"
            )
        if not _TOKEN.fullmatch(rig.name):
            raise ParameterError(
                f"the rig in {path} is named '{rig.name}', which cannot be part of a topic's name; expected letters, "
                "digits and underscores, a letter first: change 'name' in the rig file"
            )
        files[rig.name] = path
        found[RigNames(rig.name)] = rig
    return found
