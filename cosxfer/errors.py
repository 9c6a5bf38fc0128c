"""Every error that cosxfer raises.

::

    CosxferError
    ├── UsageError (ValueError)       an argument that can never work
    ├── CredentialsError              no usable credentials
    ├── SourceError                   the local file cannot be opened or read
    │   └── SourceChangedError        it was cut, replaced or rewritten during the upload
    ├── TargetError                   the local file cannot be written
    ├── ObjectChangedError            the object was replaced or deleted during its download
    ├── TransportError                no response from the server
    │   ├── ConnectError              no connection: DNS, refused, TLS
    │   ├── TransportTimeoutError     the server made no progress
    │   └── ProtocolError             the response is not HTTP, or not what COS sends
    ├── ServerError                   COS returned an error: status, code, request id
    │   ├── AccessDeniedError         403: signature, key, permission
    │   ├── NotFoundError             404: bucket, key or upload
    │   ├── AppendPositionError       409: the position is not the object's end
    │   ├── ObjectNotAppendableError  409: the object was not created by an append
    │   └── ThrottledError            503 SlowDown and similar codes
    ├── IntegrityError                a digest or a size does not match
    ├── UploadError                   the upload of a file failed; also an instance of its cause's class
    ├── TaskCanceledError             the task was cancelled
    └── TaskTimeoutError (TimeoutError)  result(timeout) ran out of time; the task continues

``retryable`` says whether the same request may succeed when sent again. Values are attributes, so programs need not
parse messages. No message, attribute or repr contains a secret key, a token or a signature. Errors can be pickled,
together with a cause that is one of these errors.

Text of a server, a proxy or a file name is escaped in messages and notes: ``str``, ``repr``, tracebacks and logs show
visible characters on one line. Attributes such as ``code``, ``request_id`` and ``headers`` contain it unescaped. Escape
them before you print them (``repr`` does).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, cast

from cosxfer.foreign import LONGEST_MESSAGE, SHOWN_CHARACTERS, foreign, shown_path
from cosxfer.states import TaskState


class CosxferError(Exception):
    """The base class of all errors of cosxfer."""

    retryable: bool = False

    def __init__(self, *args: object) -> None:
        super().__init__(*(foreign(text, LONGEST_MESSAGE) if isinstance(text, str) else text for text in args))

    def add_note(self, note: str, /) -> None:
        """Add a note, escaped like the message."""
        super().add_note(foreign(note, LONGEST_MESSAGE))

    def __reduce__(self) -> tuple[Any, ...]:
        # By default pickle calls the class with only the message. That fails, and a process pool would hang.
        cause = self.__cause__ if isinstance(self.__cause__, CosxferError) else None
        return _unpickled, (type(self), self.args, cause), vars(self)


def _unpickled(kind: type[CosxferError], args: tuple[Any, ...], cause: CosxferError | None) -> CosxferError:
    error = kind.__new__(kind)
    error.args = args
    if cause is not None:
        error.__cause__ = cause
    return error


class UsageError(CosxferError, ValueError):
    """An argument that can never work; nothing was sent.

    ``name`` is the parameter, ``value`` its value (shortened if long).
    """

    def __init__(self, message: str, *, name: str = "", value: object = None) -> None:
        super().__init__(message)
        self.name = name
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        import pickle

        make, what, state = super().__reduce__()
        try:
            pickle.dumps(self.value)
        except Exception:
            # The value may be of any type, also one that cannot be pickled.
            state = {**state, "value": type(self.value).__name__}
        return make, what, state


class CredentialsError(CosxferError):
    """There are no usable credentials: none are set, or the provider failed or returned expired ones.

    A failure of the provider is ``retryable``.
    """


class SourceError(CosxferError):
    """The local file cannot be opened or read. ``path`` is its path; the message omits the middle of a long one."""

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message if len(path) <= SHOWN_CHARACTERS else message.replace(repr(path), shown_path(path)))
        self.path = path


class SourceChangedError(SourceError):
    """The local file was cut, replaced or rewritten while it was being uploaded.

    ``changed`` says what differs: ``"size"``, ``"mtime"``, ``"inode"`` or ``"content"``. The content is read again and
    compared if only the ctime has changed.
    """

    def __init__(self, message: str, *, path: str, changed: str) -> None:
        super().__init__(message, path=path)
        self.changed = changed


class TargetError(CosxferError):
    """The local file cannot be written: no space, no permission, a disk that fails. ``path`` is its path.

    ``errno`` is the system's error number; 0 if there is none.
    """

    def __init__(self, message: str, *, path: str = "", errno: int = 0) -> None:
        super().__init__(message if len(path) <= SHOWN_CHARACTERS else message.replace(repr(path), shown_path(path)))
        self.path = path
        self.errno = errno


class ObjectChangedError(CosxferError):
    """The object was replaced or deleted while it was being downloaded. Nothing was written under the final name."""


class TransportError(CosxferError):
    """The request received no response. ``url`` is its address without the query."""

    retryable = True

    def __init__(self, message: str, *, url: str = "") -> None:
        super().__init__(message)
        self.url = url


class ConnectError(TransportError):
    """No connection could be made: name resolution, refused, unreachable, TLS.

    ``permanent`` is True if a retry cannot help (a certificate that is not trusted).
    """

    def __init__(self, message: str, *, url: str = "", permanent: bool = False) -> None:
        super().__init__(message, url=url)
        self.retryable = not permanent


class TransportTimeoutError(TransportError):
    """The server accepted the connection and then made no progress for longer than the timeout."""


class ProtocolError(TransportError):
    """The response is not HTTP, is truncated, or is not what COS sends."""


class ServerError(CosxferError):
    """COS returned an error.

    ``status`` is the HTTP status. ``code`` is the COS error code (empty if the response had no body, as for HEAD).
    ``resource``, ``request_id`` and ``trace_id`` are those of COS. ``headers`` are the headers of the response, with
    lower-case names. Codes: product page 436/7730.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        resource: str = "",
        request_id: str = "",
        trace_id: str = "",
        headers: Mapping[str, str] | None = None,
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.resource = resource
        self.request_id = request_id
        self.trace_id = trace_id
        self.headers: Mapping[str, str] = dict(headers or {})
        self.retryable = retryable


