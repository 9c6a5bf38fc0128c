"""One file for each COS operation; `OPERATIONS` finds them by the names of `cosxfer.server.routing`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from cosxfer.server.call import Call
from cosxfer.server.http import Response
from cosxfer.server.operations.append_object import append_object
from cosxfer.server.operations.buckets import (
    delete_bucket,
    get_bucket_location,
    get_bucket_versioning,
    get_service,
    head_bucket,
    put_bucket,
    put_bucket_versioning,
)
from cosxfer.server.operations.copy_object import copy_object
from cosxfer.server.operations.delete_object import delete_object, delete_objects
from cosxfer.server.operations.get_object import get_object, head_object
from cosxfer.server.operations.list_object_versions import list_object_versions
from cosxfer.server.operations.list_objects import list_objects
from cosxfer.server.operations.list_objects_v2 import list_objects_v2
from cosxfer.server.operations.multipart_abort import multipart_abort
from cosxfer.server.operations.multipart_complete import multipart_complete
from cosxfer.server.operations.multipart_init import multipart_init
from cosxfer.server.operations.multipart_list import multipart_list
from cosxfer.server.operations.multipart_list_part import multipart_list_part
from cosxfer.server.operations.multipart_upload import multipart_upload
from cosxfer.server.operations.object_settings import (
    delete_object_tagging,
    get_object_acl,
    get_object_tagging,
    put_object_acl,
    put_object_tagging,
    restore_object,
)
from cosxfer.server.operations.post_object import post_object
from cosxfer.server.operations.put_object import put_object
from cosxfer.server.operations.upload_part_copy import upload_part_copy

Operation = Callable[[Call], Awaitable[Response]]

OPERATIONS: dict[str, Operation] = {
    operation.__name__: operation
    for operation in (
        append_object,
        copy_object,
        delete_bucket,
        delete_object,
        delete_object_tagging,
        delete_objects,
        get_object,
        get_object_acl,
        get_object_tagging,
        get_bucket_location,
        get_bucket_versioning,
        get_service,
        head_bucket,
        head_object,
        list_object_versions,
        list_objects,
        list_objects_v2,
        multipart_abort,
        multipart_complete,
        multipart_init,
        multipart_list,
        multipart_list_part,
        multipart_upload,
        post_object,
        put_bucket,
        put_bucket_versioning,
        put_object,
        put_object_acl,
        put_object_tagging,
        restore_object,
        upload_part_copy,
    )
}
