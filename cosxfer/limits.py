"""The limits of COS, in bytes unless the name says otherwise (source: product pages 436/7749, 7750, 14112, 40151)."""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

MIN_PART_BYTES = 1 * MIB
"""Smallest part, except the last one of an upload."""
MAX_PART_BYTES = 5 * GIB
MIN_PART_NUMBER = 1
MAX_PART_NUMBER = 10_000
MAX_PUT_BYTES = 5 * GIB
"""Largest body of PUT Object, POST Object and APPEND Object."""
MAX_OBJECT_BYTES = 50_000 * GIB
"""Largest object: 10,000 parts of 5 GB."""

MAX_KEY_BYTES = 850
"""Length of an object key, UTF-8 encoded."""
MAX_METADATA_BYTES = 2 * KIB
"""All ``x-cos-meta-*`` headers of an object together, names and values."""
MAX_TAGS = 10
"""Tags of an object."""
MAX_LIST_ENTRIES = 1000
"""Entries of one page of any listing but that of buckets; also keys of one DELETE Multiple Objects."""
MAX_LIST_BUCKETS = 2000
"""Entries of one page of buckets."""

MIN_TRAFFIC_LIMIT_BITS = 819_200
MAX_TRAFFIC_LIMIT_BITS = 838_860_800
"""``x-cos-traffic-limit``, in bit/s for one request."""

MAX_CLOCK_SKEW_SECONDS = 15 * 60
"""A request whose signature starts or ends further than this from the server's clock is refused."""

LARGEST_NUMBER = (1 << 63) - 1
"""The largest position, end of a range or marker that is sent: 64 bits hold it."""

LAST_SECOND = 253_402_300_799
"""The end of the year 9999, in Unix seconds: no later time can be written as a date."""
