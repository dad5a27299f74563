"""Binary frames: `u8 version, u8 kind, u16 header length (big endian), JSON header, image bytes`. No base64."""

import struct

from pydantic import ValidationError

from affect.errors import ProtocolError, first_problem
from affect.service.protocol import FrameHeader

VERSION = 1
KIND_FRAME = 1
_PREFIX = struct.Struct(">BBH")


def pack_frame(header: FrameHeader, image: bytes) -> bytes:
    """Return the binary frame of a picture."""
    text = header.model_dump_json().encode()
    return _PREFIX.pack(VERSION, KIND_FRAME, len(text)) + text + image


def unpack_frame(data: bytes) -> tuple[FrameHeader, bytes]:
    """Split a binary frame.

    Raises:
        ProtocolError: Too short, unknown version or kind, or a header that is not a `FrameHeader`.
    """
    if len(data) < _PREFIX.size:
        raise ProtocolError(f"binary frame of {len(data)} bytes, expected at least {_PREFIX.size}")
    version, kind, length = _PREFIX.unpack_from(data)
    if version != VERSION or kind != KIND_FRAME:
        raise ProtocolError(f"binary frame version {version} kind {kind}, expected {VERSION} and {KIND_FRAME}")
    body = _PREFIX.size + length
    if len(data) < body:
        raise ProtocolError(f"binary frame names a header of {length} bytes and has {len(data) - _PREFIX.size}")
    try:
        header = FrameHeader.model_validate_json(data[_PREFIX.size : body])
    except ValidationError as exc:
        raise ProtocolError(f"frame header: {first_problem(exc, 'header')}") from exc
    return header, data[body:]
