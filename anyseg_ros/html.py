# SPDX-License-Identifier: Apache-2.0
"""What our HTML pages share: a style sheet (light and dark, no outside fonts or files), and pictures in the file."""

from __future__ import annotations

import base64

import cv2
import numpy as np

WEBP_QUALITY, LOSSLESS = 80, 101

STYLE = """
:root { color-scheme: light dark;
  --ground: #fbfaf8; --card: #ffffff; --ink: #191c21; --soft: #5c6470; --line: #dedbd5; --rule: #eceae5;
  --camera: #2f6fde; --event: #d9730d; --lidar: #12876f; --cut: #d3332f; --cutwash: #fbe9e7; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #101318; --card: #171b22; --ink: #e8ebf0; --soft: #98a2b0; --line: #2d343f; --rule: #222831;
  --camera: #6da2ff; --event: #f29a45; --lidar: #3cc3a3; --cut: #ff6b62; --cutwash: #321b1d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 44px 32px 80px; }
h1 { font-size: 40px; line-height: 1.12; letter-spacing: -0.022em; margin: 6px 0 14px; font-weight: 680;
  max-width: 21em; text-wrap: balance; }
h2 { font-size: 23px; letter-spacing: -0.012em; margin: 60px 0 6px; font-weight: 650; }
h3 { font-size: 16px; margin: 26px 0 8px; font-weight: 650; }
p { margin: 0 0 12px; max-width: 46em; }
.eyebrow { color: var(--soft); font-size: 14px; margin: 0; }
.lead { font-size: 18.5px; color: var(--soft); max-width: 42em; }
.note { color: var(--soft); font-size: 14.5px; }
.num { font-variant-numeric: tabular-nums; }
.facts { display: grid; grid-template-columns: repeat(4, 1fr); border: 1px solid var(--line); border-radius: 10px;
  background: var(--card); margin: 28px 0 30px; }
.facts div { padding: 16px 20px 15px; border-left: 1px solid var(--rule); }
.facts div:first-child { border-left: 0; }
.facts b { display: block; font-size: 27px; line-height: 1.2; letter-spacing: -0.02em; font-weight: 640;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.facts span { color: var(--soft); font-size: 14px; line-height: 1.4; display: block; margin-top: 3px; }
.bad b { color: var(--cut); }
figure { margin: 0; }
figcaption { color: var(--soft); font-size: 14.5px; margin-top: 9px; max-width: 52em; }
.chart { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px 8px; }
.chart svg { display: block; width: 100%; height: auto; font: 12.5px system-ui, "Segoe UI", Arial, sans-serif; }
svg .lab { fill: var(--ink); } svg .soft { fill: var(--soft); } svg .name { fill: var(--ink); font-weight: 650; }
svg .grid { stroke: var(--rule); } svg .edge { stroke: var(--line); stroke-dasharray: 2 3; }
svg .camera { fill: var(--camera); } svg .event { fill: var(--event); } svg .lidar { fill: var(--lidar); }
svg .curve { fill: none; stroke: var(--ink); stroke-width: 1.7; stroke-linejoin: round; }
svg .dot { fill: var(--ink); opacity: .55; } svg .miss { stroke: var(--cut); stroke-width: 2; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 15px; margin-top: 12px; }
th { text-align: right; font-weight: 550; color: var(--soft); font-size: 13.5px; padding: 6px 12px;
  vertical-align: bottom; border-bottom: 1px solid var(--line); line-height: 1.3; }
td { text-align: right; padding: 8px 12px; border-bottom: 1px solid var(--rule); font-variant-numeric: tabular-nums;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 2px; }
.plain td, .plain th { text-align: left; padding-left: 2px; }
.plain { max-width: 46em; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; font-size: 14.5px; margin: 10px 0 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
"""


def data_uri(picture: np.ndarray, photo: bool = True) -> str:
    """A picture as a ``data:`` address: WebP, lossy for photos, lossless for label colours.

    Args:
        picture: uint8 RGB [H,W,3].
        photo: lossy.
    """
    quality = WEBP_QUALITY if photo else LOSSLESS
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".webp", bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])
    return "data:image/webp;base64," + base64.b64encode(data.tobytes()).decode("ascii")
