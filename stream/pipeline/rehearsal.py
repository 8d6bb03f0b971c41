"""The first frame of recorded files through the whole chain of processors, with nothing written: `validate` with FILES.

What only a scan can show is found so: a geometry for another detector, a wavelength that nobody says, a range without
any pixel.
"""

from collections.abc import Sequence

import numpy as np

from stream import registry
from stream.config import Config
from stream.errors import ConfigError
from stream.events import Frame, FrameStatus, ScanEnd, ScanStart
from stream.pipeline.chain import Chain, Step
from stream.preflight import Problem, located
from stream.products import Product
from stream.roles import Gatherer, Processor, Source


def rehearse(config: Config, files: Sequence[str]) -> tuple[ScanStart, tuple[Product, ...]]:
    """The first scan of the files and what the processors declare for it.

    Raises ConfigError if the files hold no scan, a processor refuses it, or its first frame fails or gives nothing.
    """
    scan, frame = _first(config, files)
    roles = [registry.create("processors", options) for options in config.processors]
    steps = [Step(f"processors[{number}]", each) for number, each in enumerate(roles) if isinstance(each, Processor)]
    chain = Chain(steps)
    products = [*chain.start(scan)]
    try:
        problems = _tried(chain, scan, frame, products)
        for number, (options, each) in enumerate(zip(config.processors, roles, strict=True)):
            if isinstance(each, Gatherer) and not problems:
                try:
                    products += each.start(scan, chain.bench())
                    list(each.finish(ScanEnd(scan.uid)))
                except Exception as error:  # of a third party's plug-in too
                    problems += located(f"processors[{number}]", options, error)
    finally:
        chain.finish(ScanEnd(scan.uid))
    if problems:
        raise ConfigError(problems)
    return scan, tuple(products)


def _first(config: Config, files: Sequence[str]) -> tuple[ScanStart, Frame | None]:
    """The first scan and its first frame with pixels, None if it has none."""
    model = registry.module("stream", "files").Config
    kept = config.stream.model_dump() if isinstance(config.stream, model) else {}
    source: Source = registry.create("stream", model.model_validate({**kept, "type": "files", "files": files}))
    scan: ScanStart | None = None
    told: list[str] = []
    try:
        for event in source.events():
            if isinstance(event, ScanStart):
                scan = event
            elif isinstance(event, Frame) and scan is not None and event.payloads:
                return scan, event
            elif isinstance(event, ScanEnd):
                break
            elif not isinstance(event, Frame):
                told.append(event.text)
    finally:
        source.close()
    if scan is None:
        reasons = "; ".join(told) or "no scan"
        raise ConfigError([("FILES", f"nothing to try the configuration on in {', '.join(files)}: {reasons}")])
    return scan, None


def _tried(chain: Chain, scan: ScanStart, frame: Frame | None, products: Sequence[Product]) -> list[Problem]:
    if chain.refusal:
        place, _, text = chain.refusal.partition(": ")
        return [(place, f"refuses scan {scan.name}: {text}")]
    if frame is None:
        return []
    done = chain.process(frame)
    if done.status is not FrameStatus.RECEIVED:
        return [("", f"frame {frame.index} of scan {scan.name} is {done.status.name.lower()}: {done.problem}")]
    return [
        (
            "processors",
            f"{product.name} gives only NaN for frame {frame.index} of scan {scan.name}: all its pixels are masked, "
            "flagged or saturated",
        )
        for product in products
        if product.signal and _nothing(done.results[product.name][product.signal])
    ]


def _nothing(values: object) -> bool:
    array = np.asarray(values)
    return bool(array.dtype.kind == "f" and array.size and np.isnan(array).all())
