"""Imports a root file system into the store, as the Tree that `container-image=tree:` names."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from reapi.core.digest import Digest, DigestFunction, digest_of
from reapi.core.directory import LARGEST_TREE_BYTES
from reapi.core.errors import InvalidArgument, NotFound
from reapi.core.execution_properties import image_property
from reapi.protos.build.bazel.remote.execution.v2.remote_execution_pb2 import Directory, Tree

from .file_section import FileSection
from .image_layers import image_layers
from .image_tree import ImageTree
from .merkle import TreeNode, encode_tree
from .tar_archive import decompressed


@dataclass(frozen=True, slots=True)
class ImportedImage:
    """A root file system in the store.

    `layers` is 0 for a plain archive. `left_out` counts what a tree cannot hold, by its kind.
    `size_bytes` is that of all files, each occurrence counted.
    """

    tree_digest: Digest
    root_digest: Digest
    layers: int
    files: int
    directories: int
    symlinks: int
    size_bytes: int
    left_out: Mapping[str, int]
    uploaded_blobs: int = 0
    uploaded_bytes: int = 0

    @property
    def platform_property(self) -> tuple[str, str]:
        """Makes it the file system of an action."""
        return image_property(self.tree_digest)


@dataclass(slots=True)
class LocalImage:
    """An image that is ready to be uploaded, as long as its files stay open.

    `found` is what there will be to say of it once it is; `files` are its files' contents.
    """

    found: ImportedImage
    blobs: dict[Digest, bytes]
    files: dict[Digest, FileSection]


def read_image(
    path: Path, function: DigestFunction, scratch: ExitStack, is_stopped: Callable[[], bool]
) -> LocalImage:
    """Reads a root file system, or an image with its layers, from an archive; see tar_archive.py.

    `scratch` keeps the archive open, and temporary files as large as what of it is compressed.
    Blocks; ends with an error when `is_stopped` says so. Raises NotFound, InvalidArgument for an
    archive that cannot be used, ResourceExhausted where it has no room to be decompressed.
    """
    try:
        file = scratch.enter_context(path.open("rb"))
    except OSError as error:
        raise NotFound(f"{path} cannot be read: {error.strerror}") from error
    archive = FileSection(file, path.name, 0, path.stat().st_size)
    plain = decompressed(archive, scratch, is_stopped)
    layers = image_layers(plain)
    tree = ImageTree(function)
    for layer in layers or [plain]:
        content = decompressed(layer, scratch, is_stopped)
        tree.add(content, is_layer=layers is not None, is_stopped=is_stopped)
    root_digest, blobs = encode_tree(tree.root, function)
    tree_digest, data = _tree(root_digest, blobs)
    blobs[tree_digest] = data
    nodes = list(_walk(tree.root))
    found = ImportedImage(
        tree_digest,
        root_digest,
        layers=len(layers or ()),
        files=sum(len(node.files) for node in nodes),
        directories=len(nodes) - 1,
        symlinks=sum(len(node.symlinks) for node in nodes),
        size_bytes=sum(d.size_bytes for node in nodes for d, _ in node.files.values()),
        left_out=dict(tree.left_out),
    )
    wanted = {digest for node in nodes for digest, _ in node.files.values()}
    files = {digest: tree.contents[digest] for digest in wanted}
    return LocalImage(found, blobs, files)


def _tree(root: Digest, blobs: Mapping[Digest, bytes]) -> tuple[Digest, bytes]:
    """The Tree of these Directories, parents before children as a result's would be."""
    tree = Tree(root=Directory.FromString(blobs[root]))
    below = [Directory.FromString(data) for digest, data in blobs.items() if digest != root]
    tree.children.extend(reversed(below))
    data = tree.SerializeToString(deterministic=True)
    if len(data) > LARGEST_TREE_BYTES:
        raise InvalidArgument(
            f"the tree of the image has {len(data)} bytes; at most {LARGEST_TREE_BYTES} are used"
        )
    return digest_of(data, root.function), data


def _walk(root: TreeNode) -> Iterator[TreeNode]:
    todo = [root]
    while todo:
        node = todo.pop()
        yield node
        todo += node.directories.values()
