-- The payloads of runs, where a tenant wants them sealed.

-- name: seal_inputs
-- What came in past the daemon, by insula.submit, is sealed by whoever takes it up.
UPDATE tenant.wf_run AS run SET input = given.input
FROM unnest($2::uuid[], $3::json[]) AS given (id, input) WHERE run.id = given.id AND run.epoch = $1
