"""The page's frame: one HTML file without scripts or anything from elsewhere."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #1f2933;
  max-width: 1060px; margin: 2.5rem auto; padding: 0 1.5rem; background: #fff; }}
h1 {{ font-size: 1.8rem; margin: 0 0 1.2rem; }}
h2 {{ font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: 1rem; border-top: 1px solid #e4e7eb; }}
dl {{ display: grid; grid-template-columns: 9.5rem 1fr; gap: .25rem 1rem; margin: 1rem 0; }}
dt {{ color: #66727f; }}
dd {{ margin: 0; }}
img {{ max-width: 100%; height: auto; }}
pre {{ background: #f5f7fa; padding: .7rem .9rem; border-radius: 6px; white-space: pre-wrap; overflow-wrap: anywhere;
  font-size: .85rem; }}
table {{ border-collapse: collapse; width: 100%; font-size: .95rem; }}
td {{ padding: .35rem .7rem .35rem 0; border-bottom: 1px solid #e4e7eb; vertical-align: top; }}
td:first-child {{ width: 1.5rem; font-weight: 700; }}
.passed td:first-child, .accepted {{ color: #00795b; }}
.failed td:first-child, .rejected {{ color: #b35900; }}
.open {{ color: #8592a0; }}
.formula {{ margin: .5rem 0 1rem; }}
.formula img {{ max-height: 4.5rem; }}
.small img {{ max-width: 560px; }}
.graph img {{ max-height: 720px; }}
.note {{ color: #66727f; font-size: .92rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
{formula}
<dl>{facts}</dl>
<h2>Loss and slope</h2>
{curves}
<p class="note">{reading}</p>
<h2>Verdict</h2>
{verdict}
{scale}
{graph}
</body>
</html>
"""
