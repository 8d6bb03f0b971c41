"""inbeam's second room: what is done to every frame. It knows `stream`, never `sinks`."""
