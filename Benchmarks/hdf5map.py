"""What each byte of an HDF5 file is, as far as files of Mneme go: version 2 of object headers, and datasets that lie in one piece."""

import struct


def spans(contents):
    """Pieces of a file that something refers to: first byte, last byte + 1, and what it is. What lies between them is filling."""
    start = max(0, contents.find(b"\x89HDF\r\n\x1a\n"))
    found = [(start, start + 48, "superblock")]
    for place in places(contents, b"OHDR"):
        flags, position = contents[place + 5], place + 6
        position += 16 * bool(flags & 32) + 4 * bool(flags & 16)
        width = 1 << (flags & 3)
        size = int.from_bytes(contents[position:position + width], "little")
        messages = position + width
        found.append((place, messages + size + 4, "object header"))
        blocks = [(messages, messages + size)]
        while blocks:
            position, end = blocks.pop()
            # Less than a message's header is filling.
            while position + 4 + 2 * bool(flags & 4) <= end:
                kind, length = contents[position], struct.unpack_from("<H", contents, position + 1)[0]
                position += 4 + 2 * bool(flags & 4)
                if kind == 16:
                    at, extent = struct.unpack_from("<QQ", contents, position)
                    at += start
                    found.append((at, at + extent, "continued object header"))
                    blocks.append((at + 4, at + extent - 4))
                elif kind == 8 and contents[position + 1] == 1:
                    at, extent = struct.unpack_from("<QQ", contents, position + 2)
                    if at < 1 << 63:
                        found.append((at + start, at + start + extent, "data"))
                position += length
    return found


def places(contents, word):
    place = contents.find(word)
    while place >= 0:
        yield place
        place = contents.find(word, place + 1)


def what(contents, place):
    """What the byte at a place is."""
    kinds = [kind for begin, end, kind in spans(contents) if begin <= place < end]
    return kinds[0] if kinds else "filling between two structures"
