"""Content types by the extension of a key. The table is built in, so that it is the same on every machine.

Sources: IANA's media types and MDN's list of common types. ``.ts`` is ``video/mp2t``, a video segment (HLS): this is
the registered type, players need it, and browsers do not run TypeScript.
"""

from __future__ import annotations

DEFAULT = "application/octet-stream"

_ENDINGS = {
    # text
    "text/plain": "txt text log conf cfg ini c h cc cpp cxx hh hpp java go rs rb pl pm php lua swift kt "
    "scala bat ps1 srt ass diff patch ksh properties",
    "text/html": "html htm shtml",
    "text/css": "css",
    "text/javascript": "js mjs cjs",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "text/markdown": "md markdown mdown",
    "text/calendar": "ics ifb",
    "text/vcard": "vcf vcard",
    "text/vtt": "vtt",
    "text/xml": "xml",
    "text/n3": "n3",
    "text/turtle": "ttl",
    "text/x-python": "py",
    "text/x-sgml": "sgm sgml",
    "text/x-rst": "rst",
    "text/jsx": "jsx",
    "text/cache-manifest": "appcache",
    # images
    "image/png": "png",
    "image/apng": "apng",
    "image/jpeg": "jpg jpeg jpe jfif pjpeg pjp",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/heif": "heif",
    "image/jxl": "jxl",
    "image/jp2": "jp2",
    "image/svg+xml": "svg",
    "image/tiff": "tif tiff",
    "image/bmp": "bmp dib",
    "image/vnd.microsoft.icon": "ico cur",
    "image/vnd.adobe.photoshop": "psd",
    "image/x-portable-anymap": "pnm",
    "image/x-portable-bitmap": "pbm",
    "image/x-portable-graymap": "pgm",
    "image/x-portable-pixmap": "ppm",
    "image/x-xbitmap": "xbm",
    "image/x-xpixmap": "xpm",
    "image/x-tga": "tga",
    "image/x-adobe-dng": "dng",
    "image/x-canon-cr2": "cr2",
    "image/x-nikon-nef": "nef",
    "image/x-sony-arw": "arw",
    # sound
    "audio/mpeg": "mp3 mp2 mpga",
    "audio/mp4": "m4a m4b",
    "audio/aac": "aac adts",
    "audio/ogg": "ogg oga spx",
    "audio/opus": "opus",
    "audio/flac": "flac",
    "audio/x-wav": "wav",
    "audio/webm": "weba",
    "audio/midi": "mid midi kar",
    "audio/amr": "amr",
    "audio/x-aiff": "aif aiff aifc",
    "audio/x-ms-wma": "wma",
    "audio/basic": "au snd",
    "audio/x-caf": "caf",
    "audio/x-ape": "ape",
    # moving pictures
    "video/mp4": "mp4 m4v mp4v mpg4",
    "video/iso.segment": "m4s",
    "video/mp2t": "ts m2ts mts",
    "video/webm": "webm",
    "video/ogg": "ogv",
    "video/quicktime": "mov qt",
    "video/mpeg": "mpeg mpg mpe m1v m2v mpa",
    "video/x-msvideo": "avi",
    "video/x-matroska": "mkv",
    "video/x-flv": "flv",
    "video/x-f4v": "f4v",
    "video/x-ms-wmv": "wmv",
    "video/x-ms-asf": "asf",
    "video/3gpp": "3gp 3gpp",
    "video/3gpp2": "3g2 3gpp2",
    "application/vnd.apple.mpegurl": "m3u8 m3u",
    "application/dash+xml": "mpd",
    "application/vnd.rn-realmedia": "rm rmvb",
    # fonts
    "font/woff": "woff",
    "font/woff2": "woff2",
    "font/ttf": "ttf",
    "font/otf": "otf",
    "font/collection": "ttc",
    "application/vnd.ms-fontobject": "eot",
    # documents
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "application/epub+zip": "epub",
    "application/msword": "doc dot",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.template": "dotx",
    "application/vnd.ms-word.document.macroenabled.12": "docm",
    "application/vnd.ms-excel": "xls xlt xla xlb",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.template": "xltx",
    "application/vnd.ms-excel.sheet.macroenabled.12": "xlsm",
    "application/vnd.ms-excel.sheet.binary.macroenabled.12": "xlsb",
    "application/vnd.ms-powerpoint": "ppt pps pot ppa",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.openxmlformats-officedocument.presentationml.slideshow": "ppsx",
    "application/vnd.openxmlformats-officedocument.presentationml.template": "potx",
    "application/vnd.ms-powerpoint.presentation.macroenabled.12": "pptm",
    "application/vnd.visio": "vsd",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/vnd.oasis.opendocument.graphics": "odg",
    "application/postscript": "ps eps ai",
    "application/x-tex": "tex",
    "application/x-mobipocket-ebook": "mobi",
    "application/vnd.amazon.ebook": "azw",
    "message/rfc822": "eml mht mhtml",
    "application/vnd.ms-outlook": "msg",
    # data
    "application/json": "json map ipynb",
    "application/jsonl": "jsonl ndjson",
    "application/json5": "json5",
    "application/ld+json": "jsonld",
    "application/geo+json": "geojson",
    "application/manifest+json": "webmanifest",
    "application/yaml": "yaml yml",
    "application/toml": "toml",
    "application/xml": "xsl xsd rdf wsdl xpdl dtd",
    "application/xhtml+xml": "xhtml xht",
    "application/xslt+xml": "xslt",
    "application/rss+xml": "rss",
    "application/atom+xml": "atom",
    "application/gpx+xml": "gpx",
    "application/vnd.google-earth.kml+xml": "kml",
    "application/vnd.google-earth.kmz": "kmz",
    "application/n-quads": "nq",
    "application/n-triples": "nt",
    "application/trig": "trig",
    "application/sql": "sql",
    "application/vnd.sqlite3": "sqlite sqlite3 db3",
    "application/vnd.apache.parquet": "parquet",
    "application/vnd.apache.arrow.file": "arrow feather",
    "application/vnd.apache.arrow.stream": "arrows",
    "application/avro": "avro",
    "application/x-orc": "orc",
    "application/x-hdf5": "h5 hdf5",
    "application/x-hdf": "hdf",
    "application/x-netcdf": "nc cdf",
    "application/x-protobuf": "pb",
    "application/dicom": "dcm",
    "application/vnd.tcpdump.pcap": "pcap",
    "model/gltf+json": "gltf",
    "model/gltf-binary": "glb",
    "model/stl": "stl",
    "model/obj": "obj",
    "model/mtl": "mtl",
    # programs
    "application/wasm": "wasm",
    "application/graphql": "graphql gql",
    "application/x-sh": "sh bash",
    "application/x-csh": "csh",
    "application/x-tcl": "tcl",
    "application/java-archive": "jar war ear",
    "application/java-vm": "class",
    "application/x-python-code": "pyc pyo",
    "application/vnd.android.package-archive": "apk",
    "application/x-apple-diskimage": "dmg",
    "application/x-debian-package": "deb udeb",
    "application/x-rpm": "rpm",
    "application/x-msi": "msi",
    "application/x-shockwave-flash": "swf",
    "application/x-pkcs12": "p12 pfx",
    "application/pkcs7-mime": "p7c p7m",
    "application/x-x509-ca-cert": "crt cer der",
    "application/x-pem-file": "pem",
    "application/pgp-signature": "sig",
    "application/pgp-encrypted": "pgp gpg",
    "application/x-bittorrent": "torrent",
    # archives; types of compressed single files (.gz and similar) are below
    "application/zip": "zip",
    "application/x-7z-compressed": "7z",
    "application/vnd.rar": "rar",
    "application/x-tar": "tar ustar gtar",
    "application/vnd.ms-cab-compressed": "cab",
    "application/x-iso9660-image": "iso",
    "application/x-cpio": "cpio",
    "application/x-shar": "shar",
    "application/x-lzh-compressed": "lzh lha",
}
"""Any other is ``application/octet-stream``, also ``.bin``, ``.exe``, ``.dll``, ``.so``, ``.dat`` and ``.img``."""

