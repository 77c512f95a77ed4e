# SPDX-License-Identifier: Apache-2.0
"""Starts and ends a process with one node: signals, exit codes, sentences instead of tracebacks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from anyseg_ros import resources

N = TypeVar("N", bound=Node)


class StartError(RuntimeError):
    """The node cannot start; the message says why in a sentence."""


def find_file(path: str) -> Path:
    """A path as the user gave it, or else below the package's share folder.

    Raises:
        FileNotFoundError: it is in neither place.
    """
    given = Path(path).expanduser()
    if given.exists() or given.is_absolute():
        return given
    try:
        return resources.share_path(path)
    except FileNotFoundError:
        looked = ", ".join(str(root) for root in resources.share_roots())
        raise FileNotFoundError(
            f"'{path}' is neither a path (seen from {Path.cwd()}) nor below the package's share folder ({looked}); "
            "check the spelling, or give the full path"
        ) from None


def run(make_node: Callable[[], N], work: Callable[[N], None] | None = None, args: list[str] | None = None) -> int:
    """Runs a node until it is told to end (SIGINT, SIGTERM) or its work is done.

    Args:
        make_node: builds the node; ValueError and RuntimeError end the process with their sentence.
        work: what the node does in the main thread; without it the node's callbacks are served.
        args: command line, by default the process's own.

    Returns:
        The exit code: 0, or 1 when the node could not start.
    """
    rclpy.init(args=args)
    node = None
    try:
        node = make_node()
        (work or _spin)(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except (ValueError, RuntimeError, OSError) as error:
        if not rclpy.ok():  # the context went away under a call in progress
            return 0
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _spin(node: Node) -> None:
    # Three threads of a MultiThreadedExecutor took a whole core and lost a third of the images when tried.
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.spin()
