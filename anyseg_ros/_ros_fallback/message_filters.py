# SPDX-License-Identifier: Apache-2.0
"""The part of message_filters that the nodes use: ``Subscriber``, a subscription that filters can hang on to.

Interface: https://docs.ros.org/en/jazzy/p/message_filters/ (its names are kept, camel case and all).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class SimpleFilter:
    """Hands what it receives to the callbacks that were registered."""

    def __init__(self) -> None:
        self.callbacks: dict[int, tuple[Callable[..., None], tuple[Any, ...]]] = {}

    def registerCallback(self, cb: Callable[..., None], *args: Any) -> int:  # noqa: N802
        """Calls ``cb(message, *args)`` for every message from now on; returns the connection's number."""
        connection = len(self.callbacks)
        self.callbacks[connection] = (cb, args)
        return connection

    def signalMessage(self, *messages: Any) -> None:  # noqa: N802
        """Passes messages on to every callback, in the order in which they were registered."""
        for cb, args in list(self.callbacks.values()):
            cb(*messages, *args)


class Subscriber(SimpleFilter):
    """A ROS subscription as a filter: ``Subscriber(node, message_type, topic, **create_subscription_options)``.

    Attributes:
        sub: the rclpy subscription underneath.
    """

    def __init__(self, node: Any, message_type: type, topic: str, **kwargs: Any) -> None:
        super().__init__()
        self.node = node
        self.topic = topic
        kwargs.setdefault("qos_profile", 10)
        self.sub = node.create_subscription(message_type, topic, self.signalMessage, **kwargs)

    def getTopic(self) -> str:  # noqa: N802
        """The topic name as it was given."""
        return self.topic
