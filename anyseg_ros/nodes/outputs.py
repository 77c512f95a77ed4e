# SPDX-License-Identifier: Apache-2.0
"""The segmentor's publishers. Everything but labels, their CameraInfo and status is made only on demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header, String

from anyseg_ros import painting
from anyseg_ros.modality import Modality
from anyseg_ros.nodes import conversions, qos
from anyseg_ros.nodes.parameters import SegmentorParameters
from anyseg_ros.nodes.rig_names import ONLY_RIG, RigNames
from anyseg_ros.pipeline import Pipeline
from anyseg_ros.sensors.camera import grid_to_image
from anyseg_ros.sensors.messages import converted
from anyseg_ros.stack import Stack
from anyseg_ros.types import FrameSet, Segmentation

LABEL_INFO = "vision_msgs/msg/LabelInfo"
# What RViz calls rgb is a float32 whose bits are 0x00RRGGBB.
PAINTED_POINT = np.dtype(
    {
        "names": ["x", "y", "z", "rgb", "probability", "class_id"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "<f4", "u1"],
        "offsets": [0, 4, 8, 12, 16, 20],
        "itemsize": 24,
    }
)
_DEBUG = {Modality.LIDAR: "~/debug/lidar_image", Modality.EVENT: "~/debug/event_image"}


class Outputs:
    """Publishes segmentations.

    Args:
        node: the node.
        settings: size of the outputs, strength of the overlay.
        names: what the rig's topics are called.
    """

    def __init__(self, node: LifecycleNode, settings: SegmentorParameters, names: RigNames = ONLY_RIG) -> None:
        self._node = node
        self._settings = settings
        self._names = names
        self._publishers: dict[str, Any] = {}
        for name, kind in (("labels", Image), ("camera_info", CameraInfo), ("status", DiagnosticArray)):
            self._create(name, kind, f"~/output/{name}", qos.reliable())
        for name, kind in (("confidence", Image), ("overlay", Image), ("points", PointCloud2)):
            self._create(name, kind, f"~/output/{name}", qos.reliable())
        for topic in _DEBUG.values():
            self._create(topic, Image, topic, qos.reliable())
        self._create("palette", String, "~/output/palette", qos.latched())
        label_info = conversions.message_type(LABEL_INFO)
        if label_info is not None:
            self._create("label_info", label_info, "~/output/label_info", qos.latched())

    def close(self) -> None:
        """Ends all publishers."""
        for publisher in self._publishers.values():
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()

    def publish_label_set(self, pipeline: Pipeline) -> None:
        """Publishes class names and colours once, latched."""
        names, colours = pipeline.labels.names, pipeline.labels.palette
        self._publishers["palette"].publish(conversions.palette(names, colours))
        if "label_info" in self._publishers:
            head = conversions.header(self._node.get_clock().now().nanoseconds, pipeline.frame_id)
            self._publishers["label_info"].publish(conversions.label_info(names, head))

    def publish_labels(self, pipeline: Pipeline, segmentation: Segmentation) -> Segmentation:
        """Publishes labels and their CameraInfo.

        Returns:
            The segmentation at the size in which it went out.
        """
        at_camera = self._settings.output_size == "camera"
        sized = pipeline.to_camera(segmentation) if at_camera else segmentation
        head = self._head(segmentation)
        self._publishers["labels"].publish(conversions.image(sized.labels, "mono8", head))
        model = pipeline.grid.camera if at_camera else pipeline.grid.plane
        self._publishers["camera_info"].publish(conversions.camera_info(model, head))
        return sized

    def publish_status(self, segmentation: Segmentation, values: Mapping[str, Any]) -> None:
        """Publishes what went into a frame and how long it took, under the frame's stamp."""
        name = f"{self._node.get_name()}: {self._names.part('frame')}"
        report = conversions.status("ok", name, f"segmented from {segmentation.subset}", values)
        self._publishers["status"].publish(conversions.diagnostics([report], self._head(segmentation)))

    def publish_on_demand(
        self, pipeline: Pipeline, frame_set: FrameSet, stack: Stack, segmentation: Segmentation, sized: Segmentation
    ) -> None:
        """Publishes what someone subscribes to: confidence, overlay, painted points, debug pictures.

        Args:
            pipeline: colours and grid.
            frame_set: the payloads.
            stack: what the network saw.
            segmentation: on the network's grid.
            sized: at the size of the outputs.
        """
        head = self._head(segmentation)
        if self._wanted("confidence"):
            self._publishers["confidence"].publish(conversions.image(sized.confidence, "32FC1", head))
        if self._wanted("overlay"):
            self._publishers["overlay"].publish(self._overlay(pipeline, frame_set, stack, sized, head))
        if self._wanted("points"):
            self._publish_points(pipeline, frame_set, stack, segmentation)
        for modality, topic in _DEBUG.items():
            names = [n for n, m in zip(stack.sensors, stack.modalities, strict=True) if m is modality]
            if names and self._wanted(topic):
                picture = painting.show_encoded(modality, stack.raw[names[0]])
                self._publishers[topic].publish(conversions.image(picture, "rgb8", head))

    def _create(self, name: str, kind: type, topic: str, profile: Any) -> None:
        quiet = qos.without_events()
        topic = self._names.topic(topic)
        self._publishers[name] = self._node.create_lifecycle_publisher(kind, topic, profile, event_callbacks=quiet)

    def _wanted(self, name: str) -> bool:
        return self._publishers[name].get_subscription_count() > 0

    def _head(self, segmentation: Segmentation) -> Header:
        return conversions.header(segmentation.stamp_ns, segmentation.frame_id)

    def _overlay(
        self, pipeline: Pipeline, frame_set: FrameSet, stack: Stack, sized: Segmentation, head: Header
    ) -> Image:
        # Without the camera, what the first of the others sees stands behind the colours.
        plane = pipeline.rig.image_plane
        name = plane if plane in stack.sensors else stack.sensors[0]
        modality = stack.modalities[stack.sensors.index(name)]
        if self._settings.output_size == "camera" and name == plane and modality is Modality.CAMERA:
            behind = converted(frame_set.present[name]).payload
        else:
            behind = painting.show_encoded(modality, stack.raw[name])
            if self._settings.output_size == "camera":
                behind = grid_to_image(behind, pipeline.grid, 0)
        picture = painting.overlay(behind, sized.labels, pipeline.labels, self._settings.overlay_alpha)
        return conversions.image(picture, "rgb8", head)

    def _publish_points(
        self, pipeline: Pipeline, frame_set: FrameSet, stack: Stack, segmentation: Segmentation
    ) -> None:
        for name, pixel_index in stack.pixel_index.items():
            measurement = converted(frame_set.present[name])
            if measurement.modality is not Modality.LIDAR:
                continue
            painted = painting.paint_points(measurement.payload, pixel_index, segmentation, pipeline.labels)
            table = np.zeros(len(painted.xyz), PAINTED_POINT)
            for axis, field in enumerate("xyz"):
                table[field] = painted.xyz[:, axis]
            red, green, blue = painted.rgb.astype(np.uint32).T
            table["rgb"] = (red << 16 | green << 8 | blue).view(np.float32)
            table["probability"], table["class_id"] = painted.probability, painted.class_id
            # The points were measured at the lidar's own time: that stamp is the one to transform them with.
            head = conversions.header(measurement.stamp_ns, measurement.frame_id)
            self._publishers["points"].publish(conversions.cloud(table, head))
            return
