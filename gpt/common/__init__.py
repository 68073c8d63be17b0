"""Common ground of every room: errors, files, the strict loader of params sections."""
