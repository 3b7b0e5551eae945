-- "Which organizations changed in the last few seconds?" The table only ever grows at its end, which is what a BRIN index
-- is for: it costs a call next to nothing. Calls go on while it is built. One that was not built to its end is no use.
DROP INDEX CONCURRENTLY IF EXISTS entry_written;
CREATE INDEX CONCURRENTLY entry_written ON entry USING brin (written_time)
    WITH (pages_per_range = 32, autosummarize = on);
