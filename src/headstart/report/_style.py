"""The one style sheet: calm on paper, at night, on a phone."""

from __future__ import annotations

_LIGHT = (
    "--paper:#fcfbf8;--wash:#f3f1eb;--ink:#1e2227;--soft:#5a616b;--rule:#dcd8ce;--faint:#eae7df;"
    "--with:#1b5e9e;--without:#b05f1e;--helps:#17694f;--hurts:#ab3a2b;--same:#4b5a70;--undecided:#84650f;"
    "--heat:27,94,158"
)
_DARK = (
    "--paper:#15181c;--wash:#1e2227;--ink:#e6e3dc;--soft:#a2a8b0;--rule:#363c44;--faint:#282d33;"
    "--with:#74b0ea;--without:#e39a5b;--helps:#66c2a0;--hurts:#ee8674;--same:#a5b6cf;--undecided:#dbb95c;"
    "--heat:116,176,234"
)
_SERIF = '"Iowan Old Style","Palatino Linotype",Palatino,"URW Palladio L",P052,Georgia,serif'
_SANS = 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue","Noto Sans","Liberation Sans",Arial,sans-serif'
_MONO = 'ui-monospace,"SF Mono",Menlo,Consolas,"Liberation Mono",monospace'

_TEXT = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;text-size-adjust:100%}
body{margin:0 auto;max-width:72rem;padding:2.2rem 1.25rem 4rem;background:var(--paper);color:var(--ink);
 font:1rem/1.55 SANS;font-variant-numeric:tabular-nums lining-nums;overflow-wrap:anywhere}
h1,h2,h3{font-family:SERIF;font-weight:600;line-height:1.2;margin:0;text-wrap:balance}
h1{font-size:1.7rem;letter-spacing:-.01em;margin:.15rem 0 1.2rem}
h2{font-size:1.22rem}
h3{font-size:1.02rem;margin:1.9rem 0 .55rem}
p{margin:0 0 .75rem;max-width:44rem}
ul{margin:0 0 .75rem;padding-left:1.15rem;max-width:44rem}
li{margin:.18rem 0}
a{color:var(--with);text-underline-offset:.18em}
code,pre{font-family:MONO;font-size:.86em}
pre{background:var(--wash);border:1px solid var(--rule);border-radius:4px;padding:.7rem .9rem;margin:0 0 .9rem;
 white-space:pre-wrap;max-width:44rem;line-height:1.5}
.brand{font-size:.8rem;letter-spacing:.09em;text-transform:uppercase;color:var(--soft);margin:0}
.brand b{color:var(--ink);font-weight:600}
.note,.aside{font-size:.86rem;line-height:1.5;color:var(--soft)}
.nowrap{white-space:nowrap}
.tag{display:inline-block;font-size:.72rem;line-height:1.35;border:1px solid currentColor;border-radius:3px;padding:0 .32rem;
 margin-left:.4rem;color:var(--soft);white-space:nowrap;font-weight:400;vertical-align:.08em}
.tag.with{color:var(--with)}.tag.without{color:var(--without)}.tag.bad{color:var(--hurts)}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1.15rem;margin:1.5rem 0 0;font-size:.86rem}
nav a{color:var(--soft);text-decoration:none;border-bottom:1px solid transparent}
nav a:hover,nav a:focus{color:var(--ink);border-color:currentColor}
section{border-top:1px solid var(--rule);margin-top:2.1rem;padding-top:1.3rem}
section>header{margin-bottom:.9rem}
.aside{margin:.45rem 0 0}
.body>:last-child{margin-bottom:0}
.body>h3:first-child{margin-top:.1rem}
details{margin:.9rem 0 0;max-width:100%}
summary{cursor:pointer;color:var(--soft);font-size:.9rem}
summary:hover{color:var(--ink)}
details[open]>summary{margin-bottom:.6rem}
footer{margin-top:2.6rem;border-top:1px solid var(--rule);padding-top:.9rem;font-size:.82rem;color:var(--soft)}
"""

_VERDICT = """
.verdict{--tone:var(--same);position:relative;padding:1.25rem 1.4rem 1.3rem 1.7rem;border-radius:3px;background:var(--wash);
 background:color-mix(in srgb,var(--tone) 9%,var(--paper))}
.verdict::before{content:"";position:absolute;inset:0 auto 0 0;width:0;border-left:7px solid var(--tone)}
.verdict.helps{--tone:var(--helps)}.verdict.hurts{--tone:var(--hurts)}.verdict.undecided{--tone:var(--undecided)}
.verdict.hurts::before{border-left-style:double;border-left-width:9px}
.verdict.undecided::before{border-left-style:dashed}
.verdict.same::before{border-left-style:dotted}
.outcome{display:flex;align-items:center;gap:.55rem;margin:0 0 .45rem;color:var(--tone);font-size:.84rem;font-weight:650;
 letter-spacing:.1em;text-transform:uppercase}
