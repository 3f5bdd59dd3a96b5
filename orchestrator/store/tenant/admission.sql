-- name: admit
-- Count the runs that the transaction has added, accepted at the moments $3, by the limits $2 of the tenant $1; see
-- wf_admit. The last statement of its transaction: others that add runs wait for its end.
SELECT refused, full_at, held FROM tenant.wf_admit($1, $2::jsonb, $3::timestamptz[], 1, $4, true);
