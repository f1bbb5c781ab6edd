"""Annotation formats, in and out: each a file with how it is opened and how it is written."""
