"""What `inbeam simulate` and `inbeam replay` have in common: where to bind, how fast, which faults, what to report."""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

from stream.errors import ConfigError, InbeamError
from stream.numbers import above_zero
from stream.simulate.faults import Faults, Report, inject, parse
from stream.simulate.messages import Message
from stream.simulate.sender import PORTS, Sender

SEED = 1


def add_arguments(parser: argparse.ArgumentParser, *, rate: str) -> None:
    """The options of both commands; `rate` is the default pace."""
    parser.add_argument(
        "--bind",
        metavar="ENDPOINT",
        help="where to listen for the reader (default tcp://127.0.0.1:31001 for stream2, :9999 for simplon)",
    )
    parser.add_argument(
        "--rate", default=rate, metavar="HZ", help="images per second, max, or as-recorded (default %(default)s)"
    )
    parser.add_argument(
        "--timeout",
        type=above_zero,
        default=60.0,
        metavar="S",
        help="longest wait for a reader, s (default %(default)s)",
    )
    parser.add_argument("--secret-key", type=Path, metavar="FILE", help="CURVE: our certificate (*.key_secret)")
    parser.add_argument(
        "--faults",
        default="",
        metavar="LIST",
        help="such as drop=0.01,duplicate=0.01,reorder=8,corrupt=0.001,die-at=500",
    )
    parser.add_argument("--seed", type=int, help="of the faults: the same seed, the same faults (default 1)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write what was done to which frame as JSON")


def check(args: argparse.Namespace) -> None:
    """Raises ConfigError for options that do nothing."""
    if args.seed is not None and not args.faults:
        raise ConfigError([("--seed", "is of the faults: say which with --faults, or leave it out")])


def pace(text: str) -> tuple[float | None, bool]:
    """(images per second or None, as recorded). Raises InbeamError."""
    if text == "max":
        return None, False
    if text == "as-recorded":
        return None, True
    try:
        rate = float(text)
        if not 0 < rate < float("inf"):
            raise ValueError
    except ValueError:
        raise InbeamError(f"--rate {text}: give images per second, max or as-recorded") from None
    return rate, False


def play(messages: Iterable[Message], args: argparse.Namespace, protocol: str) -> int:
    """Send them as the options say. Returns 0, also when stopped by Ctrl-C; raises InbeamError."""
    faults = parse(args.faults)
    rate_hz, as_recorded = pace(args.rate)
    report = Report(SEED if args.seed is None else args.seed)
    if faults != Faults():
        messages = inject(messages, faults, report)
    endpoint = args.bind or f"tcp://127.0.0.1:{PORTS.get(protocol, PORTS['stream2'])}"
    sender = Sender(endpoint, timeout_s=args.timeout, secret_key=args.secret_key)
    try:
        with sender:
            sender.send(messages, rate_hz=rate_hz, as_recorded=as_recorded, said=lambda text: print(text, flush=True))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        if args.report:
            args.report.write_text(json.dumps({"faults": args.faults, **report.as_json()}, indent=1), encoding="utf-8")
    died = [scan.died_at for scan in report.scans if scan.died_at is not None]
    if died:
        print(f"died before image {died[0]}, as asked")
    print(sender.sent)
    return 0
