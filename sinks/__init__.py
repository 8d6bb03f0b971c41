"""inbeam's third room: where frames and results go. It knows `stream`, never `processors`."""