.outcome svg{flex:none;fill:currentColor}
.sentence{font:500 1.42rem/1.36 SERIF;margin:0;max-width:50rem;text-wrap:pretty}
.reason{margin:.7rem 0 0;color:var(--soft);font-size:.94rem}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.6rem,1fr));gap:.9rem 1.4rem;margin:1.4rem 0 0}
.facts dt{font-size:.78rem;color:var(--soft)}
.facts dd{margin:0;font-size:1.1rem}
.facts dd small{display:block;font-size:.8rem;color:var(--soft)}
.body .facts{margin:0 0 1.1rem;grid-template-columns:repeat(auto-fill,minmax(9.5rem,max-content))}
.box{border:1px solid var(--rule);border-radius:4px;padding:1rem 1.15rem .5rem}
"""

_TABLES = """
.scroll{overflow-x:auto;margin:0 0 1rem;background:linear-gradient(90deg,var(--paper) 40%,transparent) left/3rem 100% local,
 linear-gradient(270deg,var(--paper) 40%,transparent) right/3rem 100% local,
 linear-gradient(90deg,var(--rule),transparent) left/1rem 100%,linear-gradient(270deg,var(--rule),transparent) right/1rem 100%;
 background-repeat:no-repeat}
.scroll:focus-visible{outline:2px solid var(--with);outline-offset:2px}
table{border-collapse:collapse;width:100%;font-size:.9rem;line-height:1.4}
caption{text-align:left;color:var(--soft);font-size:.86rem;padding:0 0 .45rem}
caption span{display:inline-block;position:sticky;left:0;max-width:min(44rem,calc(100vw - 2.6rem))}
th,td{padding:.4rem .9rem .4rem 0;text-align:left;vertical-align:middle;border-bottom:1px solid var(--faint);font-weight:400}
th:last-child,td:last-child{padding-right:0}
thead th{font-size:.78rem;color:var(--soft);vertical-align:bottom;border-bottom:1px solid var(--rule);line-height:1.25}
thead th,td{overflow-wrap:break-word}
tbody th{min-width:8.5rem;overflow-wrap:anywhere}
.named tbody th{min-width:13.5rem}
.num{text-align:right;white-space:nowrap}
thead .num{white-space:normal}
.wide{min-width:9.5rem;width:32%}
tr.won>*{font-weight:650}
tr.failed>*{color:var(--soft)}
td small{color:var(--soft);font-size:.82em}
.beside{display:flex;flex-wrap:wrap;gap:1rem 2.6rem;align-items:flex-end}
.beside>.scroll{max-width:100%}
.beside>.scroll+.scroll{flex:1 1 15rem}
table.tight{max-width:36rem}
table.heat{width:auto;border-collapse:separate;border-spacing:2px;font-size:.8rem}
.heat th,.heat td{padding:0;border:0}
.heat thead th{vertical-align:bottom;height:6.2rem;padding-bottom:.3rem}
.heat thead th span.v{writing-mode:vertical-rl;transform:rotate(180deg);max-height:9.5rem;overflow:hidden;white-space:nowrap;
 display:inline-block;line-height:1.1}
.heat thead th:first-child{height:auto;text-align:right;padding-right:.55rem;white-space:nowrap}
.heat tbody th{min-width:0;text-align:right;padding-right:.55rem;max-width:11rem;white-space:nowrap;overflow:hidden;
 text-overflow:ellipsis}
.heat td{width:2.15rem;min-width:2.15rem;height:1.95rem;text-align:center;background:rgba(var(--heat),var(--v,0));
 color:var(--ink);
 border-radius:2px;-webkit-print-color-adjust:exact;print-color-adjust:exact}
.heat td.zero{color:var(--rule);background:var(--wash)}
.heat td.dark{color:var(--paper)}
.heat td.right{outline:1px solid var(--soft);outline-offset:-1px}
.heat.small td{width:1.35rem;min-width:1.35rem;height:1.3rem;font-size:.66rem}
.photos{display:grid;grid-template-columns:repeat(auto-fill,minmax(8.2rem,1fr));gap:1.1rem 1rem;margin:0 0 .8rem}
.photos>figure{margin:0;font-size:.84rem;line-height:1.35;min-width:0}
.shown{background:var(--wash);border-radius:3px;overflow:hidden;min-height:3rem;max-height:14rem}
.shown figure{margin:0}
.shown figcaption{display:none}
.shown img{display:block;width:100%;height:auto;aspect-ratio:1;object-fit:contain}
.shown>:not(img):not(figure){padding:.5rem}
.photos figcaption{padding-top:.4rem}
.photos .truth{color:var(--soft)}
.photos b{font-weight:650}
.photos small{color:var(--soft);display:block;white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.texts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:1.3rem 1.6rem;margin:0 0 .8rem}
.texts>figure{margin:0;font-size:.88rem;line-height:1.45;min-width:0}
.texts .shown{max-height:none;min-height:0;padding:.6rem .8rem;border-left:3px solid var(--rule)}
.texts p{margin:0;max-width:none;font:1rem/1.5 SERIF;white-space:pre-line}
.texts p.tagged{line-height:1.75}
.texts figcaption{padding-top:.4rem}
.texts .truth,.texts figcaption small{color:var(--soft)}
.texts figcaption small{display:block}
.texts em{color:var(--soft);font-style:normal;font-size:.86em}
mark{background:none;color:inherit;border-bottom:1px solid var(--soft)}
mark small{font:.74rem SANS;color:var(--soft)}
mark.missed{border-bottom:2px dashed var(--without)}
mark.false{border-bottom:3px dotted var(--hurts)}
mark.wrong{border-bottom:4px double var(--with)}
mark.missed small,mark.false small,mark.wrong small{color:inherit;font-weight:650}
"""

_CHARTS = """
svg{display:block;overflow:visible;max-width:100%}
svg text{fill:var(--ink);font:.82rem SANS;font-variant-numeric:tabular-nums;paint-order:stroke;stroke:var(--paper);
 stroke-width:4px; stroke-linejoin:round}
