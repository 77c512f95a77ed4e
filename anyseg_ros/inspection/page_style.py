# SPDX-License-Identifier: Apache-2.0
"""What the inspect page's style sheet adds to the one that all pages share."""

from anyseg_ros import html

STYLE = (
    html.STYLE
    + """
:root { --depth: #7a57c2; --good: #12876f; --warn: #b86a00; }
@media (prefers-color-scheme: dark) { :root { --depth: #ab8cf0; --good: #3cc3a3; --warn: #f2b045; } }
h1 { font-size: 36px; }
svg .depth { fill: var(--depth); } svg .other { fill: var(--soft); } svg .series { fill: var(--lidar); }
svg .gone { fill: var(--cutwash); }
svg .band { fill: var(--lidar); opacity: .16; } svg .best { stroke: var(--lidar); stroke-width: 1.6; }
.facts b { font-size: 22px; white-space: normal; }
.facts .good b { color: var(--good); } .facts .unknown b { color: var(--warn); }
.findings { list-style: none; margin: 16px 0 0; padding: 0; display: grid; gap: 10px; }
.findings li { background: var(--card); border: 1px solid var(--line); border-left: 4px solid var(--warn);
  border-radius: 8px; padding: 12px 18px; }
.findings li.s3 { border-left-color: var(--cut); } .findings li.s1 { border-left-color: var(--line); }
.findings b { font-weight: 620; } .findings p { margin: 3px 0 0; color: var(--soft); font-size: 15px; max-width: none; }
.verdict { display: inline-block; border-radius: 5px; padding: 2px 9px; font-size: 13.5px; font-weight: 650;
  color: #fff; margin-left: 8px; vertical-align: 2px; background: var(--warn); }
.verdict.good { background: var(--good); } .verdict.off { background: var(--cut); }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 16px; margin-top: 14px; }
.pair .chart { margin: 0; } .pair p { font-size: 15px; }
.shots { display: grid; grid-template-columns: repeat(3, 1fr); gap: 14px; margin: 10px 0 14px; }
.shots.n1 { grid-template-columns: 1fr; } .shots.n2 { grid-template-columns: 1fr 1fr; }
.shots img, .pair img { width: 100%; height: auto; display: block; border-radius: 6px; background: #0b0e14; }
.shots figcaption { font-size: 13.5px; margin-top: 5px; }
td.name { font-weight: 600; } td.flag { color: var(--cut); font-weight: 620; }
tr.quiet td { color: var(--soft); }
@media (max-width: 860px) { main { padding: 28px 18px 60px; } .facts, .pair { grid-template-columns: 1fr; }
  .facts div { border-left: 0; } .shots { grid-template-columns: 1fr 1fr; } }
"""
)
