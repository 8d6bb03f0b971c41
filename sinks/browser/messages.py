"""What a browser may say; anything else ends its connection."""

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

Name: TypeAlias = Annotated[str, Field(max_length=200)]
Pixel: TypeAlias = Annotated[int, Field(ge=0, le=1 << 20)]


class Message(BaseModel):
    """Base of all: nothing is converted, nothing is left over."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Hello(Message):
    """The first one. have: the series up to here are there already, of scan `scan`."""

    kind: Literal["hello"]
    token: Annotated[str, Field(max_length=200)] = ""
    name: Annotated[str, Field(max_length=40)] = ""


class Shown(Message):
    """The last turn is on the screen: the next may come."""

    kind: Literal["shown"]


class Past(Message):
    """An archived frame instead of the newest one, of the scan that is shown: its number, as `scan` said it."""

    scan: Annotated[int, Field(ge=0, le=1 << 31)]
    frame: Annotated[int, Field(ge=0, le=1 << 40)]


class View(Message):
    """source: `image CHANNEL` or `PRODUCT.FIELD`. rows, columns: [first, last); None: all. size: longest side."""

    source: Name
    rows: tuple[Pixel, Pixel] | None = None
    columns: tuple[Pixel, Pixel] | None = None
    size: Annotated[int, Field(ge=8, le=4096)] = 512
    pool: Literal["mean", "max"] = "mean"
    past: Past | None = None
    saturated: bool = False
    """Count the saturated pixels of the whole image, too: somebody has an alarm on them."""


class Watch(Message):
    """What this viewer looks at: panel -> view."""

    kind: Literal["watch"]
    views: Annotated[dict[Annotated[str, Field(max_length=20)], View], Field(max_length=4)]


class Probe(Message):
    """What is at a pixel of a source?"""

    kind: Literal["probe"]
    source: Name
    row: Pixel
    column: Pixel
    past: Past | None = None
    saturated: bool = False
    """Count the saturated pixels of the whole image, too: somebody has an alarm on them."""


class Plane(Message):
    """Where does the detector lie, that this product's rings are measured on?"""

    kind: Literal["plane"]
    product: Name


class Set(Message):
    """Change an option. seen: the value that the viewer took for the present one."""

    kind: Literal["set"]
    id: Annotated[int, Field(ge=0, le=1 << 53)]
    path: Name
    value: Any
    seen: Any = None


Said: TypeAlias = Annotated[Hello | Shown | Watch | Probe | Plane | Set, Field(discriminator="kind")]
_ADAPTER: TypeAdapter[Hello | Shown | Watch | Probe | Plane | Set] = TypeAdapter(Said)


def read(text: str | bytes) -> Hello | Shown | Watch | Probe | Plane | Set:
    """One message. Raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("browsers send text")
    try:
        return _ADAPTER.validate_json(text)
    except ValidationError as error:
        raise ValueError(f"not understood: {error.errors()[0]['msg']}") from None
