"""Whose patterns are mapped."""

from stream.errors import ConfigError
from stream.products import Declared, Product
from stream.work import Work


def source_of(work: Work, of: str | None) -> Product:
    """The product called `of`, or the first, that has a pattern or cake per frame. Raises ConfigError."""
    declared = work.get(Declared)
    products = declared.products if declared is not None else ()
    fit = [product for product in products if _shape(product) is not None]
    for product in fit:
        if of in (None, product.name):
            return product
    have = ", ".join(product.name for product in fit) or "none"
    wanted = "a processor with a pattern per frame" if of is None else f"one called {of!r}"
    raise ConfigError(
        [("map.of", f"{wanted} must stand before the map (there is: {have}): add `integrate` or correct")]
    )


def _shape(product: Product) -> tuple[int | None, ...] | None:
    for field in product.fields:
        if field.name == product.signal and field.per == "frame" and not field.ragged and len(field.shape) in (1, 2):
            return field.shape
    return None
