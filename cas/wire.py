"""The few pieces of the protobuf wire format that hot paths write by hand."""

_LENGTH_DELIMITED = 2


def varint(value: int) -> bytes:
    """A number >= 0, seven bits a byte, the lowest first."""
    if value < 0x80:
        return bytes((value,))
    if value < 0x4000:
        return bytes((value & 0x7F | 0x80, value >> 7))
    return bytes((value & 0x7F | 0x80,)) + varint(value >> 7)


def length_delimited(field: int, content: bytes) -> bytes:
    """A field that holds bytes, a string or a message."""
    return b"".join((varint(field << 3 | _LENGTH_DELIMITED), varint(len(content)), content))


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at `position` and where it ends; 0 for one that is cut off or too long."""
    value = 0
    for shift in range(0, 70, 7):
        if position == len(data):
            break
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return 0, position
