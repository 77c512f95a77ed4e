# SPDX-License-Identifier: Apache-2.0
"""What the node's cost is compared with: rclpy's own spin, the same subscriptions, callbacks that only count.

Run as ``python -m benchmarks.node_cost_bare``; ended by SIGINT, it prints what it received as a line of JSON.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable

import rclpy
from rclpy.executors import ExternalShutdownException

from benchmarks.node_cost_topics import DEPTHS, KINDS, TOPICS, quality


def main() -> int:
    """Receives until it is told to end."""
    rclpy.init()
    node = rclpy.create_node("bare")
    received: Counter[str] = Counter()

    def counting(name: str) -> Callable[[object], None]:
        def callback(_msg: object) -> None:
            received[name] += 1

        return callback

    for name, topic in TOPICS.items():
        node.create_subscription(KINDS[name], topic, counting(name), quality(DEPTHS[name]))
    print("active", flush=True)
    try:
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        print(json.dumps({"received": dict(received)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
