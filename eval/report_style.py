"""How a report looks: on light and dark screens, on a telephone, and on paper."""

STYLE = """
:root{--ink:#1c2024;--soft:#5b636c;--line:#d5dae0;--ground:#fff;--panel:#f5f7f9;--mark:#fff0c2;--link:#0060a8}
@media (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#a3abb5;--line:#3a4149;--ground:#111418;--panel:#1a1f25;
--mark:#4d3f10;--link:#7cc0f5}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1180px;padding:1rem clamp(.75rem,3vw,2rem) 4rem;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Noto Sans","Noto Sans CJK SC",sans-serif;
overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.2;margin:.5rem 0}h2{font-size:1.25rem;margin:2.2rem 0 .4rem;padding-top:.4rem;
border-top:1px solid var(--line)}h3{font-size:1rem;margin:1.2rem 0 .3rem}p{margin:.4rem 0}a{color:var(--link)}
.note{color:var(--soft);font-size:.9rem}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1rem;list-style:none;padding:0;margin:.6rem 0}
.wide{overflow-x:auto;margin:.5rem 0}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:.28rem .6rem;border-bottom:1px solid var(--line);text-align:start;vertical-align:top;min-width:3.2rem;
max-width:34rem;overflow-wrap:break-word}
th{font-weight:600;color:var(--soft);white-space:nowrap}.number{text-align:end;white-space:nowrap}
.plots{display:flex;flex-wrap:wrap;gap:1rem 2rem;align-items:flex-start}
figure{margin:.6rem 0;max-width:100%}figcaption{font-size:.9rem;font-weight:600;margin-bottom:.3rem}
figure svg{max-width:100%;height:auto;color:var(--ink)}
details{border:1px solid var(--line);border-radius:6px;margin:.35rem 0;background:var(--panel)}
summary{cursor:pointer;padding:.45rem .7rem}details>div{padding:0 .8rem .6rem}
.outcome{color:var(--soft);font-size:.85rem;margin-inline-start:.6rem}
.answer{white-space:pre-wrap;border-inline-start:3px solid var(--link);padding-inline-start:.8rem}
mark{background:var(--mark);color:inherit;border-radius:2px}sup{line-height:0;margin-inline-start:.1rem}
.bad{color:#b3261e;font-weight:600}@media (prefers-color-scheme:dark){.bad{color:#ff8a80}}
@media print{body{max-width:none;font-size:10pt}.wide{overflow:visible}figure,tr{break-inside:avoid}
h2{break-after:avoid}details{border:0;background:none}details::details-content{content-visibility:visible;height:auto}
nav{display:none}}
"""
