"""The tables of the store in PostgreSQL.

Every change of the tables `blob` and `result` is one statement, which is a transaction of its own
and locks rows in the order of their keys, then rows of a total, in order too: no two of them can
wait for each other.
"""

BLOB_COMPONENT = "blobs"
BLOB_MIGRATIONS = (
    """
    CREATE TABLE blob (
        key bytea PRIMARY KEY,
        size bigint NOT NULL,
        used bigint NOT NULL,
        inline_id bigint,
        suffix text NOT NULL,
        stored bigint NOT NULL,
        owner text COLLATE "C" NOT NULL
    );
    CREATE INDEX blob_by_use ON blob (owner, used);

    -- Bytes of small blobs; a number is used once. Not compressed: most are hashes, and who asks
    -- for compression compresses himself.
    CREATE SEQUENCE inline_id CACHE 1;
    CREATE TABLE inline (
        inline_id bigint PRIMARY KEY,
        function smallint NOT NULL,
        data bytea NOT NULL
    );
    ALTER TABLE inline ALTER COLUMN data SET STORAGE EXTERNAL;

    -- Rows that were evicted and whose bytes are not gone yet.
    CREATE TABLE leaving (
        key bytea NOT NULL,
        size bigint NOT NULL,
        used bigint NOT NULL,
        inline_id bigint,
        suffix text NOT NULL
    );
    CREATE UNIQUE INDEX leaving_by_place ON leaving (key, suffix, coalesce(inline_id, 0));

    -- Bytes in `blob`: the sum of all shards, so that writers rarely wait for each other.
    CREATE TABLE blob_total (
        owner text COLLATE "C" NOT NULL,
        shard integer NOT NULL,
        bytes bigint NOT NULL,
        PRIMARY KEY (owner, shard)
    ) WITH (fillfactor = 50);
    """,
)

RESULT_COMPONENT = "results"
RESULT_MIGRATIONS = (
    """
    -- `bytes` is what the row counts for, `replaced_bytes` what the row before it did. Names may
    -- hold any character, also the one that `text` cannot.
    CREATE TABLE result (
        key bytea PRIMARY KEY,
        action_result bytea NOT NULL,
        closure bytea NOT NULL,
        used bigint NOT NULL,
        stored bigint NOT NULL,
        instance_name bytea NOT NULL,
        worker bytea NOT NULL,
        writer bytea NOT NULL,
        version bigint NOT NULL,
        bytes bigint NOT NULL,
        replaced_bytes bigint NOT NULL
    );
    ALTER TABLE result
        ALTER COLUMN action_result SET STORAGE EXTERNAL,
        ALTER COLUMN closure SET STORAGE EXTERNAL;
    CREATE INDEX result_by_use ON result (used);
    CREATE SEQUENCE result_version CACHE 1;
    CREATE TABLE result_total (
        shard integer PRIMARY KEY,
        bytes bigint NOT NULL
    ) WITH (fillfactor = 50);
    """,
    """
    CREATE SEQUENCE result_removal_number CACHE 1;
    CREATE TABLE result_removal (
        key bytea PRIMARY KEY,
        number bigint NOT NULL,
        at bigint NOT NULL,
        why text NOT NULL,
        detail text NOT NULL
    );
    CREATE INDEX result_removal_by_number ON result_removal (number);
    """,
)

SHARD = "pg_backend_pid() % 16"
"""Which row of a total a session changes."""


def _count_blobs(rows: str, sign: str) -> str:
    """The statement that adds the sizes of `rows`, by owner, to the total, or subtracts them."""
    return f"""
        INSERT INTO blob_total AS total
        SELECT owner, {SHARD}, {sign}sum(size) FROM {rows} GROUP BY owner ORDER BY owner
        ON CONFLICT (owner, shard) DO UPDATE SET bytes = total.bytes + excluded.bytes
    """


ADD_OBJECTS = f"""
    WITH new AS MATERIALIZED (
        SELECT * FROM unnest(
            $1::bytea[], $2::bigint[], $3::bigint[], $4::text[], $5::bigint[], $6::text[]
        ) AS new (key, used, size, suffix, stored, owner)
    ), touched AS (
        INSERT INTO blob (key, size, suffix, used, stored, owner)
        SELECT key, size, suffix, used, stored, owner FROM new ORDER BY key
        ON CONFLICT (key) DO UPDATE SET used = excluded.used WHERE blob.used < excluded.used
        RETURNING key, size, suffix, owner
    ), added AS (
        SELECT key, touched.size, touched.owner FROM touched JOIN new USING (key, suffix)
    ), counted AS (
        {_count_blobs("added", "")}
    )
    SELECT key FROM added
"""
"""No suffix is used twice, so a row that has the given one is new: also when this is tried again
because the answer of a first attempt was lost."""

ADD_INLINE = f"""
    WITH new AS MATERIALIZED (
        SELECT nextval('inline_id') AS inline_id, * FROM unnest(
            $1::bytea[], $2::bigint[], $3::bytea[], $4::bigint[], $5::text[]
        ) AS new (key, used, data, stored, owner)
    ), touched AS (
        INSERT INTO blob (key, size, inline_id, suffix, used, stored, owner)
        SELECT key, octet_length(data), inline_id, '', used, stored, owner FROM new ORDER BY key
        ON CONFLICT (key) DO UPDATE SET used = excluded.used WHERE blob.used < excluded.used
        RETURNING inline_id, size, owner
    ), added AS (
        SELECT inline_id, get_byte(key, 0) AS function, data, touched.size, touched.owner
        FROM touched JOIN new USING (inline_id)
    ), kept AS (
        INSERT INTO inline SELECT inline_id, function, data FROM added ORDER BY inline_id
    )
    {_count_blobs("added", "")}
"""

