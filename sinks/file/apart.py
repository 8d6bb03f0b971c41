"""Products beside the one that the entry is about, so that the entry still is what its definition says.

An application definition holds for every NXdata directly in its entry. So the group of another product is no NXdata
itself: it *has* one, with the same datasets, as its default plot. Another azimuthal integration is a subentry with a
definition of its own, as NXazint1d.nxdl.xml asks for; anything else is a collection.
"""

from typing import Any

from sinks.file import nexus
from sinks.file.product import describe_entry
from stream.products import Product


def set_apart(entry: Any, name: str, product: Product, definition: str) -> None:
    """Make /entry/`name`, an NXdata that is laid out, a group of its own; `definition`: the one that it fits, or ""."""
    group = entry[name]
    fields, attributes = dict(group), dict(group.attrs)
    for key in attributes:
        del group.attrs[key]
    inner = "data" if "data" not in group else "plot"
    while inner in group:
        inner += "_"
    made = nexus.group(group, inner, "NXdata")
    made.attrs.update(attributes)
    for field, dataset in fields.items():
        made[field] = dataset
    group.attrs.update({"NX_class": "NXcollection", "default": inner})
    if definition:
        group.attrs["NX_class"] = "NXsubentry"
        describe_entry(group, product, definition)
        shared = {
            "reduction": f"reduction_{name}",
            "instrument": "instrument",
            "monitor": "monitor",
            "sample": "sample",
        }
        for wanted, path in shared.items():
            group[wanted] = entry[path]
