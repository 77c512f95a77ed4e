# SPDX-License-Identifier: Apache-2.0
"""Whether anything can be made of what a sensor delivers, as those say who answer the sets.

After two sets in a row that came to nothing their reference loses its rank: it leads only where no other sensor that is
alive has one. It stays a partner. Three of its payloads in a row that are used give the rank back; after 10 s it has it
back on probation.
"""

from __future__ import annotations

from anyseg_ros.sync.timing import SECOND

FAILURES = 2
"""So many answered sets in a row that came to nothing cost their reference its rank; on probation it is one."""

ACCEPTED = 3
"""So many payloads in a row that were accepted, in sets of any reference, give the rank back."""

PROBATION_NS = 10 * SECOND
"""After this time the rank is given back on probation: in the sets of others it may never be near enough to be seen."""


class Usability:
    """What has become of the payloads of one sensor.

    Stamps say nothing about that: an image may be black or frozen and a cloud empty while their stamps go on. Nothing
    here acts by itself when time passes, so that it does not matter how often anybody looks.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._accepted = 0
        self._refused_ns: int | None = None

    def refused(self, now_ns: int) -> bool:
        """Whether it has lost its rank as reference."""
        return self._refused_ns is not None and now_ns - self._refused_ns < PROBATION_NS

    def led(self, useful: bool, now_ns: int) -> None:
        """A set of which it was the reference was answered.

        Args:
            useful: whether any payload of the set could be used; else it came to nothing.
            now_ns: the clock.
        """
        self._failures = 0 if useful else self._failures + 1
        if self._failures >= (FAILURES if self._refused_ns is None else 1):
            self._refused_ns = now_ns
            self._accepted = 0

    def held(self, accepted: bool) -> None:
        """A set that held a payload of it was answered."""
        self._accepted = self._accepted + 1 if accepted else 0
        if self._accepted >= ACCEPTED:
            self._refused_ns = None

    def follow_clock(self, now_ns: int) -> None:
        """The clock went back, perhaps: the time of probation must not grow by it."""
        if self._refused_ns is not None:
            self._refused_ns = min(self._refused_ns, now_ns)
