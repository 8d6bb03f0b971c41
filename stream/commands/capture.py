"""`inbeam capture ENDPOINT OUT`: record a detector's messages byte for byte, with their arrival times."""

import argparse
import errno
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pydantic import ValidationError

from stream import wording
from stream.errors import SourceLost
from stream.numbers import above_zero, whole
from stream.wire.capture import Writer
from stream.wire.socket import Message, Receiver
from stream.wire.socket_options import SocketOptions

RECORDED, NOTHING_OR_FAILED, WRONG_USE = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `inbeam capture`."""
    parser.add_argument("endpoint", metavar="ENDPOINT", help="the detector, such as tcp://detector:31001")
    parser.add_argument("out", metavar="OUT", type=Path, help="file to write; an existing one is kept")
    parser.add_argument("--socket", choices=("pull", "sub"), default="pull", help="pull: PUSH detectors (default)")
    parser.add_argument("--bind", action="store_true", help="wait for senders at ENDPOINT instead of connecting")
    parser.add_argument("--messages", type=whole(1), metavar="N", help="stop after N messages")
    parser.add_argument("--seconds", type=above_zero, metavar="N", help="stop after N seconds")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    parser.add_argument("--max-message-mb", type=float, default=1024.0, metavar="MB", help="largest message taken")
    parser.add_argument("--server-key", type=Path, metavar="FILE", help="CURVE certificate of the sending end")
    parser.add_argument("--secret-key", type=Path, metavar="FILE", help="our own CURVE certificate (*.key_secret)")


def run(args: argparse.Namespace) -> int:
    """Record until told to stop. 0: something was recorded; 1: nothing came, or the disk failed; 2: wrong arguments."""
    try:
        options = SocketOptions(
            endpoint=args.endpoint,
            socket=args.socket,
            bind=args.bind,
            max_message_mb=args.max_message_mb,
            server_key=args.server_key,
            secret_key=args.secret_key,
        )
        writer = Writer(args.out, args.endpoint, overwrite=args.overwrite)
    except ValidationError as error:
        return _fail("; ".join(text for _, text in wording.problems(error, {}, SocketOptions)), WRONG_USE)
    except FileExistsError:
        return _fail(f"{args.out} exists: choose another name, or add --overwrite", WRONG_USE)
    except OSError as error:
        words = "its folder is not there: make it" if error.errno == errno.ENOENT else error.strerror
        return _fail(f"cannot write {args.out}: {words}", WRONG_USE)
    receiver = Receiver(options)
    failure = ""
    try:
        with _stopped_by_signals(receiver):
            _record(receiver, writer, args.messages, args.seconds)
        writer.close()
    except SourceLost as error:
        failure = str(error)
    except OSError as error:
        failure = f"cannot write {args.out} any more: {error.strerror}; {writer.messages} messages are in it"
    finally:
        with suppress(OSError):
            writer.close()
    if failure:
        return _fail(failure, NOTHING_OR_FAILED)
    if not writer.messages:
        return _fail(
            f"no message came from {args.endpoint}: is the detector armed, and its stream enabled?", NOTHING_OR_FAILED
        )
    print(f"{args.out}: {writer.messages} messages, {writer.nbytes / 1e6:.1f} MB")
    return RECORDED


def _record(receiver: Receiver, writer: Writer, messages: int | None, seconds: float | None) -> None:
    end = time.monotonic() + seconds if seconds is not None else None
    for item in receiver:
        if isinstance(item, Message):
            writer.write(item.parts, item.received)
        else:
            writer.flush_due()
            if item is not None:
                print(f"inbeam capture: {item.text}", file=sys.stderr)
        if (messages is not None and writer.messages >= messages) or (end is not None and time.monotonic() >= end):
            receiver.close()


@contextmanager
def _stopped_by_signals(receiver: Receiver) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the recording after the message in hand."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: receiver.close()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _fail(text: str, code: int) -> int:
    print(f"inbeam capture: {text}", file=sys.stderr)
    return code
