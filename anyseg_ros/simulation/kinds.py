# SPDX-License-Identifier: Apache-2.0
"""The kinds of surface, the palette that all of them share, and the trainIds of the classes.

A material is a kind and a colour of the palette. One palette serves cars, facades, fences, clothes and
signs alike, so that a colour says little about a class.
"""

from __future__ import annotations

import numpy as np

ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, TRAFFIC_LIGHT, TRAFFIC_SIGN, VEGETATION, TERRAIN = range(10)
SKY, PERSON, RIDER, CAR, TRUCK, BUS, TRAIN, MOTORCYCLE, BICYCLE = range(10, 19)

(
    ASPHALT,
    LINE,
    DASHES,
    ZEBRA,
    RAIL,
    PAVING,
    KERB,
    GRASS,
    SOIL,
    PLASTER,
    BRICK,
    CURTAIN,
    TILES,
    CONCRETE,
    STONE,
    WOOD,
    METAL,
    BARK,
    LEAF,
    PAINT,
    GLASS,
    RUBBER,
    CLOTH,
    SKIN,
    HAIR,
    SIGN_ROUND,
    SIGN_TRIANGLE,
    SIGN_SQUARE,
    SIGN_BACK,
    LAMPS,
    LAMP_HEAD,
    HEADLIGHT,
    TAILLIGHT,
    PLATE,
    COACH,
    CARGO,
    SHOP,
    ROUGHCAST,
) = range(38)
KIND_COUNT = 38


def _palette() -> np.ndarray:
    """Linear RGB float32 [64,3]: half of it greys and earths, as in a town, the rest colours."""
    greys = [[g, g, g] for g in (0.02, 0.04, 0.07, 0.1, 0.14, 0.18, 0.23, 0.29, 0.36, 0.44, 0.52, 0.6, 0.7, 0.8)]
    tinted = [[g * a, g, g * b] for g, a, b in ((0.1, 0.9, 1.2), (0.2, 1.1, 0.9), (0.32, 0.92, 1.1), (0.5, 1.08, 0.85))]
    earths = [[0.05, 0.03, 0.02], [0.1, 0.06, 0.035], [0.17, 0.1, 0.06], [0.26, 0.16, 0.09], [0.36, 0.25, 0.15]]
    earths += [[0.48, 0.36, 0.22], [0.58, 0.48, 0.33], [0.68, 0.6, 0.45], [0.3, 0.12, 0.07], [0.22, 0.07, 0.04]]
    reds = [[0.35, 0.03, 0.03], [0.5, 0.05, 0.04], [0.2, 0.02, 0.03], [0.55, 0.14, 0.1], [0.6, 0.28, 0.22]]
    yellows = [[0.6, 0.4, 0.05], [0.62, 0.5, 0.2], [0.6, 0.22, 0.03], [0.66, 0.56, 0.36], [0.42, 0.3, 0.06]]
    greens = [[0.03, 0.09, 0.03], [0.06, 0.16, 0.05], [0.12, 0.25, 0.07], [0.2, 0.32, 0.14], [0.03, 0.14, 0.1]]
    greens += [[0.09, 0.12, 0.05], [0.17, 0.2, 0.09], [0.35, 0.45, 0.3], [0.12, 0.3, 0.25]]
    blues = [[0.02, 0.03, 0.1], [0.03, 0.07, 0.25], [0.05, 0.16, 0.4], [0.15, 0.28, 0.45], [0.33, 0.45, 0.58]]
    blues += [[0.06, 0.1, 0.16], [0.12, 0.18, 0.26], [0.02, 0.2, 0.3]]
    others = [[0.2, 0.05, 0.2], [0.45, 0.12, 0.25], [0.08, 0.03, 0.1], [0.5, 0.35, 0.4], [0.05, 0.05, 0.06]]
    others += [[0.13, 0.12, 0.12], [0.31, 0.3, 0.28], [0.42, 0.4, 0.37], [0.25, 0.23, 0.2]]
    colours = greys + tinted + earths + reds + yellows + greens + blues + others
    return np.array(colours, np.float32)


PALETTE = _palette()
GREYS = np.arange(0, 18)
EARTHS = np.arange(18, 28)
ANY_COLOUR = np.arange(64)
FACADES = np.array(
    [8, 9, 10, 11, 12, 13, 16, 17, 20, 21, 22, 23, 24, 25, 26, 27, 31, 32, 34, 36, 41, 45, 46, 50, 51, 52]
)
