-- No question is asked by it: under one plan for all filters a list reads the keys of its organization. It cost each call
-- a row in an index.
DROP INDEX CONCURRENTLY IF EXISTS allocation_offering;
