"""The room of a file, taken at once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stream import room


@pytest.mark.parametrize("take", [room.take_room, room.fill])
@pytest.mark.parametrize("size", [1, (1 << 20) + 7])
def test_a_new_file_has_the_size_that_was_asked_for(
    take: Callable[[int, int], None], size: int, tmp_path: Path
) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        take(file.fileno(), size)
    assert path.read_bytes() == bytes(size)


def test_a_disk_without_room_is_told_before_anything_is_mapped() -> None:
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        room.fill(file.fileno(), 1)
