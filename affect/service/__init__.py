"""The websocket service: protocol, sessions, server."""
