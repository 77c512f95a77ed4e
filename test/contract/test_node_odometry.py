# SPDX-License-Identifier: Apache-2.0
"""The node's ear for the vehicle's motion, with genuine messages and no graph."""

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed")
pytest.importorskip("nav_msgs", reason="nav_msgs is not installed")

from geometry_msgs.msg import TwistStamped, TwistWithCovarianceStamped  # noqa: E402
from nav_msgs.msg import Odometry as OdometryMessage  # noqa: E402

from anyseg_ros.nodes import conversions, odometry  # noqa: E402
from anyseg_ros.nodes.episodes import Episodes  # noqa: E402
from anyseg_ros.nodes.odometry import MESSAGE_TYPES, TOPIC, Odometry  # noqa: E402
from anyseg_ros.nodes.parameters import ParameterError, SegmentorParameters  # noqa: E402
from anyseg_ros.sensors.poses import pose_matrix  # noqa: E402

MS, START_NS = 1_000_000, 1_700_000_000_000_000_000


@pytest.fixture
def listening(monkeypatch):
    """Makes an Odometry that is subscribed to nothing, and what it subscribes to and says."""
    told = SimpleNamespace(subscribed=[], said=[])

    class Subscriber:
        def __init__(self, node, kind, topic, **options):
            told.subscribed.append((kind, topic))
            self.sub = topic

        def registerCallback(self, callback):  # noqa: N802
            told.callback = callback

    monkeypatch.setattr(odometry.message_filters, "Subscriber", Subscriber)
    poses = {"imu": pose_matrix((0, 0, 0), (0, 0, 90))}
    episodes = Episodes(told.said.append, told.said.append)
    told.make = lambda kind: Odometry(SimpleNamespace(), kind, "base_link", poses.get, episodes)
    return told


def filled(message, t_ms, speed, frame="base_link"):
    message.header.stamp = conversions.time_message(START_NS + t_ms * MS)
    if isinstance(message, OdometryMessage):
        message.header.frame_id, message.child_frame_id = "odom", frame
        message.twist.twist.linear.x = speed
    elif isinstance(message, TwistStamped):
        message.header.frame_id = frame
        message.twist.linear.x = speed
    else:
        message.header.frame_id = frame
        message.twist.twist.linear.x = speed
    return message


@pytest.mark.parametrize(
    "kind, message_type",
    [
        ("odometry", OdometryMessage),
        ("twist", TwistStamped),
        ("twist_with_covariance", TwistWithCovarianceStamped),
    ],
)
def test_every_kind_of_message_fills_the_history(listening, kind, message_type):
    ear = listening.make(kind)
    assert listening.subscribed == [(message_type, TOPIC)]
    listening.callback(filled(message_type(), 0, 1.0))
    listening.callback(filled(message_type(), 20, 1.5, "imu"))
    assert ear.history.at(START_NS).linear_m_s.tolist() == [1, 0, 0]
    assert ear.history.at(START_NS + 20 * MS).linear_m_s == pytest.approx([0, 1.5, 0])
    assert listening.said == []


def test_what_cannot_be_used_is_said_once_and_counted(listening):
    ear = listening.make("odometry")
    for t_ms in (0, 20):
        listening.callback(filled(OdometryMessage(), t_ms, 5.0, "gps"))
    listening.callback(filled(OdometryMessage(), 40, float("nan")))
    assert len(listening.said) == 1 and "frame 'gps', whose place in 'base_link' is not known" in listening.said[0]
    assert ear.history.counts["rejected"] == 1, "the others never reached the history"


def test_a_frame_without_a_twist_is_said(listening):
    ear = listening.make("odometry")
    ear.check()
    assert listening.said == []
    ear.history.at(START_NS)
    ear.check()
    assert len(listening.said) == 1 and "no twist came on ~/input/odometry within 0.5 s" in listening.said[0]
    listening.callback(filled(OdometryMessage(), 0, 5.0))
    assert ear.history.at(START_NS) is not None
    ear.check()
    assert ear.history.figures()["motion.missing"] == 1


def test_a_package_that_is_not_there_is_named(listening, monkeypatch):
    monkeypatch.setattr(conversions, "installed", lambda package: False)
    with pytest.raises(ParameterError, match="'twist', but geometry_msgs/msg/TwistStamped is not installed"):
        listening.make("twist")


def test_the_parameter_offers_what_the_code_has():
    field = SegmentorParameters.__dataclass_fields__["motion_compensation"]
    assert field.default == "off" and field.metadata["choices"] == ("off", *MESSAGE_TYPES)