svg .small{fill:var(--soft);font-size:.72rem}
svg .label{font-size:.82rem}
svg line{stroke:var(--rule);stroke-width:1}
svg .grid{stroke:var(--faint)}
svg .axis{stroke:var(--soft);stroke-opacity:.6}
svg .zero{stroke:var(--ink);stroke-width:1.25}
svg .zone{fill:var(--wash)}
svg .hatch{stroke:var(--rule);stroke-width:2.4}
svg .whisker{stroke-width:2.5;stroke:var(--ink)}
svg .cap{stroke-width:1.75;stroke:var(--ink)}
svg .whisker.weak,svg .cap.weak{stroke:var(--soft);stroke-width:1.25}
svg .refit{stroke:var(--soft);stroke-width:1.4;stroke-opacity:.55}
svg .point{fill:var(--ink);stroke:var(--paper);stroke-width:1.5}
svg .point.weak{fill:var(--soft)}
svg .whisker.with,svg .cap.with,svg .fold.with{stroke:var(--with);stroke-width:1.6}
svg .whisker.without,svg .cap.without,svg .fold.without{stroke:var(--without);stroke-width:1.6}
svg .fold.with,svg .fold.without{stroke-opacity:.55;stroke-width:1.4}
svg .dot.with{fill:var(--with);stroke:var(--paper);stroke-width:1.25}
svg .dot.without{fill:var(--paper);stroke:var(--without);stroke-width:2}
svg .between{stroke:var(--soft);stroke-width:1;stroke-opacity:.7}
svg .bar{fill:var(--soft);fill-opacity:.55}
svg .error{fill:var(--with);fill-opacity:.16}
svg .curve{fill:none;stroke:var(--with);stroke-width:2;vector-effect:non-scaling-stroke;stroke-linejoin:round}
svg .tap{fill:var(--paper);stroke:var(--with);stroke-width:1.5}
svg .tap.read{fill:var(--with);stroke:var(--paper)}
svg .tap.cut{fill:var(--ink);stroke:var(--paper)}
svg .mark{stroke:var(--with);stroke-width:1.25}
svg .mark.cut{stroke:var(--ink);stroke-dasharray:4 3}
.gain{margin:1.5rem 0 0}
.gain+.note{margin:.55rem 0 0}
.profile{margin:0 0 .6rem}
.mini{min-width:8.5rem}
.key{display:inline-flex;align-items:center;gap:.35rem;margin-right:1rem}
.key svg{flex:none;width:12px}
"""

_SCREENS = """
@media (min-width:60rem){
 section{display:grid;grid-template-columns:12.5rem minmax(0,1fr);gap:0 2.4rem}
 section>header{margin:0}
 body{padding-left:2.5rem;padding-right:2.5rem}
 h1{font-size:2rem}
}
@media (max-width:34rem){
 body{padding-top:1.3rem}
 .sentence{font-size:1.18rem}
 .verdict{padding-right:1rem}
 h1{font-size:1.42rem}
 .photos{grid-template-columns:repeat(auto-fill,minmax(6.6rem,1fr))}
}
@media print{
 :root{LIGHT;--paper:#fff}
 body{max-width:none;padding:0;font-size:10pt}
 nav{display:none}
 section{display:block;margin-top:1.2rem;padding-top:.8rem}
 section>header{break-after:avoid;margin-bottom:.5rem}
 .verdict,.photos>figure,.texts>figure,tr,svg,.box,.facts{break-inside:avoid}
 .scroll{overflow:visible;background:none}
 .verdict,.shown,svg{-webkit-print-color-adjust:exact;print-color-adjust:exact}
}
"""


def _sheet() -> str:
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{_DARK}}}}}"
    whole = f":root{{color-scheme:light dark;{_LIGHT}}}{dark}{_TEXT}{_VERDICT}{_TABLES}{_CHARTS}{_SCREENS}"
    return whole.replace("SERIF", _SERIF).replace("SANS", _SANS).replace("MONO", _MONO).replace("LIGHT", _LIGHT)


STYLE = _sheet()
