"""The settings as the storage takes them: plain values."""

import math

from reapi.cas.config import StorageConfig

from .config import ServerConfig


def storage_config(config: ServerConfig) -> StorageConfig:
    return StorageConfig(
        data_dir=config.storage_dir,
        processes=config.server.processes,
        max_size_bytes=config.storage.max_size_bytes,
        quotas={
            name: section.max_size_bytes
            for name, section in config.instances.items()
            if section.max_size_bytes is not None
        },
        high_watermark=config.storage.high_watermark,
        low_watermark=config.storage.low_watermark,
        retention_seconds=config.storage.retention_seconds,
        pin_idle_seconds=config.storage.pin_idle_seconds,
        pin_max_seconds=config.storage.pin_max_seconds,
        pin_max_share=config.storage.pin_max_share,
        result_ttl_seconds=config.results.ttl_seconds,
        results_since={
            name: math.ceil(section.results_since.timestamp())
            for name, section in config.instances.items()
            if section.results_since is not None
        },
        dsn_file=config.storage.state.dsn_file,
        s3=config.storage.blobs.s3() if config.storage.blobs.kind == "s3" else None,
        inline_max_bytes=config.storage.inline_max_bytes,
        survives_power_loss=config.storage.survives_power_loss,
        compresses=config.storage.compression == "zstd",
        cache_max_size_bytes=config.storage.cache_max_size_bytes,
        is_cache=config.upstream is not None,
    )
