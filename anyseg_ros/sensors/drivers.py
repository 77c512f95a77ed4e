# SPDX-License-Identifier: Apache-2.0
"""What lidar drivers are known to publish: the scale of their intensity.

All of these drivers but Ouster's have one field ``intensity``; of Ouster's two ``point_messages`` takes the
calibrated reflectivity. Where a field is calibrated, one step means about one percent of diffuse reflectance up to
100 (Livox: 150), and what is above comes from retroreflectors such as traffic signs.
"""

from __future__ import annotations

INTENSITY_SCALES: dict[str, float] = {
    # Calibrated reflectivity, one byte (VLP-16 User Manual 63-9243, "Calibrated Reflectivity"), published as float32.
    "velodyne": 1 / 255,
    # One byte of reflectivity per return (Pandar and XT user manuals, "Point Cloud UDP Packet"), as float32.
    "hesai": 1 / 255,
    # One byte of intensity per return (RS-LiDAR-M1 user guide, "MSOP packet"), as float32 or uint8.
    "robosense": 1 / 255,
    # uint8 of PointXYZIRCAEDT and PointXYZIRC (nebula_common/point_types.hpp, autoware_point_types).
    "nebula": 1 / 255,
    # Field reflectivity, calibrated to one byte since firmware 2.0 (ouster_ros/sensor_point_types.h: uint8 or uint16).
    # Its point types xyzi and xyzir hold photon counts alone, which have no fixed scale: give a number for these.
    "ouster": 1 / 255,
    # One byte, 0 to 150 diffuse (livox_ros_driver2, "reflectivity"), as float32.
    "livox": 1 / 255,
    # The data set's files hold 0 to 0.99 (KITTI raw data, devkit readme).
    "kitti": 1.0,
}
"""What the intensity of a driver is multiplied with to lie in 0..1, by the driver's name."""
