# SPDX-License-Identifier: Apache-2.0
"""What a fault relay is told: routes from topic to topic, and faults with their time.

seed: 1
routes:
- {name: camera, from: /source/image_raw, to: /camera/image_raw, type: sensor_msgs/msg/Image}
faults:
- {route: camera, kind: cut, from_s: 10, until_s: 13}
- {route: camera, kind: delay, from_s: 20, until_s: 25, by_ms: 300}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

NS_PER_S = 1_000_000_000
FOREVER_NS = 2**62

# Kinds and their arguments, each with its default; None has to be given.
KINDS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # when messages go on
        "cut": {},
        "flap": {"hz": 1.0},
        "delay": {"by_ms": 300.0},
        "jitter": {"by_ms": 40.0},
        "reorder": {},
        "duplicate": {},
        "die": {},
        # their headers
        "zero_stamp": {},
        "shift_stamp": {"by_s": None},
        "frame_id": {"to": "nowhere"},
        # images
        "freeze": {},
        "black": {},
        "encoding": {"to": None},
        "swap_channels": {},
        "resize": {"scale": 0.5},
        # clouds
        "empty": {},
        "blocked": {"range_m": 0.2},
        "not_a_number": {"share": 0.5},
        "point_step": {"to": 7},
        # images, clouds and event packets
        "truncate": {"share": 0.5},
        # events
        "silent": {},
        "out_of_bounds": {"share": 1.0},
        # CameraInfo
        "recalibrate": {"scale": 1.25},
    }
)


class ScheduleError(ValueError):
    """A schedule that cannot work; the message says what was found and what was expected."""


@dataclass(frozen=True)
class Route:
    """Where messages come from and go to.

    Attributes:
        name: by which faults name it.
        source, target: topics.
        msgtype: such as ``sensor_msgs/msg/Image``.
        reliable: reliability that is asked for on the source topic and offered on the target.
        listeners: nothing goes on before so many listen to the target topic; what comes before is lost, and counted.
    """

    name: str
    source: str
    target: str
    msgtype: str
    reliable: bool = True
    listeners: int = 0


@dataclass(frozen=True)
class Fault:
    """One fault of one route, in [from_ns, until_ns) from the start.

    Attributes:
        route: name of the route.
        kind: one of ``KINDS``.
        arguments: all of the kind's arguments.
    """

    route: str
    kind: str
    from_ns: int = 0
    until_ns: int = FOREVER_NS
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def covers(self, since_start_ns: int) -> bool:
        """Whether it is there at a time."""
        return self.from_ns <= since_start_ns < self.until_ns


@dataclass(frozen=True)
class Schedule:
    """Routes, faults, and the seed of everything random."""

    routes: tuple[Route, ...]
    faults: tuple[Fault, ...] = ()
    seed: int = 0

    def of(self, route: str) -> tuple[Fault, ...]:
        """The faults of one route, in the order in which they are applied."""
        return tuple(fault for fault in self.faults if fault.route == route)


def fault(route: str, kind: str, from_s: float = 0.0, until_s: float | None = None, **arguments: Any) -> Fault:
    """A fault with its time in seconds; arguments that are not given take their default.

    Raises:
        ScheduleError: kind or argument are unknown, an argument is missing, or it ends before it begins.
    """
    known = KINDS.get(kind)
    if known is None:
        raise ScheduleError(f"'{kind}' is no kind of fault; known are {', '.join(KINDS)}")
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        takes = ", ".join(known) or "nothing"
        raise ScheduleError(f"a fault of kind '{kind}' takes {takes}, but {', '.join(unknown)} was given")
    filled = {**known, **arguments}
    missing = [name for name, value in filled.items() if value is None]
    if missing:
        raise ScheduleError(f"a fault of kind '{kind}' needs {', '.join(missing)}")
    until_ns = FOREVER_NS if until_s is None else round(until_s * NS_PER_S)
    from_ns = round(from_s * NS_PER_S)
    if not 0 <= from_ns < until_ns:
        raise ScheduleError(
            f"the fault '{kind}' of '{route}' is from {from_s} to {until_s} s; expected 0 <= from < until"
        )
    return Fault(route, kind, from_ns, until_ns, MappingProxyType(filled))


def schedule_from(data: Any) -> Schedule:
    """A schedule as a YAML file gives it.

    Raises:
        ScheduleError: it cannot work.
    """
    if not isinstance(data, dict) or not set(data) <= {"seed", "routes", "faults"} or not data.get("routes"):
        raise ScheduleError("a schedule has the keys routes (at least one), faults and seed")
    try:
        routes = tuple(_route(row) for row in data["routes"])
        faults = tuple(
            fault(str(row["route"]), str(row["kind"]), **{k: v for k, v in row.items() if k not in ("route", "kind")})
            for row in data.get("faults") or ()
        )
    except (KeyError, TypeError) as error:
        raise ScheduleError(
            f"the schedule cannot be read ({error}); a route has name, from, to and type, a fault route and kind"
        ) from error
    names = [route.name for route in routes]
    if len(set(names)) < len(names):
        raise ScheduleError(f"the names of routes must be unique, found {', '.join(names)}")
    strays = sorted({f.route for f in faults} - set(names))
    if strays:
        raise ScheduleError(f"there is no route '{strays[0]}'; the schedule has {', '.join(names)}")
    return Schedule(routes, faults, int(data.get("seed", 0)))


def to_data(schedule: Schedule) -> dict[str, Any]:
    """The schedule as plain data for a YAML file; ``schedule_from`` reads it back."""
    return {
        "seed": schedule.seed,
        "routes": [
            {
                "name": r.name,
                "from": r.source,
                "to": r.target,
                "type": r.msgtype,
                "reliable": r.reliable,
                "listeners": r.listeners,
            }
            for r in schedule.routes
        ],
        "faults": [
            {
                "route": f.route,
                "kind": f.kind,
                "from_s": f.from_ns / NS_PER_S,
                **({} if f.until_ns == FOREVER_NS else {"until_s": f.until_ns / NS_PER_S}),
                **f.arguments,
            }
            for f in schedule.faults
        ],
    }


def _route(row: dict[str, Any]) -> Route:
    given = dict(row)
    reliable, listeners = given.pop("reliable", True), given.pop("listeners", 0)
    if isinstance(listeners, bool) or not isinstance(listeners, int) or listeners < 0:
        raise ScheduleError(f"route '{row.get('name')}' has listeners {listeners!r}; expected a number from 0")
    name, source, target, msgtype = (str(given.pop(key)) for key in ("name", "from", "to", "type"))
    route = Route(name, source, target, msgtype, reliable, listeners)
    if given:
        raise ScheduleError(f"route '{route.name}' has unknown keys: {', '.join(sorted(given))}")
    if route.source == route.target:
        raise ScheduleError(f"route '{route.name}' leads from {route.source} to itself")
    return route
