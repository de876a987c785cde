"""Finds the layers of a container image in the archive that `docker save` and skopeo make."""

import json
import re
from typing import Any

from reapi.core.errors import InvalidArgument

from .file_section import FileSection
from .tar_archive import members

_MOST_FILES = 10_000
_LARGEST_JSON_BYTES = 4 << 20
_DEEPEST_INDEX = 4
_OF_AN_IMAGE = re.compile(
    r"(blobs|index\.json|manifest\.json|oci-layout|repositories|[0-9a-f]{64}(\.json|\.tar)?)(/|\Z)",
    re.ASCII,
)
_NO_PLATFORMS = ({"architecture": "unknown"}, {"architecture": "unknown", "os": "unknown"})
"""Of what stands among the manifests and is no image, such as an attestation."""

_DIGEST = re.compile(r"(sha256|sha512):([0-9a-f]{64,128})\Z", re.ASCII)


def image_layers(archive: FileSection) -> list[FileSection] | None:
    """The layers, the lowest first, each an archive; None for an archive that is no image.

    Raises InvalidArgument for an image that cannot be read, and where there are several.
    """
    files = _files(archive)
    if files is None:
        return None
    if "manifest.json" in files:
        image = _only(archive, _json(files, "manifest.json"))
        names = image.get("Layers")
    elif "index.json" in files:
        (index,) = _objects(archive, [_json(files, "index.json")])
        manifest = _manifest(archive, files, index, _DEEPEST_INDEX)
        names = [_blob_name(layer) for layer in _objects(archive, manifest.get("layers"))]
    else:
        return None
    if not isinstance(names, list) or not names:
        raise InvalidArgument(f"the image in {archive.name} names no layers")
    return [_file(files, name) for name in names]


def _files(archive: FileSection) -> dict[str, FileSection] | None:
    """What the archive holds, if it is all such as an image consists of."""
    files: dict[str, FileSection] = {}
    for member in members(archive):
        name = member.name.removeprefix("./")
        if not _OF_AN_IMAGE.match(name) or len(files) == _MOST_FILES:
            return None
        if member.isreg():
            label = f"{archive.name}: {name}"
            files[name] = archive.part(label, member.offset_data, member.size)
    return files


def _manifest(
    archive: FileSection, files: dict[str, FileSection], index: dict[str, Any], levels: int
) -> dict[str, Any]:
    """The manifest of the one image that an index leads to; attestations do not count."""
    images = [
        one
        for one in _objects(archive, index.get("manifests"))
        if one.get("platform") not in _NO_PLATFORMS
    ]
    (found,) = _objects(archive, [_json(files, _blob_name(_only(archive, images)))])
    if "manifests" in found and levels:
        return _manifest(archive, files, found, levels - 1)
    return found


def _only(archive: FileSection, images: Any) -> dict[str, Any]:
    found = _objects(archive, images)
    if len(found) != 1:
        raise InvalidArgument(
            f"{archive.name} holds {len(found)} images: save one alone, of one platform"
        )
    return found[0]


def _objects(archive: FileSection, values: Any) -> list[dict[str, Any]]:
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise InvalidArgument(f"{archive.name} is no image as the OCI describes it")
    return values


def _blob_name(descriptor: dict[str, Any]) -> str:
    match = _DIGEST.match(str(descriptor.get("digest")))
    if match is None:
        raise InvalidArgument(f"{str(descriptor)[:200]} names no blob of an image")
    return f"blobs/{match[1]}/{match[2]}"


def _json(files: dict[str, FileSection], name: str) -> Any:
    file = _file(files, name)
    if file.size_bytes > _LARGEST_JSON_BYTES:
        raise InvalidArgument(f"{file.name} has more than {_LARGEST_JSON_BYTES} bytes")
    try:
        return json.loads(file.read(0, file.size_bytes))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(f"{file.name} is not JSON") from error


def _file(files: dict[str, FileSection], name: Any) -> FileSection:
    file = files.get(name) if isinstance(name, str) else None
    if file is None:
        raise InvalidArgument(f"the image lacks its part {str(name)[:200]}")
    return file
