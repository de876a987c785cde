"""Which roles one process may combine, and what each needs to do its part."""

from reapi.core.errors import InvalidArgument

from .config import ServerConfig


def check_roles(config: ServerConfig, *, is_storage_shared: bool) -> None:
    """Raises InvalidArgument, which says what is missing, before anything opens.

    A storage is shared when processes of other machines see the same blobs and results.
    """
    roles = set(config.server.roles)
    is_guarded = config.auth.mode == "tokens" and config.auth.token_file is None
    if is_guarded and (config.scheduler.endpoint is not None or config.scheduler.shards):
        raise InvalidArgument(
            "auth.token_file is needed where a scheduler may be another server: a file with a "
            "token that has the role executor in its auth.tokens_file"
        )
    if not roles:
        raise InvalidArgument("server.roles is empty: name a role, or leave the key out")
    if "scheduler" in roles and "frontend" not in roles and not is_storage_shared:
        raise InvalidArgument(
            "--role scheduler needs --role frontend in the same process, unless all share one "
            'storage: storage.state.kind = "postgresql" and storage.blobs.kind = "s3"'
        )
    remote = config.scheduler.endpoint or ", ".join(one.endpoint for one in config.scheduler.shards)
    has_remote_scheduler = "scheduler" not in roles and bool(remote)
    if "frontend" in roles and has_remote_scheduler and not is_storage_shared:
        raise InvalidArgument(
            f"--role frontend cannot serve the scheduler at {remote}, which "
            "would not see its blobs: a storage below data_dir belongs to one server. "
            "Leave out scheduler.endpoint, add --role scheduler, or share the storage: "
            'storage.state.kind = "postgresql" and storage.blobs.kind = "s3"'
        )
    if roles == {"frontend", "executor"} and config.scheduler.endpoint is None:
        raise InvalidArgument(
            "--role executor with --role frontend needs a scheduler: "
            "set scheduler.endpoint, or add --role scheduler"
        )
    has_blobs = config.executor.storage == "direct" or config.executor.frontend_endpoint is not None
    if roles == {"executor"} and "," in (config.scheduler.endpoint or "") and not has_blobs:
        raise InvalidArgument(
            "--role executor with several addresses in scheduler.endpoint needs to know where its "
            "blobs are: set executor.frontend_endpoint or executor.storage"
        )
    if roles == {"scheduler", "executor"} and not has_blobs:
        raise InvalidArgument(
            "--role executor with --role scheduler needs a frontend for its blobs: "
            "set executor.frontend_endpoint or executor.storage, or add --role frontend"
        )
