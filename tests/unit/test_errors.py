"""Errors can be pickled with all their attributes, for example to leave a worker process."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

import cosxfer
from cosxfer import errors

HEADERS = {"x-cos-request-id": "r"}
SAMPLES: list[cosxfer.CosxferError] = [
    errors.CosxferError("said"),
    errors.UsageError("said", name="key", value="k"),
    errors.CredentialsError("said"),
    errors.SourceError("said", path="p"),
    errors.SourceChangedError("said", path="p", changed="size"),
    errors.TargetError("said", path="p", errno=28),
    errors.ObjectChangedError("said"),
    errors.TransportError("said", url="u"),
    errors.ConnectError("said", url="u", permanent=True),
    errors.TransportTimeoutError("said", url="u"),
    errors.ProtocolError("said", url="u"),
    errors.ServerError("said", status=500, code="InternalError", headers=HEADERS, retryable=True),
    errors.AccessDeniedError("said", status=403, code="AccessDenied", request_id="r"),
    errors.NotFoundError("said", status=404),
    errors.AppendPositionError("said", status=409, position=7),
    errors.ObjectNotAppendableError("said", status=409),
    errors.ThrottledError("said", status=503, retry_after_seconds=2.0),
    errors.IntegrityError("said", expected=1, actual=2, retryable=True),
    errors.UploadError("said", upload_id="u", part_number=3, aborted=True),
    errors.TaskCanceledError("said", task_id="t", upload_id="u", aborted=False),
    errors.TaskTimeoutError("said", unfinished={"t": "paused"}),
]


def fail(index: int) -> None:
    raise SAMPLES[index]


def test_there_is_a_sample_of_every_error() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CosxferError)}
    assert {type(sample) for sample in SAMPLES} == kinds


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_an_unpickled_error_equals_the_original(error: cosxfer.CosxferError) -> None:
    error.add_note("a note")
    for back in (
        *(pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
        copy.copy(error),
        copy.deepcopy(error),
    ):
        assert type(back) is type(error)
        assert (str(back), back.args, vars(back)) == (str(error), error.args, vars(error))
        assert back.retryable == error.retryable
        assert back.__cause__ is None


def test_the_cause_of_an_error_is_pickled_too() -> None:
    with pytest.raises(errors.UploadError) as caught:
        raise SAMPLES[-3] from SAMPLES[11]
    back = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(back.__cause__, errors.ServerError)
    assert (back.__cause__.status, back.__cause__.headers) == (500, HEADERS)
    # The cause may not be picklable.
    with pytest.raises(errors.SourceError) as alone:
        raise errors.SourceError("said", path="p") from UnfitError()
    assert pickle.loads(pickle.dumps(alone.value)).path == "p"


def test_arguments_that_cannot_be_pickled_are_no_problem() -> None:
    for value, left in (((n for n in ()), "generator"), (lambda: None, "function"), ((1, 2), (1, 2))):
        back = pickle.loads(pickle.dumps(errors.UsageError("said", name="key", value=value)))
        assert (str(back), back.name, back.value) == ("said", "key", left)


class UnfitError(Exception):
    def __init__(self) -> None:
        super().__init__()
        self.what = lambda: None


def test_a_process_pool_passes_errors_on() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for index, sample in enumerate(SAMPLES):
            back = pool.submit(fail, index).exception()
            assert type(back) is type(sample)
            assert str(back) == "said"
