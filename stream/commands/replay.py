"""`inbeam replay FILE`: a recorded scan or a capture, played as the detector that made it."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sinks.file.places import same
from stream import registry
from stream.commands.given import has_no_effect, must_be_there
from stream.errors import ConfigError, InbeamError
from stream.events import Buffer
from stream.numbers import whole
from stream.simulate import play
from stream.simulate.encode import HeaderDetail
from stream.simulate.messages import Message, classify, label
from stream.simulate.scans import recorded
from stream.wire import capture
from stream.wire.capture import Reader


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.description = (
        "Play a file as the detector, on a socket. A capture goes out byte for byte; a recorded scan (HDF5, EDF, CBF, "
        "TIFF) is encoded again."
    )
    parser.add_argument(
        "file", metavar="FILE", help="capture, or whatever the source `files` reads (file.h5::/path too)"
    )
    parser.add_argument(
        "--as",
        dest="protocol",
        choices=("stream2", "simplon"),
        help="protocol of a recorded scan (default stream2); a capture keeps its own",
    )
    parser.add_argument("--repeat", type=whole(1), default=1, metavar="N", help="play it N times (default %(default)s)")
    parser.add_argument("--header-detail", choices=("all", "basic", "none"), help="default all")
    parser.add_argument("--series", type=whole(0), metavar="ID", help="number of the first series encoded (default 1)")
    play.add_arguments(parser, rate="as-recorded")


def run(args: argparse.Namespace) -> int:
    """Send; 0 if all went out or the user stopped it, 1 with a line that says why not."""
    must_be_there(Path(args.file.partition("::")[0]))
    play.check(args)
    from stream.sources.captures import is_capture

    as_it_was = is_capture(args.file)
    if as_it_was:
        said = {"--series": args.series, "--header-detail": args.header_detail}
        has_no_effect(said, f"{args.file} is a capture and is sent as it was: leave it out")
    try:
        if args.report and same(args.report, [args.file.partition("::")[0]]):
            raise InbeamError(f"{args.report} is what is to be played: give the report another name")
        if as_it_was:
            protocol = protocol_of(args.file)
            if args.protocol and args.protocol != protocol:
                raise InbeamError(f"{args.file} is a capture of {protocol} and is sent as it was: leave --as out")
            return play.play(captured(args.file, args.repeat), args, protocol)
        protocol = args.protocol or "stream2"
        series = 1 if args.series is None else args.series
        messages = encoded(args.file, protocol, args.repeat, series=series, header_detail=args.header_detail or "all")
        return play.play(messages, args, protocol)
    except (InbeamError, OSError) as error:
        complain(str(error))
        return 1


def read(path: str, said: Callable[[str], None] = lambda text: None) -> Iterator[tuple[float, Sequence[Buffer]]]:
    """(seconds since its start, parts) of every message of a capture; what cannot be read is said and left out."""
    untimed = False
    for item in Reader(Path(path)):
        if isinstance(item, str):
            said(item)
            continue
        if item.arrival_s is None and not untimed:
            untimed = True
            said(f"{path} has no arrival times: it goes out as fast as it is taken, unless --rate says otherwise")
        yield item.arrival_s or 0.0, item.parts


def protocol_of(path: str) -> str:
    """ "stream2" or "simplon": by the first message of a capture that is one of a detector. Raises InbeamError."""
    for _, parts in read(path):
        if classify(parts)[0] != "other":
            return capture.protocol_of(parts)
    raise InbeamError(f"{path} holds no message of a detector, neither stream2 nor SIMPLON v1")


def captured(path: str, repeat: int) -> Iterator[Message]:
    """The messages of a capture, their bytes untouched; again and again with the same numbers and ids."""
    begin = 0.0
    for round_ in range(repeat):
        last = 0.0
        for message in label(read(path, complain if round_ == 0 else lambda text: None)):
            last = message.at_s
            yield replace(message, at_s=begin + last)
        begin += last


def complain(text: str) -> None:
    """Tell the user what is left out."""
    print(f"inbeam replay: {text}", file=sys.stderr)


def encoded(
    path: str, protocol: str, repeat: int, *, series: int = 1, header_detail: HeaderDetail = "all"
) -> Iterator[Message]:
    """The scans of a recorded file, encoded; each with a new number, when repeated with a new unique id as well."""
    config = registry.module("stream", "files").Config(files=(path,))
    begin = now = 0.0
    for round_ in range(repeat):
        notes: list[str] = []
        try:
            source = registry.create("stream", config)
        except ConfigError as error:
            raise InbeamError(str(error)) from error
        images = 0
        for message in recorded(
            source.events(),
            protocol=protocol,
            series=series,
            renew=round_ > 0,
            header_detail=header_detail,
            note=notes.append,
        ):
            images += message.kind == "image"
            series += message.kind == "start"
            now = begin + message.at_s
            yield replace(message, at_s=now)
        if not images:
            raise InbeamError(f"{path} holds no frames to send: {'; '.join(notes) or 'its scans are empty'}")
        if round_ == 0:
            for text in notes:
                complain(text)
        begin = now
