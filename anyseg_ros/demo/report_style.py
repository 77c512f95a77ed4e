# SPDX-License-Identifier: Apache-2.0
"""What the report's style sheet adds to the one that all pages share."""

from anyseg_ros import html

STYLE = (
    html.STYLE
    + """
.film { border-radius: 10px; overflow: hidden; background: #0b0e14; text-align: center; border: 1px solid var(--line); }
.film img { display: block; width: 100%; margin: 0 auto; height: auto; }
svg .gone { fill: var(--cutwash); stroke: var(--cut); stroke-width: 1; stroke-dasharray: 3 2.5; }
svg .gonetext { fill: var(--cut); font-size: 10.5px; font-weight: 650; }
.chip { display: inline-block; width: 21px; height: 21px; border-radius: 5px; margin-right: 4px; text-align: center;
  font: 650 12.5px/21px system-ui, Arial, sans-serif; color: #fff; }
@media (prefers-color-scheme: dark) { .chip { color: #0d1015; } }
.chip.camera { background: var(--camera); } .chip.event { background: var(--event); }
.chip.lidar { background: var(--lidar); }
.chip.off { background: none; color: var(--cut); box-shadow: inset 0 0 0 1px var(--cut); opacity: .75; }
.bar { display: inline-block; height: 8px; border-radius: 4px; background: var(--lidar); vertical-align: 1px;
  margin-left: 9px; }
.strip { display: grid; grid-template-columns: 92px repeat(5, 1fr); gap: 8px; align-items: center; margin: 0 0 8px; }
.strip.titles { color: var(--soft); font-size: 13.5px; margin-bottom: 4px; }
.strip img { width: 100%; height: auto; display: block; border-radius: 5px; }
.strip .who { font-size: 13px; color: var(--soft); line-height: 1.35; }
.shot { position: relative; }
.shot.gone { outline: 1.5px solid var(--cut); outline-offset: -1.5px; border-radius: 5px; }
.shot.gone img { filter: grayscale(1) brightness(.38); }
.shot.gone::after { content: "CUT"; position: absolute; left: 50%; top: 50%; transform: translate(-50%, -50%);
  background: #d3332f; color: #fff; font: 700 13px/1 system-ui, Arial, sans-serif; padding: 5px 9px; border-radius: 4px;
  letter-spacing: .04em; }
.classes { display: grid; grid-template-columns: repeat(4, 1fr); gap: 6px 26px; margin-top: 14px; font-size: 14.5px; }
.classes div { display: flex; align-items: center; gap: 9px; border-bottom: 1px solid var(--rule); padding: 4px 0; }
.classes i { width: 20px; height: 15px; border-radius: 3px; flex: none;
  box-shadow: inset 0 0 0 1px rgba(128,128,128,.35); }
.classes em { margin-left: auto; font-style: normal; color: var(--soft); font-variant-numeric: tabular-nums; }
.made { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 48px; }
.made ol, .made ul { margin: 6px 0 0; padding-left: 20px; } .made li { margin-bottom: 8px; }
@media (max-width: 860px) { main { padding: 28px 18px 60px; } h1 { font-size: 31px; }
  .facts { grid-template-columns: 1fr 1fr; } .facts div:nth-child(3) { border-left: 0; }
  .classes { grid-template-columns: 1fr 1fr; } .made { grid-template-columns: 1fr; }
  .strip { grid-template-columns: 62px repeat(5, 1fr); gap: 4px; } }
"""
)