class AccessDeniedError(ServerError):
    """403: the server refused the signature, the access key or the permission."""


class NotFoundError(ServerError):
    """404: the bucket, key or multipart upload does not exist."""


class AppendPositionError(ServerError):
    """409: the position of the append is not the end of the object.

    ``position`` is the end of the object, where the next append belongs; None if it could not be found out.
    ``status`` is 0 if a response was lost and a later look at the object showed the mismatch.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        position: int | None,
        code: str = "AppendPositionErr",
        resource: str = "",
        request_id: str = "",
        trace_id: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            message,
            status=status,
            code=code,
            resource=resource,
            request_id=request_id,
            trace_id=trace_id,
            headers=headers,
        )
        self.position = position


class ObjectNotAppendableError(ServerError):
    """409: the object was not created by an append, so nothing can be appended to it."""


class ThrottledError(ServerError):
    """503: the server asks the client to slow down. ``retry_after_seconds`` is the delay that it asks for, or None."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str = "",
        resource: str = "",
        request_id: str = "",
        trace_id: str = "",
        headers: Mapping[str, str] | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(
            message,
            status=status,
            code=code,
            resource=resource,
            request_id=request_id,
            trace_id=trace_id,
            headers=headers,
            retryable=True,
        )
        self.retry_after_seconds = retry_after_seconds


class IntegrityError(CosxferError):
    """The server has other bytes than were sent. ``expected`` and ``actual`` are the two digests or sizes."""

    def __init__(self, message: str, *, expected: object, actual: object, retryable: bool = False) -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual
        self.retryable = retryable


