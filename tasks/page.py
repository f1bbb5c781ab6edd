"""What the pages for people have in common: one HTML file that needs no other."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray


def page(title: str, parts: Sequence[str], *, style: str = "") -> str:
    """An HTML document.

    Args:
        title: its name, as text.
        parts: of its body, as HTML.
        style: CSS besides what all pages have.
    """
    return _PAGE.format(title=escape(title), style=style.strip(), body="\n".join(parts))


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "") -> str:
    """A table of texts, the first of each row to the left."""
    cells = "".join(f'<th scope="col">{escape(one)}</th>' for one in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(one)}</td>" for one in row) + "</tr>" for row in rows)
    told = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{told}<tr>{cells}</tr>{body}</table>"


def embedded(picture: NDArray[np.uint8], *, kind: str = "png") -> str:
    """A picture (y, x, 3) as the text of a link: png as it is, or jpeg for photographs."""
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(picture).save(held, kind, **({"quality": 85} if kind == "jpeg" else {}))
    return f"data:image/{kind};base64," + base64.b64encode(held.getvalue()).decode()


_PAGE = """<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>geoloom: {title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
table {{ border-collapse: collapse; margin: 1rem 0 }}
caption {{ text-align: left; color: #555 }}
th, td {{ padding: .3rem .9rem; border-bottom: 1px solid #ddd; text-align: right }}
th:first-child, td:first-child {{ text-align: left }}
figure {{ margin: 0; font-size: 12px; line-height: 1.35 }}
{style}
</style>
{body}
</html>
"""