ADOPT_INLINE = f"""
    WITH new AS MATERIALIZED (
        SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[])
            AS new (key, size, used, inline_id)
    ), touched AS (
        INSERT INTO blob (key, size, inline_id, suffix, used, stored, owner)
        SELECT key, size, inline_id, '', used, $5, $6 FROM new ORDER BY key
        ON CONFLICT (key) DO UPDATE SET used = excluded.used WHERE blob.used < excluded.used
        RETURNING key, inline_id, size, owner
    ), added AS (
        SELECT touched.key, touched.size, touched.owner FROM touched JOIN new USING (key, inline_id)
    ), counted AS (
        {_count_blobs("added", "")}
    )
    SELECT key FROM added
"""

CLEAR = "TRUNCATE blob, leaving, blob_total"

INLINE_BLOBS = """
    SELECT inline_id, function, data FROM inline WHERE inline_id > $1 ORDER BY inline_id LIMIT $2
"""

FIND = "SELECT key, size, used, inline_id, suffix FROM blob WHERE key = ANY($1::bytea[])"

TOUCH = """
    WITH wanted AS (
        SELECT key, max(used) AS used
        FROM unnest($1::bytea[], $2::bigint[]) AS wanted (key, used) GROUP BY key
    ), present AS MATERIALIZED (
        SELECT key FROM blob WHERE key = ANY($1) ORDER BY key FOR NO KEY UPDATE
    ), raised AS (
        UPDATE blob SET used = wanted.used FROM present JOIN wanted USING (key)
        WHERE blob.key = present.key AND blob.used < wanted.used
    )
    SELECT CASE WHEN count(*) < (SELECT count(*) FROM wanted)
        THEN coalesce(array_agg(key), '{}') END FROM present
"""
"""The keys that are there, or NULL for all of them: locked, so there until this is committed."""

READ_INLINE = "SELECT inline_id, data FROM inline WHERE inline_id = ANY($1::bigint[])"

REMOVE = f"""
    WITH gone AS (
        DELETE FROM blob
        WHERE key = $1 AND inline_id IS NOT DISTINCT FROM $2 AND suffix = $3
        RETURNING size, owner, inline_id
    ), cleared AS (
        DELETE FROM inline WHERE inline_id IN (SELECT inline_id FROM gone)
    ), counted AS (
        {_count_blobs("gone", "-")}
    )
    SELECT pg_notify($4, '') FROM gone
"""

EVICT = f"""
    WITH oldest AS (
        SELECT one.key
        FROM (
            SELECT DISTINCT owner FROM blob_total WHERE $3::text IS NULL OR owner = $3
        ) AS owners, LATERAL (
            SELECT key, used FROM blob WHERE owner = owners.owner AND used <= $2
            ORDER BY used LIMIT $4
        ) AS one
        ORDER BY one.used LIMIT $4
    ), locked AS MATERIALIZED (
        SELECT key, size, used FROM blob
        WHERE key = ANY(ARRAY(SELECT key FROM oldest)) AND used <= $2
        ORDER BY key FOR UPDATE
    ), gone AS (
        DELETE FROM blob USING (
            SELECT key, sum(size) OVER (ORDER BY used, key) - size AS bytes_before FROM locked
        ) AS chosen
        WHERE blob.key = chosen.key AND bytes_before < $1
        RETURNING blob.key, size, used, inline_id, suffix, owner
    ), listed AS (
        INSERT INTO leaving SELECT key, size, used, inline_id, suffix FROM gone
    ), counted AS (
        {_count_blobs("gone", "-")}
    )
    SELECT (SELECT count(*) FROM oldest) AS found, key, size, used, inline_id, suffix
    FROM (SELECT) AS once LEFT JOIN gone ON true
"""
"""`found` is 0 when nothing is left to evict. Rows that somebody touches meanwhile stay."""

FORGET = """
    WITH forgotten AS (
        SELECT * FROM unnest($1::bytea[], $2::text[], $3::bigint[])
            AS forgotten (key, suffix, inline_id)
    ), cleared AS (
        DELETE FROM inline WHERE inline_id = ANY($3)
    )
    DELETE FROM leaving USING forgotten
    WHERE leaving.key = forgotten.key AND leaving.suffix = forgotten.suffix
        AND coalesce(leaving.inline_id, 0) = coalesce(forgotten.inline_id, 0)
"""

LEAVING = "SELECT key, size, used, inline_id, suffix FROM leaving"

OLDEST_USED = """
    SELECT min(one.used)
    FROM (
        SELECT DISTINCT owner FROM blob_total WHERE $1::text IS NULL OR owner = $1
    ) AS owners, LATERAL (
        SELECT used FROM blob WHERE owner = owners.owner ORDER BY used LIMIT 1
    ) AS one
"""

SIZES_BY_USE = """
    SELECT one.used, sum(one.size)::bigint
    FROM (SELECT DISTINCT owner FROM blob_total) AS owners, LATERAL (
        SELECT used, size FROM blob WHERE owner = owners.owner AND used > $1 AND used <= $2
    ) AS one
    GROUP BY one.used ORDER BY one.used
"""

CHECK = "SELECT nextval('inline_id')"
"""A write that changes nothing for anybody: not every number has to be used."""

TOTAL = "SELECT owner, sum(bytes)::bigint FROM blob_total GROUP BY owner HAVING sum(bytes) > 0"

ROWS = "SELECT key, size, used, inline_id, suffix FROM blob WHERE key > $1 ORDER BY key LIMIT $2"
