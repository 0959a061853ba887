"""How a report looks, by day and by night. Colours are told apart by those who see fewer of them (Okabe and Ito's)."""

from __future__ import annotations

from typing import Final

STYLE: Final = """
:root{color-scheme:light dark;--page:#fcfcfb;--card:#fff;--ink:#1c1c1c;--soft:#61615c;--rule:#e3e2dd;
--generate:#0072b2;--download:#56b4e9;--idle:#d55e00;--setup:#e0b000;--other:#b9b8b3;--estimate:#8fb9cf;
--made:#0072b226;--bad:#b3261e}
@media(prefers-color-scheme:dark){:root{--page:#161615;--card:#20201e;--ink:#ededea;--soft:#a5a49d;--rule:#3a3935;
--generate:#3d9bd9;--download:#8fd0f5;--idle:#ee7f2d;--setup:#e6c229;--other:#6c6b66;--estimate:#5d8299;
--made:#3d9bd933;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:66rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.6rem;margin:0;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:2.5rem 0 .75rem}
.summary{color:var(--soft);margin:.25rem 0 1.5rem}
.note{color:var(--soft);font-size:.85rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;margin:0}
.tiles div{background:var(--card);border:1px solid var(--rule);border-radius:.6rem;padding:.75rem .9rem}
.tiles dt{color:var(--soft);font-size:.85rem}
.tiles dd{margin:0}
.tiles .value{font-size:1.25rem;font-weight:600;white-space:nowrap;font-variant-numeric:tabular-nums}
.chart,.scroll{background:var(--card);border:1px solid var(--rule);border-radius:.6rem;overflow-x:auto;margin:.5rem 0}
.chart{padding:.75rem}
svg{display:block;width:100%;min-width:40rem;height:auto}
svg text{font-size:13px;fill:var(--ink);font-variant-numeric:tabular-nums}
svg .tick,svg .reason{fill:var(--soft)}
svg .reason{font-weight:600}
svg .reason.inside{fill:var(--page)}
svg .on{fill:#fff}
svg .on.download,svg .on.setup,svg .on.other{fill:#1c1c1c}
.grid{stroke:var(--rule)}
.cut{stroke:var(--bad);stroke-width:2.5}
polygon.made{fill:var(--made)}
polyline{fill:none;stroke-width:2;stroke-linejoin:round}
polyline.made-line{stroke:var(--generate)}
polyline.planned{stroke:var(--soft);stroke-dasharray:5 4}
polyline.failed-line{stroke:var(--bad)}
rect.setup{fill:var(--setup)}rect.download{fill:var(--download)}rect.generate{fill:var(--generate)}
rect.idle{fill:var(--idle)}rect.other{fill:var(--other)}rect.estimate{fill:var(--estimate)}
rect.planned-bar{fill:none;stroke:var(--soft);stroke-dasharray:4 3}
.legend{display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;list-style:none;padding:0;margin:0;font-size:.9rem}
.key{display:inline-block;width:.85rem;height:.85rem;border-radius:.2rem;margin-right:.4rem;vertical-align:-.08rem}
.key.setup{background:var(--setup)}.key.download{background:var(--download)}.key.generate{background:var(--generate)}
.key.idle{background:var(--idle)}.key.other{background:var(--other)}
.key.made-line,.key.failed-line,.key.planned{height:0;border-radius:0;vertical-align:.22rem;border-top:2px solid}
.key.made-line{border-color:var(--generate)}.key.failed-line{border-color:var(--bad)}
.key.planned{border-top-style:dashed;border-color:var(--soft)}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.4rem .75rem;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap}
tr:last-child>*{border-bottom:0}
th:first-child{text-align:left;font-weight:500}
thead *{color:var(--soft);font-weight:500}
table.words :is(th,td){text-align:left}
table.words td:last-child{white-space:normal;overflow-wrap:anywhere}
"""
