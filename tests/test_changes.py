"""Options that change while a scan runs: at a definite frame number, on disk before, recorded, repeatable."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import total
import yaml
import zmq
import zmq.auth
from held_back import held_back
from pipelines import SHAPE, Kept, frame, scan

from sinks import archive
from sinks.check import check
from stream import Change, Field, Frame, Product, ScanEnd, ScanStart, Stored, Update, Work
from stream.codec.native import bslz4_compress
from stream.commands.main import main
from stream.config import RunOptions, validate
from stream.errors import ConfigError
from stream.pipeline.chain import Chain, Step
from stream.pipeline.control import RunControl
from stream.pipeline.gathering import Gathering
from stream.pipeline.journal import Journal
from stream.pipeline.pipeline import Pipeline
from stream.pipeline.recorded import recorded_changes
from stream.pipeline.remote import Remote, answer, ask
from stream.pipeline.revisions import OptionSet, Revisions
from stream.pipeline.runner import Run


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "plugins"
    total.install(folder)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def change(first: int, value: Any, revision: int, path: str = "processors.total.weight") -> Change:
    return Change("one", first, path, value, "somebody", revision, 0.0)


OPTIONS = OptionSet((total.Config(),))


def gathered(
    control: RunControl, kept: list[Change] | None = None, stored: Stored | None = None
) -> tuple[Any, Any, Any]:
    gatherer, sink = total.Total(total.Config()), Kept(stored)
    pipeline = Pipeline(
        [Chain([])],
        {"sink": (sink, True)},
        RunOptions(reorder_ms=60_000),
        control=control,
        gatherings=lambda made: [
            Gathering("total", gatherer, emit=made.emit, trouble=made.report.trouble, place=0, options=total.Config())
        ],
    )
    return pipeline, gatherer, sink


def weights(sink: Kept) -> dict[int, int]:
    found = {}
    for update in sink.updates:
        if "weight" in update.pieces:
            piece = update.pieces["weight"]
            found[piece.start[0]] = int(piece.values[0])
    return found


def test_a_change_holds_for_every_later_frame_number_and_for_no_earlier_one() -> None:
    kept: list[Change] = []
    control = RunControl(OPTIONS, keep=kept.append)
    pipeline, _, sink = gathered(control)
    for event in (scan(), *map(frame, (0, 1, 2, 5))):
        pipeline.put(event)
    taken = control.change("processors.total.weight", 3, "alice")
    assert (taken.frame, taken.revision) == (6, 1)
    assert [each.value for each in kept] == [3]
    for event in (frame(6), frame(3), frame(4), frame(7), ScanEnd("one")):  # 3 and 4 come late: the old options
        pipeline.put(event)
    pipeline.close()
    assert weights(sink) == {**dict.fromkeys(range(6), 1), 6: 3, 7: 3}


def test_sinks_hear_of_a_change_before_the_first_frame_that_it_holds_for() -> None:
    class Hears(Kept):
        def __init__(self) -> None:
            super().__init__()
            self.order: list[str] = []

        def write(self, item: Any) -> None:
            if isinstance(item, Change):
                self.order.append(f"change {item.frame}")
            elif isinstance(item, Frame):
                self.order.append(f"frame {item.index}")

    control, sink = RunControl(OPTIONS), Hears()
    pipeline = Pipeline([Chain([])], {"sink": (sink, True)}, RunOptions(reorder_ms=60_000), control=control)
    pipeline.put(scan())
    control.change("processors.0.weight", 2, "bob")
    for event in (frame(0), ScanEnd("one")):
        pipeline.put(event)
    pipeline.close()
    assert sink.order == ["change 0", "frame 0"]


def test_a_record_of_changes_that_is_not_there_or_is_none_is_called_just_that(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run.changes: .*gone\.h5 is not there \(looked from .*\): correct the path"):
        recorded_changes(tmp_path / "gone.h5")
    for text in ("notes", "- frame", "{frame: 1}", "a: [1"):
        (tmp_path / "notes.txt").write_text(text)
        with pytest.raises(ConfigError, match=r"notes\.txt holds no changes: give a file of inbeam, or a YAML list"):
            recorded_changes(tmp_path / "notes.txt")


def test_an_address_among_the_options_to_set_is_not_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    address = "tcp://127.0.0.1:45999"
    assert main(["set", address, "processors.total.weight=3"]) == 2
    assert f"{address}: is no option: give the address as --control {address}" in capsys.readouterr().err


@pytest.mark.parametrize(
    "path, value, words",
    [
        ("processors.total.weight", "heavy", r"processors\[0\].weight: must be a whole number, not \"heavy\""),
        ("processors.total.wieght", 2, r"processors\[0\].wieght: unknown option; known: .*weight"),
        ("processors.total.bad", 2, "may not change while inbeam runs"),
        ("processors.totl.weight", 2, "'totl' names no entry of processors; there are: 0 total"),
        ("processors.weight", 2, "write processors.NAME.OPTION"),
        ("sinks.0.path", "x", "names no entry of sinks"),
        ("processors.total.weight", "x" * 20_000, "longer than 16000"),
    ],
)
def test_a_change_that_cannot_be_made_is_refused_in_the_words_of_validate(path: str, value: Any, words: str) -> None:
    kept: list[Change] = []
    control = RunControl(OPTIONS, keep=kept.append)
    pipeline, *_ = gathered(control)
    pipeline.put(scan())
    try:
        with pytest.raises(ConfigError, match=words):
            control.change(path, value, "alice")
    finally:
        pipeline.close()
    assert kept == []
    assert control.value("processors.total.weight") == 1


def test_a_change_made_on_an_old_revision_is_refused_with_the_present_one() -> None:
    control = RunControl(OPTIONS)
    pipeline, *_ = gathered(control)
    pipeline.put(scan())
    try:
        assert control.change("processors.total.weight", 2, "alice", revision=0).revision == 1
        with pytest.raises(ConfigError, match="changed by someone else meanwhile: revision 1, not 0"):
            control.change("processors.total.weight", 3, "bob", revision=0)
    finally:
        pipeline.close()


def test_a_change_between_scans_and_the_changes_of_a_scan_hold_for_the_next_one() -> None:
    control = RunControl(OPTIONS)
    pipeline, _, sink = gathered(control)
    assert control.change("processors.total.weight", 2, "alice").scan == ""
    for event in (scan(), frame(0)):
        pipeline.put(event)
    control.change("processors.total.weight", 4, "alice")
    for event in (frame(1), ScanEnd("one"), scan("two"), frame(2, "two"), ScanEnd("two")):
        pipeline.put(event)
    pipeline.close()
    assert weights(sink) == {0: 2, 1: 4, 2: 4}


def test_an_option_that_decides_on_the_layout_waits_for_the_next_scan() -> None:
    class Wide(total.Config):
        npt: int = total.Option(10, json_schema_extra={"x-changes": "scan"})

    control = RunControl(OptionSet((Wide(),)))
    made: list[Any] = []

    class Takes:
        def __init__(self, options: Any) -> None:
            made.append(options.npt)

        def start(self, scan: Any, work: Any) -> Sequence[Any]:
            return ()

        def process(self, work: Any) -> None:
            pass

        def finish(self, end: Any) -> None:
            pass

    first = control.start_options("").processors[0]
    step = Step("wide", Takes(first), 0, first, Takes)
    pipeline = Pipeline([Chain([step])], {"sink": (Kept(), True)}, RunOptions(), control=control)
    pipeline.put(scan())
    with pytest.raises(ConfigError, match="revision 0, not 1"):
        control.change("processors.total.npt", 15, "bob", revision=1)
    answered = control.change("processors.total.npt", 20, "alice", revision=0)
    assert answered.text == "processors.total.npt = 20 from the next scan on"
    for event in (frame(0), ScanEnd("one"), scan("two"), ScanEnd("two")):
        pipeline.put(event)
    pipeline.close()
    assert made == [10, 20]


def test_a_change_made_on_an_old_revision_is_refused_between_scans_too() -> None:
    control = RunControl(OPTIONS)
    refused = "changed by someone else meanwhile: revision 1, not 0"
    assert control.change("processors.total.weight", 2, "alice", revision=control.revision).revision == 1
    with pytest.raises(ConfigError, match=refused):
        control.change("processors.total.weight", 3, "bob", revision=0)
    assert control.value("processors.total.weight") == 2
    pipeline, *_ = gathered(control)
    for event in (scan(), frame(0)):
        pipeline.put(event)
    assert control.change("processors.total.weight", 4, "alice", revision=control.revision).revision == 2
    pipeline.put(ScanEnd("one"))
    with pytest.raises(ConfigError, match="revision 2, not 1"):
        control.change("processors.total.weight", 5, "bob", revision=1)
    assert control.change("processors.total.weight", 6, "bob", revision=control.revision).revision == 3
    pipeline.close()
    assert control.value("processors.total.weight") == 6


def test_a_resumed_scan_has_the_changes_that_its_file_and_its_journal_know() -> None:
    control = RunControl(OPTIONS)
    control.remember("one", (change(2, 5, 1), change(4, 7, 2)))
    pipeline, _, sink = gathered(control, stored=Stored(np.zeros(0, np.uint8), changes=(change(2, 5, 1),)))
    for event in (scan(), *map(frame, range(6))):
        pipeline.put(event)
    assert control.change("processors.total.weight", 9, "alice").revision == 3
    for event in (frame(6), ScanEnd("one")):
        pipeline.put(event)
    pipeline.close()
    assert weights(sink) == {0: 1, 1: 1, 2: 5, 3: 5, 4: 7, 5: 7, 6: 9}


def test_a_frame_that_is_read_back_has_the_options_that_it_had_when_it_came(tmp_path: Path) -> None:
    """A live scan goes on, its results are in no file: what the gatherer needs is computed again from the archive."""

    class Weighted:
        def start(self, scan: ScanStart, work: Work) -> tuple[Product, ...]:
            return (Product("weighted", (Field("sum", (), np.dtype("f8")),)),)

        def process(self, work: Work) -> None:
            work.results["weighted"] = {"sum": np.float64(work.options(total.Config()).weight * work.image().sum())}

        def finish(self, end: ScanEnd) -> None:
            pass

    class Sees(total.Total):
        def take(self, work: Work) -> Iterable[Update]:
            found[work.frame.index] = float(work.results["weighted"]["sum"])
            return super().take(work)

    found: dict[int, float] = {}
    begin = replace(scan(expected=8), header=((b"start",),))

    def run(frames: Sequence[Frame], *more: Any, resumed: bool) -> dict[int, float]:
        found.clear()
        pipeline = Pipeline(
            [Chain([Step("weighted", Weighted(), place=0)])],
            {"archive": (archive.create(archive.Config(path=str(tmp_path / "a.h5"))), True)},
            RunOptions(reorder_ms=60_000),
            control=RunControl(OPTIONS, repeat=[change(3, 10, 1)]),
            spare=lambda: Chain([Step("weighted", Weighted(), place=0)]),
            gatherings=lambda made: [
                Gathering("total", Sees(total.Config()), emit=made.emit, trouble=made.report.trouble)
            ],
        )
        for event in (replace(begin, resumed=resumed), *frames, *more):
            pipeline.put(event)
        pipeline.close()
        return dict(found)

    whole = [frame(index, data=bslz4_compress(np.full(SHAPE, 1, "u2"))) for index in range(8)]
    straight = {index: float(np.prod(SHAPE)) * (10 if index >= 3 else 1) for index in range(8)}
    first = run(whole[:6], resumed=False)  # the process ends without an end of the scan
    assert first == {index: straight[index] for index in range(6)}
    assert run(whole[6:], ScanEnd("one", announced=8), resumed=True) == straight


def test_the_journal_keeps_changes_until_the_scan_has_ended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "x.journal")
    for each in (change(2, [1, {"x": 2.5}], 1), change(4, None, 2)):
        journal.keep(each)
    assert journal.changes("one") == (change(2, [1, {"x": 2.5}], 1), change(4, None, 2))
    with (tmp_path / "x.changes").open("a") as file:
        file.write('{"scan": "one", "fra')  # a kill in the middle of a line
    assert len(journal.changes("one")) == 2
    journal.end("one")
    assert journal.changes("one") == ()


def test_a_change_that_is_just_being_written_is_not_read_yet(tmp_path: Path) -> None:
    """The columns of a growing file are written one after the other, `revision` last."""
    kinds = {"frame": "u8", "made": "f8", "path": "S9", "value": "S9", "who": "S9"}
    with h5py.File(tmp_path / "growing.h5", "w") as file:
        for name, kind in kinds.items():
            file[f"entry/changes/{name}"] = np.array(["4", "5"], kind) if kind == "S9" else np.array([4, 5], kind)
        file["entry/changes/revision"] = np.array([1], "u4")
    assert [(each.frame, each.value) for each in recorded_changes(tmp_path / "growing.h5")] == [(4, 4)]


def test_revisions_are_found_by_frame_number() -> None:
    table = Revisions(OPTIONS)
    for each in (change(3, 2, 1), change(3, 3, 2), change(8, 4, 3)):
        table.add(each)
    assert [table.at(index).number for index in (0, 2, 3, 7, 8, 99)] == [0, 0, 2, 2, 3, 3]
    with pytest.raises(ValueError, match="frame 7 behind one at frame 8"):
        table.add(change(7, 5, 4))


@contextmanager
def served(control: RunControl, endpoint: str = "tcp://127.0.0.1:*") -> Iterator[str]:
    remote = Remote(endpoint, control)
    remote.start()
    try:
        yield remote.address
    finally:
        remote.close()


@pytest.mark.usefixtures("ipv6")
def test_options_are_changed_over_ipv6() -> None:
    with served(RunControl(OPTIONS), "tcp://[::1]:0") as address:
        assert ask(address, {"get": "processors.total.weight"}) == {"ok": True, "revision": 0, "value": 1}


def test_the_control_socket_shows_changes_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    control = RunControl(OPTIONS)
    pipeline, *_ = gathered(control)
    try:
        pipeline.put(scan())
        with served(control) as address:
            words = ["set", "processors.total.weight=6", "processors.total.weight", "--control", address, "--who", "me"]
            assert main(words) == 0
            assert "from frame 0 on (revision 1)" in capsys.readouterr().out
            assert main(["set", "processors.total.weight=x", "--control", address]) == 2
            assert "processors[0].weight: must be a whole number" in capsys.readouterr().err
    finally:
        pipeline.close()


def test_a_control_address_without_anybody_is_said_to_be_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"nobody answers at tcp://127.0.0.1:\d+: is `run.control` set there\?"):
        ask(f"tcp://127.0.0.1:{closed_port()}", {"get": "x"}, patience_s=0.3)


def closed_port() -> int:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_a_control_address_that_is_taken_is_an_error_before_the_start(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.REP) as socket:
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        config = validate(
            {
                "stream": {"type": "files", "files": [str(Path(__file__))]},
                "sinks": [{"type": "archive", "path": str(tmp_path / "a.h5")}],
                "run": {"control": f"tcp://127.0.0.1:{port}"},
            }
        )
        with pytest.raises(ConfigError, match="Address already in use; stop what has this port"):
            Run(config, reopen=False).execute()


NONSENSE = [
    b"",
    b"\xff\xfe",
    b"[]",
    b"{}",
    b'{"set": 3, "value": 1}',
    b'{"set": "processors.total.weight"}',
    b'{"get": {"set": 1}}',
    b'{"set": "processors.total.weight", "value": 1, "revision": "x"}',
    b"[" * 60_000,
    json.dumps({"set": "a." * 9000, "value": 1}).encode(),
    json.dumps({"set": "sinks.999999999999999999999.x", "value": 1}).encode(),
    json.dumps({"set": "processors.total.weight", "value": {"a": [1] * 5000}}).encode(),
]


@pytest.mark.parametrize("body", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_on_the_control_socket_gets_an_answer_and_changes_nothing(body: bytes) -> None:
    control = RunControl(OPTIONS)
    assert answer(control, body)["ok"] is False
    assert control.value("processors.total.weight") == 1


def test_the_control_socket_survives_clients_that_vanish_and_messages_that_are_too_long() -> None:
    with served(RunControl(OPTIONS)) as address:
        for parts in ([b"{}"] * 20, [b"x" * 200_000], [b"", b"{}"]):
            with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
                socket.setsockopt(zmq.LINGER, 200)
                socket.connect(address)
                socket.send_multipart(parts)
        assert ask(address, {"get": "processors.total.weight"})["value"] == 1


@pytest.mark.slow
def test_with_keys_only_clients_that_are_known_change_anything(tmp_path: Path) -> None:
    for name in ("run", "alice", "mallory"):
        zmq.auth.create_certificates(tmp_path, name)
    known = tmp_path / "known"
    known.mkdir()
    (tmp_path / "alice.key").rename(known / "alice.key")
    secret = tmp_path / "run.key_secret"
    remote = Remote("tcp://127.0.0.1:*", RunControl(OPTIONS), secret_key=secret, clients=known)
    remote.start()
    try:
        request = {"get": "processors.total.weight"}
        keys = tmp_path / "alice.key_secret", tmp_path / "run.key"
        assert ask(remote.address, request, keys=keys)["value"] == 1
        for stranger in ((tmp_path / "mallory.key_secret", tmp_path / "run.key"), None):
            with pytest.raises(ConfigError, match="nobody answers"):
                ask(remote.address, request, keys=stranger, patience_s=0.5)
    finally:
        remote.close()


@pytest.mark.slow
def test_a_live_run_with_changes_is_repeated_bit_for_bit(plugin: Path, tmp_path: Path) -> None:
    """The file of the live run has the table of changes; `process --changes` takes them at the same frame numbers."""
    recorded = tmp_path / "scan.h5"
    images = np.random.default_rng(3).integers(0, 90, (400, *SHAPE)).astype("u2")
    with h5py.File(recorded, "w") as file:
        file.create_dataset("entry/data/data", data=images, chunks=(1, *SHAPE))
    address = f"ipc://{tmp_path}/control"
    document = {
        "stream": {"type": "stream2", "endpoint": "tcp://127.0.0.1:0"},
        "processors": [{"type": "total"}],
        "sinks": [
            {"type": "archive", "path": str(tmp_path / "raw.h5")},
            {"type": "hdf5", "path": str(tmp_path / "live.h5")},
        ],
        "run": {"scans": 1, "control": address, "workers": 2},
    }
    port = closed_port()
    document["stream"]["endpoint"] = f"tcp://127.0.0.1:{port}"
    (tmp_path / "live.yaml").write_text(yaml.safe_dump(document))
    python = [sys.executable, "-m", "stream.commands.main"]
    live = subprocess.Popen([*python, "run", "--quiet", str(tmp_path / "live.yaml")], env=total.environment(plugin))
    try:
        taken = []
        deadline = time.monotonic() + 60
        with held_back(recorded, f"tcp://127.0.0.1:{port}", 100, 200, 300) as go_on:
            gates = list(go_on.values())
            while len(taken) < 3 and time.monotonic() < deadline:
                try:
                    request = {"set": "processors.total.weight", "value": 2 + len(taken), "who": "test"}
                    reply = ask(address, request, patience_s=2)
                except ConfigError:
                    continue
                if reply["ok"] and reply["scan"] and (not taken or reply["frame"] > taken[-1]["frame"] + 20):
                    gates[len(taken)].set()
                    taken.append(reply)
                threading.Event().wait(0.05)
            assert len(taken) == 3
            assert live.wait(60) == 0
    finally:
        if live.poll() is None:
            live.kill()
        live.wait()
    changed = tmp_path / "live.h5"
    document["stream"] = {"type": "files", "files": [str(tmp_path / "raw.h5")]}
    document["sinks"] = [{"type": "hdf5", "path": str(tmp_path / "again.h5")}]
    document["run"] = {}
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(document))
    again = [*python, "process", "--quiet", str(tmp_path / "again.yaml"), str(tmp_path / "raw.h5")]
    subprocess.run([*again, "--changes", str(changed)], env=total.environment(plugin), check=True)
    with h5py.File(changed, "r") as one, h5py.File(tmp_path / "again.h5", "r") as two:
        for name in ("total/sum", "total/mean", "total/weight", "ledger/revision", "changes/frame", "changes/value"):
            np.testing.assert_array_equal(one[f"entry/{name}"][()], two[f"entry/{name}"][()], err_msg=name)
        assert len(set(one["entry/total/weight"][()].tolist())) >= 3
        first = np.searchsorted(one["entry/ledger/revision"][()], 1)
        assert first == one["entry/changes/frame"][0]
    assert check(changed).sound and os.path.exists(changed)
