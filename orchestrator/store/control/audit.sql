-- name: ask
-- Note what is about to be done; the number is answered later.
INSERT INTO insula.audit (tenant, node, actor, operation, subject) VALUES ($1, $2, $3, $4, $5) RETURNING number;

-- name: answer
-- Note what came of it.
INSERT INTO insula.audit (answers, tenant, node, actor, operation, subject, outcome, detail)
SELECT number, tenant, node, actor, operation, subject, $2, $3 FROM insula.audit WHERE number = $1;

-- name: note
-- Note what is done by the time that anybody can read it: entries with their answers.
WITH asked AS (
    INSERT INTO insula.audit (tenant, node, actor, operation, subject)
    SELECT d.tenant, $1, d.actor, d.operation, d.subject
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS d (tenant, actor, operation, subject)
    RETURNING number, tenant, node, actor, operation, subject
)
INSERT INTO insula.audit (answers, tenant, node, actor, operation, subject, outcome)
SELECT number, tenant, node, actor, operation, subject, 'done' FROM asked;

-- name: page
-- Newest first, those before $2. A node that has ended, or begun anew since, answers nothing any more.
SELECT asked.number, asked.at, asked.node, asked.actor, asked.operation, asked.subject, answered.at AS ended_at,
       CASE WHEN answered.number IS NOT NULL OR EXISTS (
           SELECT FROM insula.node AS node
           WHERE node.name = asked.node AND node.started_at <= asked.at AND node.expires_at > clock_timestamp()
       ) THEN answered.outcome ELSE 'interrupted' END AS outcome,
       coalesce(answered.detail, '') AS detail
FROM insula.audit AS asked LEFT JOIN insula.audit AS answered ON answered.answers = asked.number
WHERE asked.tenant = $1 AND asked.answers IS NULL AND ($2::bigint IS NULL OR asked.number < $2)
ORDER BY asked.number DESC LIMIT $3;

-- name: archived_by
-- The node that wrote the archive of a tenant last: the file is there.
SELECT asked.node FROM insula.audit AS asked JOIN insula.audit AS answered ON answered.answers = asked.number
WHERE asked.tenant = $1 AND asked.answers IS NULL AND asked.operation = 'tenant.archive' AND answered.outcome = 'done'
ORDER BY asked.number DESC LIMIT 1;
