"""Uploads with a library, in that library's own environment: `send.py CLIENT ORDER`, started by `bench/peers.py`.

ORDER is JSON: ``url`` and ``bucket``, ``path`` (a file, a folder, or null to start and do nothing), ``ca_file`` (of
TLS), ``http_version`` and ``settings``. A library is called as its documentation shows. A failed upload is an
exception.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REGION = "ap-guangzhou"
Order = dict[str, Any]
Send = Callable[[Path], object]


def files_below(folder: Path) -> list[tuple[str, str]]:
    """Return the path and the key of each file. The walk counts for all clients, so it should cost little."""
    # `os` is faster than `pathlib` here.
    paths = sorted(os.path.join(place, name) for place, _, names in os.walk(folder) for name in names)  # noqa: PTH118
    return [(path, path[len(str(folder)) + 1 :]) for path in paths]


def in_threads(count: int, work: Callable[[str, str], object], files: list[tuple[str, str]]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(count) as pool:
        for _ in pool.map(lambda file: work(*file), files):
            pass


def cosxfer(order: Order) -> Send:
    import atexit

    import cosxfer

    settings = dict(order["settings"])
    per_file = {name: settings.pop(name) for name in ("part_size",) if name in settings}
    if order["ca_file"]:
        settings["verify"] = order["ca_file"]
    client = cosxfer.Client(
        endpoint=f"{order['url']}/{{bucket}}",
        secret_id="id",
        secret_key="key",
        http_version=order["http_version"],
        **settings,
    )
    bucket = order["bucket"]
    atexit.register(client.close)

    def send(path: Path) -> None:
        if path.is_file():
            assert client.upload_file(bucket, "key", path, **per_file).verified
            return
        files = files_below(path)
        results = client.upload_files({"bucket": bucket, "key": key, "path": file} for file, key in files)
        assert all(result.error is None for result in results)

    return send


def sdk(order: Order) -> Send:
    import logging

    from qcloud_cos import CosConfig, CosS3Client

    logging.disable(logging.CRITICAL)
    scheme, _, address = order["url"].partition("://")
    settings = {"EnableMD5": True, **order["settings"]}
    threads = settings.pop("files", 5)  # of SimpleThreadPool
    client = CosS3Client(
        CosConfig(
            Region=REGION, SecretId="id", SecretKey="key", Scheme=scheme, Domain=address, VerifySSL=order["ca_file"]
        )
    )

    def one(path: str, key: str) -> None:
        client.upload_file(Bucket=order["bucket"], Key=key, LocalFilePath=path, **settings)

    def send(path: Path) -> None:
        if path.is_file():
            one(str(path), "key")
            return
        from qcloud_cos.cos_threadpool import SimpleThreadPool

        pool = SimpleThreadPool(threads)
        for file, key in files_below(path):
            pool.add_task(one, file, key)
        pool.wait_completion()
        assert pool.get_result()["success_all"]

    return send


def obstore(order: Order) -> Send:
    import obstore
    from obstore.store import S3Store

    settings = dict(order["settings"])
    at_a_time = settings.pop("files", 32)
    options: dict[str, Any] = {"allow_http": True}
    if order["ca_file"]:
        options["allow_invalid_certificates"] = True  # it takes no authority of the caller's
    if order["http_version"] == "2":
        options["http2_only"] = True
    store = S3Store(
        order["bucket"],
        endpoint=order["url"],
        access_key_id="id",
        secret_access_key="key",
        region=REGION,
        virtual_hosted_style_request=False,
        client_options=options,
    )

    def send(path: Path) -> None:
        if path.is_file():
            obstore.put(store, "key", path, **settings)
            return
        import asyncio

        async def every() -> None:
            files = iter(files_below(path))

            async def some() -> None:
                for file, key in files:
                    await obstore.put_async(store, key, Path(file), **settings)

            await asyncio.gather(*(some() for _ in range(at_a_time)))

        asyncio.run(every())

    return send


def boto3(order: Order) -> Send:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    settings = dict(order["settings"])
    threads = settings.pop("files", 10)
    checksum = settings.pop("checksum", None)
    more: dict[str, Any] = {"request_checksum_calculation": checksum} if checksum else {}
    client = boto3.client(
        "s3",
        endpoint_url=order["url"],
        aws_access_key_id="id",
        aws_secret_access_key="key",
        region_name=REGION,
        verify=order["ca_file"],
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=max(10, threads), **more),
    )
    config = TransferConfig(**settings)

    def one(path: str, key: str) -> None:
        client.upload_file(path, order["bucket"], key, Config=config)

    def send(path: Path) -> None:
        if path.is_file():
            one(str(path), "key")
        else:
            in_threads(threads, one, files_below(path))

    return send


def boto3_crt(order: Order) -> Send:
    import boto3
    import botocore.session
    from botocore.config import Config
    from botocore.credentials import Credentials
    from s3transfer.crt import (
        BotocoreCRTCredentialsWrapper,
        BotocoreCRTRequestSerializer,
        CRTTransferManager,
        create_s3_crt_client,
    )

    session = botocore.session.Session()
    session.set_credentials("id", "key")
    settings = dict(order["settings"])
    crt = create_s3_crt_client(
        region=REGION,
        crt_credentials_provider=BotocoreCRTCredentialsWrapper(Credentials("id", "key")).to_crt_credentials_provider(),
        use_ssl=order["url"].startswith("https"),
        verify=order["ca_file"],
        **settings,
    )
    serializer = BotocoreCRTRequestSerializer(
        session,
        {"region_name": REGION, "endpoint_url": order["url"], "config": Config(s3={"addressing_style": "path"})},
    )
    assert boto3.__version__
    manager = CRTTransferManager(crt_s3_client=crt, crt_request_serializer=serializer)

    def send(path: Path) -> None:
        with manager:
            if path.is_file():
                manager.upload(str(path), order["bucket"], "key").result()
                return
            futures = [manager.upload(file, order["bucket"], key) for file, key in files_below(path)]
            for future in futures:
                future.result()

    return send


CLIENTS: dict[str, Callable[[Order], Send]] = {
    "cosxfer": cosxfer,
    "cos-python-sdk-v5": sdk,
    "obstore": obstore,
    "boto3": boto3,
    "boto3-crt": boto3_crt,
}


def main() -> None:
    sys.path.pop(0)  # this folder, which has names of libraries
    order = json.loads(sys.argv[2])
    send = CLIENTS[sys.argv[1]](order)
    if order["path"] is not None:
        send(Path(order["path"]))


if __name__ == "__main__":
    main()