_TYPES = {ending: kind for kind, endings in _ENDINGS.items() for ending in endings.split()}

_PACKED = {
    "gz": "application/gzip",
    "bz2": "application/x-bzip2",
    "xz": "application/x-xz",
    "zst": "application/zstd",
    "z": "application/x-compress",
    "lz": "application/x-lzip",
    "lz4": "application/x-lz4",
    "lzma": "application/x-lzma",
    "br": DEFAULT,  # has no type of its own
}

_SHORT = {
    "tgz": "tar.gz",
    "taz": "tar.gz",
    "tbz": "tar.bz2",
    "tbz2": "tar.bz2",
    "txz": "tar.xz",
    "tzst": "tar.zst",
    "svgz": "svg.gz",
}
"""Extensions that are short for two extensions."""


def content_type_of(key: str, *, unpacked: bool = False) -> str:
    """Return the type for the extension of ``key``, ignoring case; ``application/octet-stream`` if it is unknown.

    For a compressed file (``.csv.gz``) it is the type of the compressed file. With ``unpacked``, it is the type of the
    content (``.csv``): the object then has a content encoding that names the compression.
    """
    name = key.rpartition("/")[2].lower()
    stem, _, ending = name.rpartition(".")
    if not stem.strip("."):
        return DEFAULT  # no extension: a name without a dot, or one like ".profile"
    if ending in _SHORT:
        name = f"{stem}.{_SHORT[ending]}"
        stem, _, ending = name.rpartition(".")
    if ending in _PACKED:
        if not unpacked:
            return _PACKED[ending]
        inner, _, ending = stem.rpartition(".")
        if not inner.strip("."):
            return DEFAULT
    return _TYPES.get(ending, DEFAULT)