class UploadError(CosxferError):
    """The upload of a file failed, in a single PUT or in parts. The reason is ``__cause__``.

    The error is also an instance of its cause's class and has its attributes. So ``except AccessDeniedError`` catches a
    refused upload, whatever the size of the file. ``status``, ``code``, ``headers`` and ``request_id`` always exist:
    they are 0 or empty if the cause is not a response.

    ``upload_id`` is the multipart upload on the server (empty if there is none). ``part_number`` is the failed part, or
    None. ``aborted`` says whether the uploaded parts were deleted from the server.
    """

    status: int = 0
    code: str = ""
    headers: Mapping[str, str] = MappingProxyType({})
    request_id: str = ""

    def __init__(self, message: str, *, upload_id: str = "", part_number: int | None = None, aborted: bool = False):
        super().__init__(message)
        self.upload_id = upload_id
        self.part_number = part_number
        self.aborted = aborted

    @classmethod
    def of(
        cls,
        cause: CosxferError,
        message: str,
        *,
        upload_id: str = "",
        part_number: int | None = None,
        aborted: bool = False,
    ) -> UploadError:
        """Return an error of this class and the class of ``cause``, with the attributes of both."""
        kind = _upload_error(type(cause))
        error = kind.__new__(kind)
        error.args = (message,)
        known = {name: value for name, value in vars(cause).items() if name != "__notes__"}
        vars(error).update(known, upload_id=upload_id, part_number=part_number, aborted=aborted)
        return error

    @classmethod
    def with_notes_of(cls, cause: CosxferError) -> UploadError:
        """Return an error that says the same as ``cause``: nothing was begun, so there is nothing to add."""
        error = cls.of(cause, str(cause))
        for note in getattr(cause, "__notes__", []):
            error.add_note(note)
        return error

    def __reduce__(self) -> tuple[Any, ...]:
        _, (kind, *rest), state = super().__reduce__()
        return _unpickled_upload, (kind.__dict__.get("_cause_kind", kind), *rest), state


_UPLOAD_ERRORS: dict[type[CosxferError], type[UploadError]] = {}


def _upload_error(kind: type[CosxferError]) -> type[UploadError]:
    """Return the class of upload errors whose cause is a ``kind``. It has the name of ``kind``."""
    if issubclass(kind, UploadError):
        return kind
    if kind in _UPLOAD_ERRORS:
        return _UPLOAD_ERRORS[kind]
    namespace = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "_cause_kind": kind}
    namespace["__doc__"] = f"An `UploadError` whose cause is a `{kind.__name__}`."
    made = cast("type[UploadError]", type(kind.__name__, (UploadError, kind), namespace))
    return _UPLOAD_ERRORS.setdefault(kind, made)


def _unpickled_upload(kind: type[CosxferError], args: tuple[Any, ...], cause: CosxferError | None) -> CosxferError:
    return _unpickled(_upload_error(kind), args, cause)


class TaskCanceledError(CosxferError):
    """An upload task was cancelled.

    ``upload_id`` is its multipart upload on the server (empty if there was none). ``aborted`` says whether its parts
    were deleted from the server.
    """

    def __init__(self, message: str, *, task_id: str, upload_id: str = "", aborted: bool = True) -> None:
        super().__init__(message)
        self.task_id = task_id
        self.upload_id = upload_id
        self.aborted = aborted


class TaskTimeoutError(CosxferError, TimeoutError):
    """``result(timeout)`` ran out of time before all tasks had ended. The tasks continue.

    ``unfinished`` has the state of each unfinished task by its id. Like the timeouts of ``concurrent.futures`` and
    ``asyncio``, the error is a ``TimeoutError``.
    """

    def __init__(self, message: str, *, unfinished: Mapping[str, TaskState]) -> None:
        super().__init__(message)
        self.unfinished: Mapping[str, TaskState] = dict(unfinished)
