"""A writer of OLE compound files (version 3, sectors of 512 bytes), enough for streams in storages one level deep.

After the published format [MS-CFB]; it shares no code with the library that reads.
"""

from __future__ import annotations

import struct
from pathlib import Path

_SECTOR, _MINI, _CUTOFF = 512, 64, 4096
_FREE, _END, _FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


class _Sectors:
    """Sectors of a file, and the chain that each belongs to."""

    def __init__(self, size: int) -> None:
        self.size, self.data, self.chain = size, bytearray(), []

    def add(self, content: bytes) -> int:
        """The first of new sectors with a content; no sector for none."""
        if not content:
            return _END
        first, count = len(self.chain), -(-len(content) // self.size)
        self.data += content.ljust(count * self.size, b"\0")
        self.chain += [*range(first + 1, first + count), _END]
        return first


def _entry(name: str, kind: int, right: int, child: int, start: int, size: int) -> bytes:
    encoded = (name + "\0").encode("utf-16-le")
    links = struct.pack("<BBIII", kind, 1, _FREE, right, child)
    return (
        encoded.ljust(64, b"\0")
        + struct.pack("<H", len(encoded))
        + links
        + bytes(36)
        + struct.pack("<IQ", start, size)
    )


def write_ole(path: Path, streams: dict[str, bytes]) -> None:
    """Write streams by their names, STORAGE/STREAM."""
    storages: dict[str, dict[str, bytes]] = {}
    for name, content in streams.items():
        storage, _, stream = name.partition("/")
        storages.setdefault(storage, {})[stream] = content
    # siblings in the order of the format: shorter names first; each the right child of the one before
    ordered = sorted(storages, key=lambda name: (len(name), name.upper()))
    sectors, mini = _Sectors(_SECTOR), _Sectors(_MINI)
    entries: list[list] = [["Root Entry", 5, _FREE, 1, 0, 0]]
    for number, storage in enumerate(ordered):
        at = len(entries)
        inside = sorted(storages[storage], key=lambda name: (len(name), name.upper()))
        after = at + len(inside) + 1 if number + 1 < len(ordered) else _FREE
        entries.append([storage, 1, after, at + 1, 0, 0])
        for k, stream in enumerate(inside):
            content = storages[storage][stream]
            start = (sectors if len(content) >= _CUTOFF else mini).add(content)
            right = len(entries) + 1 if k + 1 < len(inside) else _FREE
            entries.append([stream, 2, right, _FREE, start, len(content)])
    entries[0][4], entries[0][5] = sectors.add(bytes(mini.data)), len(mini.data)
    mini_table = struct.pack(f"<{len(mini.chain)}I", *mini.chain)
    mini_table = mini_table.ljust(-(-len(mini_table) // _SECTOR) * _SECTOR, b"\xff")
    mini_start = sectors.add(mini_table)
    directory = sectors.add(b"".join(_entry(*entry) for entry in entries))
    per = _SECTOR // 4
    fats = 1
    while fats * per < len(sectors.chain) + fats:
        fats += 1
    first = len(sectors.chain)
    table = [*sectors.chain, *[_FAT] * fats]
    table += [_FREE] * (fats * per - len(table))
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(16)
    header += struct.pack("<HHHHH6x", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<IIIII", 0, fats, directory, 0, _CUTOFF)
    header += struct.pack("<IIII", mini_start, len(mini_table) // _SECTOR, _END, 0)
    header += struct.pack("<109I", *[first + k if k < fats else _FREE for k in range(109)])
    path.write_bytes(header + sectors.data + struct.pack(f"<{len(table)}I", *table))
