# SPDX-License-Identifier: Apache-2.0
"""Does to a segmentor what a person at a terminal does, by a list: parameters, transitions, moods of the engine.

The list is a JSON file of ``{"at_s", "what", "detail"}``: ``set`` with ``name=value``, ``change`` with a transition,
``engine`` with a word for ``segmentor_under_fault``. Times count from ``origin_ns`` by the steady clock. Prints each
answer as a line of JSON.

Run it with ``python -m anyseg_ros.nodes.operator_node --ros-args -p actions:=actions.json``.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import rclpy
import yaml
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.parameter import Parameter
from std_msgs.msg import String

from anyseg_ros.nodes import parameters, qos, runner

ANSWER_S = 60.0
TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "cleanup": Transition.TRANSITION_CLEANUP,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
}


class OperatorNode(Node):
    """Works through its list."""

    def __init__(self) -> None:
        super().__init__("operator")
        parameters.declare(self, parameters.OperatorParameters)
        settings = parameters.read(self, parameters.OperatorParameters)
        self._actions = json.loads(Path(settings.actions).read_text(encoding="utf-8"))
        self._origin_ns = settings.origin_ns or time.monotonic_ns()
        self._stop = threading.Event()
        self.context.on_shutdown(self._stop.set)
        self._set = self.create_client(SetParameters, "segmentor/set_parameters")
        self._change = self.create_client(ChangeState, "segmentor/change_state")
        self._mood = self.create_publisher(String, "segmentor/engine_mood", qos.latched())

    def work(self) -> None:
        """Do everything on the list, each when it is due."""
        for action in self._actions:
            due_ns = self._origin_ns + round(action["at_s"] * 1e9)
            self._stop.wait(max(0, due_ns - time.monotonic_ns()) / 1e9)
            if self._stop.is_set():
                return
            ok, text = {"set": self._set_parameter, "change": self._transit, "engine": self._sway}[action["what"]](
                action["detail"]
            )
            print(json.dumps({**action, "ok": ok, "text": text}), flush=True)

    def _set_parameter(self, detail: str) -> tuple[bool, str]:
        name, _, value = detail.partition("=")
        parameter = Parameter(name, value=yaml.safe_load(value)).to_parameter_msg()
        answer = self._ask(self._set, SetParameters.Request(parameters=[parameter]))
        return (answer.results[0].successful, answer.results[0].reason) if answer else (False, "no answer")

    def _transit(self, detail: str) -> tuple[bool, str]:
        answer = self._ask(self._change, ChangeState.Request(transition=Transition(id=TRANSITIONS[detail])))
        return (answer.success, "") if answer else (False, "no answer")

    def _sway(self, detail: str) -> tuple[bool, str]:
        self._mood.publish(String(data=detail))
        heard = self._mood.wait_for_all_acked(Duration(seconds=ANSWER_S))  # this process may end right afterwards
        return heard, "" if heard else "no answer"

    def _ask(self, client: Any, request: Any) -> Any:
        if not client.wait_for_service(timeout_sec=ANSWER_S):
            return None
        future = client.call_async(request)
        rclpy.spin_until_future_complete(self, future, timeout_sec=ANSWER_S)
        return future.result() if future.done() else None


def main(args: list[str] | None = None) -> int:
    """Entry point."""
    return runner.run(OperatorNode, lambda node: node.work(), args)


if __name__ == "__main__":
    sys.exit(main())
