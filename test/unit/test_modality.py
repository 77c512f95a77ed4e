# SPDX-License-Identifier: Apache-2.0
"""Letters, subset names and the list of subsets."""

from __future__ import annotations

import pytest

from anyseg_ros.modality import Modality, all_subsets, parse_subset, subset_name


def test_names_are_canonical_whatever_the_order():
    assert subset_name([Modality.LIDAR, Modality.CAMERA, Modality.EVENT]) == "CEL"
    assert subset_name(Modality) == "CDEL"
    assert subset_name([]) == ""


def test_names_read_back_and_the_papers_letters_mean_the_camera():
    assert parse_subset("LEC") == (Modality.CAMERA, Modality.EVENT, Modality.LIDAR)
    assert parse_subset("fel") == parse_subset("CEL") == parse_subset("REL")
    for subset in all_subsets(Modality):
        assert parse_subset(subset_name(subset)) == subset


@pytest.mark.parametrize(("name", "sentence"), [("CX", "'X' is no modality letter"), ("FC", "twice")])
def test_unreadable_names_say_why(name, sentence):
    with pytest.raises(ValueError, match=sentence):
        parse_subset(name)


def test_all_subsets_of_any_iterable_smallest_first():
    found = [subset_name(s) for s in all_subsets(m for m in (Modality.EVENT, Modality.CAMERA, Modality.LIDAR))]
    assert found == ["C", "E", "L", "CE", "CL", "EL", "CEL"]
