"""An SVG as vl-convert draws it, made fit to stand in a page: small, named, with ids of its own and in the page's font."""

import re
from xml.etree import ElementTree

SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
# What the page says better: its own font, one name for the whole drawing, and no pointer on a drawing that does not answer.
NEEDLESS = ("class", "role", "aria-label", "aria-roledescription", "aria-hidden", "pointer-events", "font-family", "cursor")
# What children inherit: stands once at their group where it is the same for all.
INHERITED = ("fill", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "font-size", "font-weight", "text-anchor")

ElementTree.register_namespace("", SVG)
ElementTree.register_namespace("xlink", XLINK)


def slim(drawn: str, prefix: str, label: str) -> str:
    """The drawing as an ``<svg>`` element of a page, a quarter of its length.

    Args:
        drawn: an SVG document.
        prefix: what its ids begin with.
        label: what it shows.
    """
    root = ElementTree.fromstring(drawn)
    _clean(root, prefix)
    width, height = root.get("width", ""), root.get("height", "")
    root.attrib.clear()
    root.attrib |= {"viewBox": f"0 0 {width} {height}", "width": width, "role": "img", "aria-label": label}
    text = ElementTree.tostring(root, encoding="unicode")
    return text.replace(f' xmlns="{SVG}"', "").replace(f' xmlns:xlink="{XLINK}"', "").replace(" />", "/>")


def _clean(element: ElementTree.Element, prefix: str) -> None:
    for name, value in list(element.attrib.items()):
        if name in NEEDLESS or (name, value) in (("opacity", "1"), ("transform", "translate(0,0)")):
            del element.attrib[name]
        elif name in ("d", "transform"):
            element.attrib[name] = re.sub(r"(\d+\.\d)\d+", r"\1", value)
        elif name == "id":
            element.attrib[name] = f"{prefix}-{value}"
        elif "url(#" in value:
            element.attrib[name] = value.replace("url(#", f"url(#{prefix}-")
        elif name == f"{{{XLINK}}}href":
            element.attrib[name] = value.replace("#", f"#{prefix}-")
    for child in list(element):
        _clean(child, prefix)
        if _is_empty(child) and element.tag != f"{{{SVG}}}clipPath":
            element.remove(child)
    if element.tag == f"{{{SVG}}}g":
        _lift(element)


def _is_empty(element: ElementTree.Element) -> bool:
    """Whether nothing of it is seen: groups without content, labels without text, paths without a way."""
    kind = element.tag.removeprefix(f"{{{SVG}}}")
    if kind == "path":
        return element.get("d") in ("", "M0,0h0v0h0Z") or (element.get("fill") is None and element.get("stroke") is None)
    return kind in ("g", "text") and not len(element) and not (element.text or "").strip()


def _lift(group: ElementTree.Element) -> None:
    """Moves to a group what its children have in common, and takes the place of an only child that is a group, too."""
    while len(group) == 1 and group[0].tag == group.tag and not (group.attrib.keys() & group[0].attrib.keys()):
        (child,) = group
        group.attrib |= child.attrib
        group[:] = list(child)
    for name in INHERITED:
        values = {child.get(name) for child in group}
        if len(values) == 1 and None not in values and name not in group.attrib:
            group.set(name, values.pop() or "")
            for child in group:
                del child.attrib[name]
