"""The demo page and browser client: static files that the service serves at `/`."""
