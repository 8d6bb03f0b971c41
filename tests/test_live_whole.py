"""What live sinks show of products that belong to the scan: all of it, within bounds."""

import threading
from typing import Literal

import numpy as np
import pytest
from pipelines import Kept

from sinks.browser.channel import unpack
from sinks.browser.news import News
from sinks.live.whole import Wholes
from stream import Counters, Field, Item, Piece, Product, ScanEnd, Update
from stream.pipeline.lane import Lane
from stream.testing import examples

ROWS, COLUMNS, BINS = 3, 4, 100
IMAGE = Field("total", (None, COLUMNS), np.dtype("f8"), per="scan")
POINTERS = Field("index", (ROWS, COLUMNS), np.dtype("i8"), per="scan")
CUBE = Field("I", (ROWS, COLUMNS, BINS), np.dtype("f4"), per="scan")
MAP = Product("map", (CUBE, IMAGE, POINTERS, Field("row", (BINS,), np.dtype("f4"))), "I")


def line(row: int, value: float) -> Update:
    return Update(
        examples.UID,
        "map",
        {
            "total": Piece((row, 0), np.full((1, COLUMNS), value)),
            "index": Piece((row, 0), np.full((1, COLUMNS), row)),
            "I": Piece((row, 0, 0), np.full((1, COLUMNS, BINS), value, np.float32)),
        },
    )


def test_pieces_make_the_whole_and_what_has_not_come_is_empty() -> None:
    wholes = Wholes([MAP], 10**6)
    wholes.take(line(2, 5.0))
    whole, pieces = wholes.of("map")
    assert not pieces and set(whole) == {"I", "total", "index"}
    np.testing.assert_array_equal(whole["total"], [[np.nan] * 4] * 2 + [[5.0] * 4])
    assert whole["index"].tolist() == [[-1] * 4, [-1] * 4, [2] * 4]
    wholes.take(line(0, 1.0))
    wholes.take(line(3, 7.0))  # a surplus line
    grown, _ = wholes.of("map")
    assert grown["total"][:, 0].tolist()[::3] == [1.0, 7.0] and grown["I"].shape == (4, COLUMNS, BINS)
    assert np.isnan(whole["total"][0]).all()  # what was handed out does not change


def test_a_gatherer_that_begins_again_begins_with_nothing() -> None:
    wholes = Wholes([MAP], 10**6)
    wholes.take(line(0, 1.0))
    wholes.take(Update(examples.UID, "map", afresh=True))
    assert np.isnan(wholes.of("map")[0]["total"]).all()


def test_what_is_too_large_is_shown_by_its_newest_piece_and_the_images_stay_whole() -> None:
    wholes = Wholes([MAP], 2000)
    for row in range(ROWS):
        wholes.take(line(row, float(row)))
    whole, pieces = wholes.of("map")
    assert set(whole) == {"total", "index"} and whole["total"][:, 0].tolist() == [0, 1, 2]
    assert set(pieces) == {"I"} and pieces["I"].start == (2, 0, 0)


def test_an_image_that_grows_beyond_the_bound_is_shown_by_its_newest_piece_from_then_on() -> None:
    wholes = Wholes([Product("map", (IMAGE,), "total")], 5 * COLUMNS * 8)
    for row in range(5):
        wholes.take(Update(examples.UID, "map", {"total": Piece((row, 0), np.full((1, COLUMNS), float(row)))}))
    assert wholes.of("map")[0]["total"].shape == (5, COLUMNS)
    wholes.take(Update(examples.UID, "map", {"total": Piece((10**6, 0), np.ones((1, COLUMNS)))}))
    whole, pieces = wholes.of("map")
    assert not whole and pieces["total"].start == (10**6, 0)


@pytest.mark.parametrize(
    "piece", [Piece((0,), np.ones(3)), Piece((0, 3), np.ones((1, 2))), Piece((0, 0, 0), np.ones((1, 1, 1)))]
)
def test_a_piece_that_fits_nowhere_spoils_nothing(piece: Piece) -> None:
    wholes = Wholes([MAP], 10**6)
    wholes.take(line(0, 1.0))
    wholes.take(Update(examples.UID, "map", {"total": piece}))
    assert wholes.of("map")[0]["total"][0].tolist() == [1.0] * 4


def test_the_page_shows_a_map_that_grows_and_its_surplus_lines() -> None:
    news = News()
    news.start(examples.scan(), [MAP], {})
    news.parts(Counters(), pixels=True, channels=())
    for row in range(ROWS + 1):
        news.update(line(row, float(row)))
    pictures = unpack(bytes(news.parts(Counters(), pixels=True, channels=())[0]))["pictures"]
    assert pictures["map.total"][:, 0].tolist() == pictures["map.index"][:, 0].tolist() == [0, 1, 2, 3]
    news.update(Update(examples.UID, "map", {"total": Piece((10**9, 0), np.ones((1, COLUMNS)))}))  # no room for that
    news.update(Update(examples.UID, "map", {"total": Piece((0,), np.ones(3))}))
    assert not unpack(bytes(news.parts(Counters(), pixels=True, channels=())[0])).get("pictures")


class Slow(Kept):
    """Is busy with the first piece while everything else comes."""

    lane: Literal["block", "latest"] = "latest"

    def __init__(self) -> None:
        super().__init__()
        self.busy, self.gate = threading.Event(), threading.Event()

    def write(self, item: Item) -> None:
        self.busy.set()
        assert self.gate.wait(30)
        super().write(item)


def row_of_both(row: int) -> list[Update]:
    cube = Update(examples.UID, "map", {"I": Piece((row, 0, 0), np.ones((1, COLUMNS, BINS), np.float32))})
    total = Update(examples.UID, "map_images", {"total": Piece((row, 0), np.full((1, COLUMNS), float(row)))})
    return [cube, total]


@pytest.mark.parametrize("in_hand", [1, 20])
def test_a_burst_beyond_the_queue_costs_pieces_of_the_cube_never_of_the_images(in_hand: int) -> None:
    sink = Slow()
    lane = Lane(
        "monitor", sink, policy="latest", capacity_bytes=40_000, required=False, counters=Counters,
        failed=lambda lane, error: None,
    )  # fmt: skip
    lane.open(examples.scan(examples.UID), []).answered.wait(30)
    images = Product("map_images", (IMAGE,), "total")
    lane.put([update for row in range(in_hand) for update in row_of_both(row)])
    assert sink.busy.wait(30)
    for row in range(in_hand, in_hand + 40):
        lane.put(row_of_both(row))
    sink.gate.set()
    lane.end(ScanEnd(examples.UID)).answered.wait(30)
    lane.close()
    wholes = Wholes([images], 10**6)
    for update in sink.updates:
        wholes.take(update)
    assert wholes.of("map_images")[0]["total"][:, 0].tolist() == list(range(in_hand + 40))
    assert in_hand < sum(update.product == "map" for update in sink.updates) < in_hand + 40
