"""JSON Schema and AsyncAPI of the protocol, generated from its models: `python -m affect.service.schema DIR`."""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from affect.cloudevents import CloudEvent
from affect.errors import ErrorCode
from affect.service.protocol import (
    CLIENT_ADAPTER,
    LISTEN_SUBPROTOCOL,
    SERVER_ADAPTER,
    SUBPROTOCOL,
    CloseCode,
    FrameHeader,
)
from affect.version import __version__

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_ID = f"urn:tutor-affect:{SUBPROTOCOL}"


def json_schema() -> dict[str, Any]:
    """Return one schema with all messages in `$defs`; a text frame is a ClientMessage or a ServerMessage."""
    definitions: dict[str, Any] = {}
    adapters: dict[str, TypeAdapter[Any]] = {
        "ClientMessage": CLIENT_ADAPTER,
        "ServerMessage": SERVER_ADAPTER,
        "FrameHeader": TypeAdapter(FrameHeader),
        "CloudEvent": TypeAdapter(CloudEvent),
    }
    for name, adapter in adapters.items():
        schema = adapter.json_schema(ref_template="#/$defs/{model}")
        definitions.update(schema.pop("$defs", {}))
        definitions[name] = schema
    return {
        "$schema": _DRAFT,
        "$id": _ID,
        "title": f"Messages of {SUBPROTOCOL}",
        "anyOf": [{"$ref": "#/$defs/ClientMessage"}, {"$ref": "#/$defs/ServerMessage"}],
        "$defs": dict(sorted(definitions.items())),
    }


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3 document; it refers to the JSON Schema beside it."""
    messages = {}
    operations: dict[str, Any] = {}
    for adapter, action in ((CLIENT_ADAPTER, "receive"), (SERVER_ADAPTER, "send")):
        names = sorted(adapter.json_schema()["discriminator"]["mapping"])
        for name in names:
            model = adapter.json_schema()["discriminator"]["mapping"][name].rpartition("/")[2]
            messages[name] = {
                "name": name,
                "contentType": "application/json",
                "payload": {"$ref": f"./{SUBPROTOCOL}.schema.json#/$defs/{model}"},
            }
        operations[f"{action}Messages"] = {
            "action": action,
            "channel": {"$ref": "#/channels/session"},
            "messages": [{"$ref": f"#/channels/session/messages/{name}"} for name in names],
        }
    messages["frame"] = {
        "name": "frame",
        "contentType": "application/octet-stream",
        "summary": "u8 version (1), u8 kind (1), u16 header length (big endian), JSON header, image bytes.",
        "payload": {"$ref": f"./{SUBPROTOCOL}.schema.json#/$defs/FrameHeader"},
    }
    operations["receiveMessages"]["messages"].append({"$ref": "#/channels/session/messages/frame"})
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "tutor-affect",
            "version": __version__,
            "description": f"Websocket subprotocols `{SUBPROTOCOL}` and `{LISTEN_SUBPROTOCOL}` (listen only).",
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "127.0.0.1:8765", "protocol": "ws"}},
        "channels": {
            "session": {
                "address": "/ws",
                "messages": messages,
                "bindings": {"ws": {"method": "GET"}},
            }
        },
        "operations": operations,
        "x-close-codes": {str(int(code)): code.name for code in CloseCode},
        "x-error-codes": [code.value for code in ErrorCode],
    }


def documents() -> dict[str, str]:
    """Return {file name: text} of everything that is generated."""
    return {
        f"{SUBPROTOCOL}.schema.json": json.dumps(json_schema(), indent=2) + "\n",
        "asyncapi.json": json.dumps(asyncapi(), indent=2) + "\n",
    }


def main() -> None:
    """Write the documents into the folder named on the command line, `docs/protocol` by default."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/protocol")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in documents().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
