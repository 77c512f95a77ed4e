# SPDX-License-Identifier: Apache-2.0
"""Colours: labels by palette, overlays, painted clouds, pictures of encodings, panels, and the metrics beside them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from bag_kit import CLASSES

from anyseg_ros.labels import LabelSet
from anyseg_ros.modality import Modality
from anyseg_ros.painting import colour, overlay, paint_points, range_colours, show_encoded
from anyseg_ros.panels import Tile, fit, panel, save_png
from anyseg_ros.types import Points, Segmentation


def segmentation(labels, confidence):
    return Segmentation(np.uint8(labels), np.float32(confidence), 0, "plane", (Modality.LIDAR,))


def test_colours_are_the_palettes():
    picture = colour(np.uint8([[0, 2], [255, 1]]), CLASSES)
    assert picture.tolist() == [[[128, 64, 128], [0, 0, 142]], [[0, 0, 0], [70, 130, 180]]]


def test_overlay_mixes_and_leaves_the_unlabelled_alone():
    image = np.full((2, 4, 3), 100, np.uint8)
    mixed = overlay(image, np.uint8([[0, 255]]), CLASSES, alpha=0.5)
    assert mixed.shape == image.shape
    assert mixed[0, 0].tolist() == [114, 82, 114]
    assert mixed[1, 3].tolist() == [100, 100, 100]


def test_points_take_the_label_of_their_pixel():
    points = Points(np.float32([[1, 0, 0], [2, 0, 0], [3, 0, 0], [np.nan] * 3]), np.zeros(4, np.float32))
    painted = paint_points(
        points, np.int32([3, -1, 0, -1]), segmentation([[0, 1], [255, 2]], [[0.9, 0.8], [0.0, 0.6]]), CLASSES
    )
    assert painted.class_id.tolist() == [2, 255, 0, 255] and painted.class_id.dtype == np.uint8
    assert painted.probability.tolist() == pytest.approx([0.6, 0.0, 0.9, 0.0])
    assert painted.rgb.tolist() == [[0, 0, 142], [90, 90, 90], [128, 64, 128], [90, 90, 90]]
    assert painted.xyz is points.xyz


def test_points_of_another_cloud_or_grid_are_refused():
    points = Points(np.zeros((2, 3), np.float32), np.zeros(2, np.float32))
    said = segmentation([[0, 1]], [[1, 1]])
    with pytest.raises(ValueError, match="2 points but 3"):
        paint_points(points, np.int32([0, 1, 1]), said, CLASSES)
    with pytest.raises(ValueError, match="outside a grid"):
        paint_points(points, np.int32([0, 7]), said, CLASSES)


def test_an_empty_cloud_is_painted():
    painted = paint_points(
        Points(np.zeros((0, 3), np.float32), np.zeros(0, np.float32)), np.zeros(0, np.int32),
        segmentation([[0]], [[1]]), CLASSES,
    )  # fmt: skip
    assert painted.rgb.shape == (0, 3)


def test_range_colours_go_from_red_to_blue_and_empty_is_black():
    red, blue, empty = range_colours(np.float32([2.0, 60.0, 0.0]))
    assert red[0] > red[2] and blue[2] > blue[0] and not empty.any()


def test_pictures_of_what_the_network_sees():
    raw = np.zeros((3, 2, 2), np.float32)
    assert (show_encoded(Modality.EVENT, raw) == 255).all(), "no event is white"
    raw[0, 0, 0], raw[1, 1, 1] = 1.0, 1.0
    events = show_encoded(Modality.EVENT, raw)
    assert events[0, 0].tolist() == [255, 0, 0] and events[1, 1].tolist() == [0, 0, 255]
    assert show_encoded(Modality.CAMERA, np.full((3, 1, 1), 0.5, np.float32)).tolist() == [[[128, 128, 128]]]
    lidar = show_encoded(Modality.LIDAR, raw)
    assert lidar[0, 0].any() and not lidar[0, 1].any()


def test_fit_keeps_the_aspect():
    wide = fit(np.zeros((10, 40, 3), np.uint8), 80, 80)
    assert wide.shape == (80, 80, 3)
    assert (wide[:30] == 250).all() and not wide[31:49].any() and (wide[50:] == 250).all()


def test_panels_hold_their_tiles_and_can_be_saved(tmp_path):
    green = np.full((9, 16, 3), (0, 200, 0), np.uint8)
    rows = [[Tile("seen", green, marked=True), Tile("gone", None, "absent: lost")], [Tile("said", green)]]
    picture = panel("title", rows, CLASSES, tile_width=160)
    assert (picture == (0, 200, 0)).all(axis=-1).sum() > 2 * 120 * 80
    for rgb in CLASSES.palette:
        assert (picture == rgb).all(axis=-1).any(), f"the legend lacks {rgb}"
    save_png(tmp_path / "deep" / "panel.png", picture)
    assert np.array_equal(cv2.imread(str(tmp_path / "deep" / "panel.png"))[..., ::-1], picture)


def test_label_set_of_more_classes_than_lines_still_draws():
    many = LabelSet(tuple(f"class {k}" for k in range(60)), tuple((k, k, 255 - k) for k in range(60)))
    assert panel("t", [[Tile("a")]], many, tile_width=120).shape[0] > 0
