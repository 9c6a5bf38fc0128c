"""The life of a multipart upload: initiate, send the parts of a part source, complete, verify, abort."""
