"""Products with axes, without, and of the sparse kind, for the layout of results files."""

import numpy as np

from stream.products import Axis, Field, Product, Reduction

ETA, RADIAL = np.linspace(-175, 175, 8), np.linspace(0.5, 4, 90)
CAKE = Product(
    name="cake",
    fields=(Field("I", (8, 90), np.dtype("f4"), "arbitrary units"), Field("I_errors", (8, 90), np.dtype("f4"))),
    signal="I",
    axes=(
        Axis("azimuthal_axis", ETA, "degrees", "eta", np.linspace(-180, 180, 9)),
        Axis("radial_axis", RADIAL, "degrees", "2theta"),
    ),
    reduction=Reduction("NXazint2d"),
)
REGIONS = Product(
    name="roi/1", fields=(Field("sum", (), np.dtype("u8"), "counts"), Field("box", (4, 5), np.dtype("i4")))
)
SPARSE = Product(
    name="peaks", fields=(Field("index", (None,), np.dtype("u4")), Field("count", (), np.dtype("u4"))), signal="count"
)
