"""One frame through `correct` and `roi`, without a pipeline."""

from collections.abc import Mapping
from typing import Any

from processors import correct
from processors.roi import Config, create
from stream import Detector, Encoding, Frame, Payload, ScanEnd, ScanStart
from stream.events import Array
from stream.work import Work

ENTRY = {"type": "roi"}


def measured(
    image: Array,
    regions: Mapping[str, Any],
    readings: Mapping[str, float] | None = None,
    masks: Mapping[str, Any] | None = None,
    detector: Detector | None = None,
    **options: Any,
) -> dict[str, Array]:
    """One frame through `correct` (with these masks, dark ...) and `roi`."""
    work = Work()
    scan = ScanStart("one", "one", image.shape, image.dtype, ("data",), 1, detector or Detector(), 0.0)
    correct.create(correct.Config.model_validate({"type": "correct", **(masks or {})})).start(scan, work)
    made = create(Config.model_validate({**ENTRY, "regions": regions, **options}))
    made.start(scan, work)
    payload = Payload(image.tobytes(), Encoding.RAW, image.shape, image.dtype)
    work.take(Frame("one", 0, {"data": payload}, 0.0, readings=readings or {}))
    made.process(work)
    made.finish(ScanEnd("one"))
    return dict(work.results["roi"])


def box(x: tuple[float, float], y: tuple[float, float], **more: Any) -> dict[str, Any]:
    return {"kind": "rectangle", "x": x, "y": y, **more}
