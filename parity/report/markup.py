"""Elements of an HTML page; ElementTree escapes what they hold."""

from __future__ import annotations

from xml.etree.ElementTree import Element, tostring


def element(tag: str, *children: Element | str, _class: str = "", **attributes: object) -> Element:
    """An element with attributes, and text and elements in it in the order given.

    An attribute's underscores stand for hyphens, which Python's names cannot have.
    """
    made = Element(tag)
    if _class:
        made.set("class", _class)
    for name, value in attributes.items():
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        made.set(name.replace("_", "-"), text)
    for child in children:
        if not isinstance(child, str):
            made.append(child)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + child
        else:
            made.text = (made.text or "") + child
    return made


def serialise(elements: list[Element]) -> str:
    """The elements as HTML."""
    return "\n".join(tostring(item, encoding="unicode", method="html") for item in elements)
