"""One file on its way into COS: hash just ahead, a window of parts in flight, verify."""
