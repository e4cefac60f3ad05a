"""Text files as people's editors save them."""

from __future__ import annotations

import codecs

# The mark of UTF-32 begins like that of UTF-16, so it comes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode(data: bytes) -> str:
    """The text of a file's bytes: UTF-8, or what its byte order mark says, which is no part of it; line ends are \\n.

    Raises `UnicodeDecodeError` for another encoding, and for zero bytes, which UTF-16 without a mark has.
    """
    mark, encoding = next((pair for pair in _MARKS if data.startswith(pair[0])), (b"", "utf-8"))
    text = data[len(mark) :].decode(encoding)
    if "\0" in text:
        place = data.index(b"\0")
        raise UnicodeDecodeError(encoding, data, place, place + 1, "a zero byte; UTF-16 needs a byte order mark")
    return text.replace("\r\n", "\n").replace("\r", "\n")
