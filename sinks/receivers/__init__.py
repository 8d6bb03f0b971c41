"""One file out of those of several receivers."""
