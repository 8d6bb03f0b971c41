"""Every image format that fabio writes, by the end of a file's name."""

from collections.abc import Callable
from typing import Any

import fabio
import numpy as np


def mar345(data: np.ndarray) -> Any:
    """A MAR345 image, which fabio writes once it is told the order of its bytes."""
    image = fabio.mar345image.Mar345Image(data=data.astype("u4"))
    image.byteorder = "<"
    return image


WRITERS: dict[str, Callable[..., Any]] = {
    "edf": fabio.edfimage.EdfImage,
    "cbf": lambda data: fabio.cbfimage.CbfImage(data=data.astype("i4")),
    "tif": fabio.tifimage.TifImage,
    "mccd": fabio.marccdimage.MarccdImage,
    "mar3450": mar345,
    "adsc.img": fabio.adscimage.AdscImage,
    "dtrek.img": fabio.dtrekimage.DtrekImage,
    "oxd.img": fabio.OXDimage.OxdImage,
    "sfrm": fabio.bruker100image.Bruker100Image,
    "pnm": fabio.pnmimage.PnmImage,
}
