"""One action of another client's library. Runs in that client's environment; prints what was listed as JSON.

``peer_library.py LIBRARY URL BUCKET ACTION [ARGUMENT ...]``. The keys are in the environment.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

REGION = "ap-guangzhou"
ID, KEY = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]

Actions = dict[str, Callable[..., Any]]


def boto3(url: str, bucket: str) -> Actions:
    import boto3
    from botocore.config import Config

    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
    client = boto3.client("s3", endpoint_url=url, region_name=REGION, config=config)

    def listed(prefix: str) -> list[str]:
        pager = client.get_paginator("list_objects_v2")
        pages = pager.paginate(Bucket=bucket, Prefix=prefix, PaginationConfig={"PageSize": 1})
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    return {
        "write": lambda path, key: client.upload_file(path, bucket, key),
        "list": listed,
        "read": lambda key, path: client.download_file(bucket, key, path),
        "copy": lambda key, other: client.copy({"Bucket": bucket, "Key": key}, bucket, other),
        "delete": lambda key: client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key}]}),
    }


def obstore(url: str, bucket: str) -> Actions:
    from obstore.store import S3Store

    store = S3Store(
        bucket,
        endpoint=url,
        access_key_id=ID,
        secret_access_key=KEY,
        region=REGION,
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )

    def read(key: str, path: str) -> None:
        with Path(path).open("wb") as file:
            for chunk in store.get(key):
                file.write(chunk)

    return {
        "write": lambda path, key: store.put(key, Path(path)),
        "list": lambda prefix: [found["path"] for page in store.list(prefix) for found in page],
        "read": read,
        "copy": lambda key, other: store.copy(key, other),
        "delete": lambda key: store.delete([key]),
    }


def s3fs(url: str, bucket: str) -> Actions:
    import s3fs

    files = s3fs.S3FileSystem(
        key=ID,
        secret=KEY,
        client_kwargs={"endpoint_url": url, "region_name": REGION},
        config_kwargs={"s3": {"addressing_style": "path"}},
    )
    return {
        "write": lambda path, key: files.put_file(path, f"{bucket}/{key}"),
        "list": lambda prefix: [name.removeprefix(f"{bucket}/") for name in files.find(f"{bucket}/{prefix}")],
        "read": lambda key, path: files.get_file(f"{bucket}/{key}", path),
        "copy": lambda key, other: files.copy(f"{bucket}/{key}", f"{bucket}/{other}"),
        "delete": lambda key: files.rm_file(f"{bucket}/{key}"),
    }


def sdk(url: str, bucket: str) -> Actions:
    from qcloud_cos import CosConfig, CosS3Client

    # It copies from the address of COS only, so the server takes the place of a proxy.
    config = CosConfig(Region=REGION, SecretId=ID, SecretKey=KEY, Scheme="http", Proxies={"http": url})
    client = CosS3Client(config)

    def listed(prefix: str) -> list[str]:
        keys, marker = [], ""
        while True:
            page = client.list_objects(Bucket=bucket, Prefix=prefix, MaxKeys=1, Marker=marker)
            keys += [found["Key"] for found in page.get("Contents", ())]
            if page["IsTruncated"] == "false":
                return keys
            marker = page["NextMarker"]

    return {
        "write": lambda path, key: client.upload_file(bucket, key, path, PartSize=1, EnableMD5=True),
        "list": listed,
        "read": lambda key, path: client.download_file(bucket, key, path, PartSize=1, EnableCRC=True),
        "copy": lambda key, other: client.copy(bucket, other, {"Bucket": bucket, "Key": key, "Region": REGION}),
        "delete": lambda key: client.delete_objects(bucket, {"Object": [{"Key": key}]}),
    }


if __name__ == "__main__":
    library, url, bucket, action, *arguments = sys.argv[1:]
    done = {"boto3": boto3, "obstore": obstore, "s3fs": s3fs, "sdk": sdk}[library](url, bucket)[action](*arguments)
    if action == "list":
        print(json.dumps(done))
