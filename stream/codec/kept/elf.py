"""Object files as LLVM makes them -> one piece of code that needs nothing but its own address and some named ones.

x86-64, the large code model: every address is 64 bits wide and stands by itself, so that linking is to write numbers.
Format: https://refspecs.linuxfoundation.org/elf/elf.pdf and the psABI of x86-64.
"""

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from stream.codec.kept.code import Code

RELA, NOBITS, SYMTAB = 4, 8, 2
WRITABLE, ALLOCATED, EXECUTABLE = 1, 2, 4
UNDEFINED, RESERVED = 0, 0xFF00
R_X86_64_64 = 1
ALIGNED = 64
LARGEST_ALIGNMENT = 4096


class Unfit(Exception):
    """Code that cannot be kept; the text says why."""


@dataclass(frozen=True)
class _Section:
    name: str
    kind: int
    flags: int
    content: bytes
    alignment: int
    link: int
    info: int


@dataclass(frozen=True)
class _Symbol:
    name: str
    section: int
    value: int
    size: int


@dataclass(frozen=True)
class _Place:
    """Bytes `first` to `last` of a section of object number `object`."""

    object: int
    section: int
    first: int
    last: int


class _Object:
    """One relocatable file. Raises Unfit, struct.error and IndexError for what is none."""

    def __init__(self, content: bytes) -> None:
        if content[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<HH", content, 16) != (1, 62):
            raise Unfit("not a relocatable object file of x86-64")
        (table,) = struct.unpack_from("<Q", content, 40)
        size, count, names = struct.unpack_from("<HHH", content, 58)
        heads = [struct.unpack_from("<IIQQQQIIQQ", content, table + size * number) for number in range(count)]
        texts = heads[names][4]
        self.sections = [
            _Section(
                _text(content, texts + name),
                kind,
                flags,
                bytes(length) if kind == NOBITS else content[offset : offset + length],
                max(alignment, 1),
                link,
                info,
            )
            for name, kind, flags, _, offset, length, link, info, alignment, _ in heads
        ]

    @cached_property
    def symbols(self) -> list[_Symbol]:
        """In their order."""
        (table,) = [section for section in self.sections if section.kind == SYMTAB]
        texts = self.sections[table.link].content
        return [
            _Symbol(_text(texts, name), section, value, size)
            for name, _, _, section, value, size in struct.iter_unpack("<IBBHQQ", table.content)
        ]

    @cached_property
    def addresses(self) -> dict[int, list[tuple[int, int, int, int]]]:
        """Section -> (offset, type, symbol, addend) of each address in it."""
        found: dict[int, list[tuple[int, int, int, int]]] = {}
        for section in self.sections:
            if section.kind == RELA:
                entries = [
                    (at, info & 0xFFFFFFFF, info >> 32, add)
                    for at, info, add in struct.iter_unpack("<QQq", section.content)
                ]
                found.setdefault(section.info, []).extend(entries)
        return found

    def around(self, number: int, section: int, at: int) -> _Place:
        """The function that this place is in, or the whole section where it holds no code."""
        if self.sections[section].flags & EXECUTABLE:
            for each in self.symbols:
                if each.section == section and each.size and each.value <= at < each.value + each.size:
                    return _Place(number, section, each.value, each.value + each.size)
            raise Unfit("code outside of functions")
        return _Place(number, section, 0, len(self.sections[section].content))


def link(contents: Sequence[bytes], start: str, known: Callable[[str], bool]) -> Code:
    """Put together what is reached from the function `start`. Raises Unfit.

    known: whether a name will have an address, for those that the objects themselves do not define.
    """
    try:
        return _linked([_Object(content) for content in contents], start, known)
    except (struct.error, IndexError, ValueError) as error:
        raise Unfit(f"not an object file: {error}") from error


def _linked(objects: list[_Object], start: str, known: Callable[[str], bool]) -> Code:
    defined = {
        symbol.name: (number, symbol)
        for number, each in reversed(list(enumerate(objects)))
        for symbol in each.symbols
        if symbol.name and UNDEFINED < symbol.section < RESERVED
    }
    if start not in defined:
        raise Unfit(f"there is no function {start}")
    bases: dict[tuple[int, int], int] = {}
    content = bytearray()
    own: list[int] = []
    named: list[tuple[int, str]] = []

    def base(number: int, section: int) -> int:
        if (number, section) not in bases:
            found = objects[number].sections[section]
            if not found.flags & ALLOCATED or found.flags & WRITABLE or found.alignment > LARGEST_ALIGNMENT:
                raise Unfit(f"it needs {found.name}")
            content.extend(bytes(-len(content) % max(found.alignment, ALIGNED)))
            bases[number, section] = len(content)
            content.extend(found.content)
        return bases[number, section]

    first, symbol = defined[start]
    waiting = [objects[first].around(first, symbol.section, symbol.value)]
    entered = base(first, symbol.section) + symbol.value
    done: set[_Place] = set()
    while waiting:
        place = waiting.pop()
        if place in done:
            continue
        done.add(place)
        for at, target, value in _addresses(objects, place, defined, known):
            where = base(place.object, place.section) + at
            if isinstance(target, str):
                named.append((where, target))
            else:
                value += base(*target)
                own.append(where)
                reached = value - base(*target)
                waiting.append(objects[target[0]].around(*target, reached))
            struct.pack_into("<q", content, where, value)
    return Code(bytes(content), entered, tuple(own), tuple(named))


def _addresses(
    objects: list[_Object], place: _Place, defined: dict[str, tuple[int, _Symbol]], known: Callable[[str], bool]
) -> Iterator[tuple[int, str | tuple[int, int], int]]:
    """(offset, target, what to add to its address) in this place; target: a name, or object and section."""
    for at, kind, number, addend in objects[place.object].addresses.get(place.section, ()):
        if not place.first <= at < place.last:
            continue
        symbol = objects[place.object].symbols[number]
        if kind != R_X86_64_64:
            raise Unfit(f"an address of type {kind}")
        if UNDEFINED < symbol.section < RESERVED:
            yield at, (place.object, symbol.section), symbol.value + addend
        elif symbol.section == UNDEFINED and symbol.name in defined:
            other, there = defined[symbol.name]
            yield at, (other, there.section), there.value + addend
        elif symbol.section == UNDEFINED and known(symbol.name):
            yield at, symbol.name, addend
        else:
            raise Unfit(f"it needs {symbol.name}")


def _text(content: bytes, at: int) -> str:
    return content[at : content.index(b"\0", at)].decode()
