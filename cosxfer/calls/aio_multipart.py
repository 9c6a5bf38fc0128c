"""The multipart operations, for asyncio."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Unpack, overload

from cosxfer.address import ObjectAddress
from cosxfer.arguments import as_number, check_flag
from cosxfer.binding import explains_arguments
from cosxfer.calls.base import AsyncCalls
from cosxfer.cos.identifiers import check_bucket, check_part_number, check_upload_id
from cosxfer.cos.requests import ObjectHeaders, PartHeaders, check_content_md5, object_headers, one_part_headers
from cosxfer.engine.report import Reporter
from cosxfer.engine.upload.bodies import BodyInput, prepared
from cosxfer.limits import MAX_PART_BYTES
from cosxfer.models import (
    CommonPrefix,
    MultipartAbortResult,
    MultipartCompleteResult,
    MultipartInitResult,
    MultipartListPartResult,
    MultipartListResult,
    MultipartUploadResult,
    Part,
    Progress,
    Upload,
)
from cosxfer.ops.multipart_complete import PartInput
from cosxfer.threads import import_lock


@explains_arguments
class AsyncMultipartCalls(AsyncCalls):
    """One call for each operation on multipart uploads."""

    async def multipart_init(
        self, bucket: str, key: str, *, region: str | None = None, **parameters: Unpack[ObjectHeaders]
    ) -> MultipartInitResult:
        """Begin a multipart upload (COS: Initiate Multipart Upload). Pass all headers of the object here."""
        with import_lock:
            from cosxfer.ops.multipart_init import multipart_init, warn_of_retry

        self._ready()
        address = self._session.address(bucket, key, region)
        session = self._session.observed(partial(warn_of_retry, f"the multipart upload of {address}"))
        return await multipart_init(session, address, headers=object_headers(address.key, parameters))

    async def multipart_upload(
        self,
        bucket: str,
        key: str,
        body: BodyInput,
        *,
        upload_id: str,
        part_number: int | str,
        content_length: int | str | None = None,
        content_md5: str | None = None,
        region: str | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        **parameters: Unpack[PartHeaders],
    ) -> MultipartUploadResult:
        """Send one part (COS: Upload Part): number 1 to 10,000, 1 MiB to 5 GiB; the last one may be smaller.

        ``body``, ``content_length`` and ``content_md5`` are as in `put_object`. The part is sent with Content-MD5, and
        the server's CRC64 is compared, or the ETag if the server sends no CRC64. (The ETag of an encrypted part need
        not be its MD5.) A second part with the same number replaces the first. A 409 means that an earlier attempt is
        still under way; then the server is asked for the part, and if it has the part, the response of List Parts is
        returned. ``parameters`` are the headers of `cosxfer.PartHeaders`.
        """
        with import_lock:
            from cosxfer.ops.multipart_upload import multipart_upload
            from cosxfer.ops.outage import Transfer

        executor = self._ready()
        address = self._session.address(bucket, key, region)
        check_upload_id(upload_id)
        part_number = check_part_number(part_number)
        headers = one_part_headers(parameters)
        report = self._in_callback_thread(on_progress)
        async with prepared(
            body,
            executor,
            content_length=as_number(content_length),
            content_md5=check_content_md5(content_md5),
            largest=MAX_PART_BYTES,
        ) as ready:
            reporter = Reporter(report, ready.content_length)
            reporter.start()
            result, _ = await multipart_upload(
                self._session.observed(transfer=Transfer(begun=True)),
                address,
                ready.body,
                upload_id=upload_id,
                part_number=part_number,
                content_length=ready.content_length,
                md5=ready.md5,
                crc64=ready.crc64,
                # This call does not know the encryption that Initiate requested.
                etag_is_md5=None,
                headers=headers,
                on_sent=reporter.add,
            )
            result = ready.proven(result, operation=f"Upload Part {part_number}")
        reporter.finish()
        await self._callbacks_done(on_progress)
        return result

    async def multipart_list_part(
        self,
        bucket: str,
        key: str,
        *,
        upload_id: str,
        max_parts: int | str | None = None,
        part_number_marker: int | str | None = None,
        encoding_type: str | None = None,
        region: str | None = None,
    ) -> MultipartListPartResult:
        """Return one page of the uploaded parts (COS: List Parts), at most 1,000."""
        with import_lock:
            from cosxfer.ops.multipart_list_part import multipart_list_part

        self._ready()
        return await multipart_list_part(
            self._session,
            self._session.address(bucket, key, region),
            upload_id=upload_id,
            max_parts=max_parts,
            part_number_marker=part_number_marker,
            encoding_type=encoding_type,
        )

    async def multipart_list(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        encoding_type: str | None = None,
        max_uploads: int | str | None = None,
        key_marker: str | None = None,
        upload_id_marker: str | None = None,
        region: str | None = None,
    ) -> MultipartListResult:
        """Return one page of the unfinished uploads of a bucket (COS: List Multipart Uploads), at most 1,000."""
        with import_lock:
            from cosxfer.ops.multipart_list import multipart_list

        self._ready()
        return await multipart_list(
            self._session,
            ObjectAddress(check_bucket(bucket), region=region),
            prefix=prefix,
            delimiter=delimiter,
            encoding_type=encoding_type,
            max_uploads=max_uploads,
            key_marker=key_marker,
            upload_id_marker=upload_id_marker,
        )

    @overload
    def iter_multipart_list(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: None = None,
        encoding_type: str | None = None,
        max_uploads: int | str | None = None,
        key_marker: str | None = None,
        upload_id_marker: str | None = None,
        region: str | None = None,
    ) -> AsyncIterator[Upload]: ...
    @overload
    def iter_multipart_list(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None,
        encoding_type: str | None = None,
        max_uploads: int | str | None = None,
        key_marker: str | None = None,
        upload_id_marker: str | None = None,
        region: str | None = None,
    ) -> AsyncIterator[Upload | CommonPrefix]: ...
    def iter_multipart_list(
        self,
        bucket: str,
        *,
        prefix: str | None = None,
        delimiter: str | None = None,
        encoding_type: str | None = None,
        max_uploads: int | str | None = None,
        key_marker: str | None = None,
        upload_id_marker: str | None = None,
        region: str | None = None,
    ) -> AsyncIterator[Upload] | AsyncIterator[Upload | CommonPrefix]:
        """Iterate over all unfinished uploads of a bucket (COS: List Multipart Uploads).

        With ``delimiter`` the common prefixes (`cosxfer.CommonPrefix`) follow. Each page has ``max_uploads`` entries
        (1,000) and is requested when the entries before it were taken. The parameters are those of `multipart_list`.
        """
        with import_lock:
            from cosxfer.ops.pages import all_uploads

        return self._when_ready(
            all_uploads(
                self._session,
                ObjectAddress(check_bucket(bucket), region=region),
                prefix=prefix,
                delimiter=delimiter,
                encoding_type=encoding_type,
                max_uploads=max_uploads,
                key_marker=key_marker,
                upload_id_marker=upload_id_marker,
            )
        )

    def iter_multipart_list_part(
        self,
        bucket: str,
        key: str,
        *,
        upload_id: str,
        max_parts: int | str | None = None,
        part_number_marker: int | str | None = None,
        encoding_type: str | None = None,
        region: str | None = None,
    ) -> AsyncIterator[Part]:
        """Iterate over all uploaded parts in the order of their numbers (COS: List Parts).

        Each page has ``max_parts`` entries (1,000). The parameters are those of `multipart_list_part`.
        """
        with import_lock:
            from cosxfer.ops.pages import all_parts

        return self._when_ready(
            all_parts(
                self._session,
                self._session.address(bucket, key, region),
                upload_id=upload_id,
                max_parts=max_parts,
                part_number_marker=part_number_marker,
                encoding_type=encoding_type,
            )
        )

    async def multipart_complete(
        self,
        bucket: str,
        key: str,
        *,
        upload_id: str,
        parts: Iterable[PartInput],
        forbid_overwrite: bool = False,
        region: str | None = None,
    ) -> MultipartCompleteResult:
        """Join the parts, given in any order, to one object (COS: Complete Multipart Upload).

        A part is what `multipart_upload` or `multipart_list_part` returned, a mapping with ``PartNumber`` and ``ETag``,
        or a pair of these two. ``forbid_overwrite`` fails if the object exists; pass it to `multipart_init` too.

        COS returns status 200 before it has assembled the object. An error that follows is raised like any other. The
        server may be silent for the client's ``complete_timeout_seconds``. If the response is lost and a retry finds
        the upload gone, the call compares the size and the CRC64 of the object. It needs the results of
        `multipart_upload` as ``parts`` for that.
        """
        with import_lock:
            from cosxfer.engine.multipart.completion import complete_parts
            from cosxfer.ops.outage import Transfer

        self._ready()
        check_flag(forbid_overwrite, "forbid_overwrite")
        return await complete_parts(
            self._session.observed(transfer=Transfer(begun=True)),
            self._session.address(bucket, key, region),
            upload_id=upload_id,
            parts=parts,
            forbid_overwrite=forbid_overwrite,
        )

    async def multipart_abort(
        self, bucket: str, key: str, *, upload_id: str, region: str | None = None
    ) -> MultipartAbortResult:
        """Abort a multipart upload and delete its parts (COS: Abort Multipart Upload)."""
        with import_lock:
            from cosxfer.ops.multipart_abort import multipart_abort

        self._ready()
        return await multipart_abort(self._session, self._session.address(bucket, key, region), upload_id=upload_id)
