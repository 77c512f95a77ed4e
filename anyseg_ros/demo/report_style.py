# SPDX-License-Identifier: Apache-2.0
"""The style sheet of the report: light and dark, no outside fonts or files."""

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
.film { border-radius: 10px; overflow: hidden; background: #0b0e14; text-align: center; border: 1px solid var(--line); }
.film img { display: block; width: 100%; margin: 0 auto; height: auto; }
.chart { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px 8px; }
.chart svg { display: block; width: 100%; height: auto; font: 12.5px system-ui, "Segoe UI", Arial, sans-serif; }
svg .lab { fill: var(--ink); } svg .soft { fill: var(--soft); } svg .name { fill: var(--ink); font-weight: 650; }
svg .grid { stroke: var(--rule); } svg .edge { stroke: var(--line); stroke-dasharray: 2 3; }
svg .camera { fill: var(--camera); } svg .event { fill: var(--event); } svg .lidar { fill: var(--lidar); }
svg .gone { fill: var(--cutwash); stroke: var(--cut); stroke-width: 1; stroke-dasharray: 3 2.5; }
svg .gonetext { fill: var(--cut); font-size: 10.5px; font-weight: 650; }
svg .curve { fill: none; stroke: var(--ink); stroke-width: 1.7; stroke-linejoin: round; }
svg .dot { fill: var(--ink); opacity: .55; } svg .miss { stroke: var(--cut); stroke-width: 2; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 15px; margin-top: 12px; }
th { text-align: right; font-weight: 550; color: var(--soft); font-size: 13.5px; padding: 6px 12px;
  vertical-align: bottom; border-bottom: 1px solid var(--line); line-height: 1.3; }
td { text-align: right; padding: 8px 12px; border-bottom: 1px solid var(--rule); font-variant-numeric: tabular-nums;
  white-space: nowrap; }
th:first-child, td:first-child { text-align: left; padding-left: 2px; }
.chip { display: inline-block; width: 21px; height: 21px; border-radius: 5px; margin-right: 4px; text-align: center;
  font: 650 12.5px/21px system-ui, Arial, sans-serif; color: #fff; }
@media (prefers-color-scheme: dark) { .chip { color: #0d1015; } }
.chip.camera { background: var(--camera); } .chip.event { background: var(--event); }
.chip.lidar { background: var(--lidar); }
.chip.off { background: none; color: var(--cut); box-shadow: inset 0 0 0 1px var(--cut); opacity: .75; }
.plain td, .plain th { text-align: left; padding-left: 2px; }
.plain { max-width: 46em; }
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
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 18px; font-size: 14.5px; margin: 10px 0 0; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 860px) { main { padding: 28px 18px 60px; } h1 { font-size: 31px; }
  .facts { grid-template-columns: 1fr 1fr; } .facts div:nth-child(3) { border-left: 0; }
  .classes { grid-template-columns: 1fr 1fr; } .made { grid-template-columns: 1fr; }
  .strip { grid-template-columns: 62px repeat(5, 1fr); gap: 4px; } }
"""
