"""Sending a file, a stream or a body: one request, or a multipart upload."""
