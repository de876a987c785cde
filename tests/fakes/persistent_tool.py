"""A tool that speaks Bazel's worker protocol, to be put into input trees; standard library only.

What it does is in the lines of its flag file: `say TEXT`, `write PATH TEXT`, `touch_fifo PATH`,
`exit N`, `pid`, `count` of the requests so far, `inputs`; and what no tool should do: `die`,
`garbage`, `twice`, `hang`. Without --persistent_worker it does the same once.
"""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path


def main() -> None:
    if "--persistent_worker" not in sys.argv:
        exit_code, output = work(Path(sys.argv[-1][1:]).read_text().splitlines(), [], 0)
        sys.stderr.write(output)
        sys.exit(exit_code)
    count = 0
    while (size := read_varint()) is not None:
        count += 1
        fields = list(parse(sys.stdin.buffer.read(size)))
        arguments = [value.decode() for number, value in fields if number == 1]
        inputs = [dict(parse(value))[1].decode() for number, value in fields if number == 2]
        exit_code, output = work(arguments, inputs, count)
        text = output.encode()
        answer = b"\x08" + varint(exit_code) + b"\x12" + varint(len(text)) + text
        sys.stdout.buffer.write((varint(len(answer)) + answer) * (2 if "twice" in arguments else 1))
        sys.stdout.buffer.flush()


def work(lines: list[str], inputs: list[str], count: int) -> tuple[int, str]:
    exit_code, output = 0, ""
    for line in lines:
        word, _, rest = line.partition(" ")
        if word == "say":
            output += rest + "\n"
        elif word == "write":
            path, _, text = rest.partition(" ")
            Path(path).write_text(text)
        elif word == "exit":
            exit_code = int(rest)
        elif word == "pid":
            output += f"{os.getpid()}\n"
        elif word == "count":
            output += f"{count}\n"
        elif word == "inputs":
            output += "".join(f"{path}\n" for path in inputs)
        elif word == "touch_fifo":
            Path(rest).write_text("")
        elif count and word == "die":
            sys.exit("it hurts")
        elif count and word == "garbage":
            sys.stdout.write("hello, I am no worker, I only look like one\n" * 100)
            sys.stdout.flush()
        elif count and word == "hang":
            time.sleep(1000)
    return exit_code, output


def read_varint() -> int | None:
    value = shift = 0
    while byte := sys.stdin.buffer.read(1):
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            return value
    return None


def varint(value: int) -> bytes:
    data = b""
    while value >= 0x80:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])


def parse(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a message that have bytes."""
    position = 0
    while position < len(data):
        number, kind = data[position] >> 3, data[position] & 7
        value = shift = 0
        while True:
            position += 1
            value |= (data[position] & 0x7F) << shift
            shift += 7
            if data[position] < 0x80:
                break
        position += 1
        if kind == 2:
            yield number, data[position : position + value]
            position += value


if __name__ == "__main__":
    main()
