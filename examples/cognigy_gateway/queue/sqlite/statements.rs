//! What each command does, in SQL.

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, named_params};

use crate::{
    queue::{
        Backlog, Held, INJECTION_SPAN, INJECTIONS, Job, JobResult, LEASE, Lane, Lease, More, NewJob, TaskId, TaskState,
    },
    trace::TraceContext,
};

/// Rows that one sweep deletes at most, so that nobody waits long behind it.
pub(super) const SWEEP: u32 = 10_000;

pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

pub(super) fn push(connection: &Connection, now: i64, job: &NewJob) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO jobs (id, lane, state, due, accepted, payload, traceparent, tracestate)
             VALUES (:id, :lane, 'queued', :now, :now, :payload, :traceparent, :tracestate)",
        )?
        .execute(named_params! {
            ":id": job.id.as_str(), ":lane": job.lane.as_str(), ":now": now, ":payload": job.payload,
            ":traceparent": job.trace.parent, ":tracestate": job.trace.state,
        })?;
    Ok(())
}

pub(super) fn claim(connection: &Connection, now: i64, lane: Lane, count: u32) -> rusqlite::Result<Vec<Job>> {
    let job = |row: &Row<'_>| {
        let accepted: i64 = row.get("accepted")?;
        Ok(Job {
            lease: Lease { id: TaskId(row.get("id")?), lane, entry: String::new(), claim: row.get("claim")? },
            payload: row.get("payload")?,
            trace: TraceContext { parent: row.get("traceparent")?, state: row.get("tracestate")? },
            runs: row.get("runs")?,
            age: Duration::from_millis(u64::try_from(now - accepted).unwrap_or(0)),
        })
    };
    connection
        .prepare_cached(
            "UPDATE jobs SET state = 'running', claim = claim + 1, runs = runs + 1, due = :now + :lease
             WHERE id IN (
                 SELECT id FROM jobs WHERE state != 'done' AND lane = :lane AND due <= :now ORDER BY due LIMIT :count)
             RETURNING id, claim, runs, accepted, payload, traceparent, tracestate",
        )?
        .query_map(
            named_params! { ":lane": lane.as_str(), ":now": now, ":lease": millis(LEASE), ":count": count },
            job,
        )?
        .collect()
}

/// Runs a statement under a lease: it changes one row, or none when the lease was lost.
fn under_lease(
    connection: &Connection,
    lease: &Lease,
    set: &str,
    values: &[(&str, &dyn rusqlite::ToSql)],
) -> rusqlite::Result<Held> {
    let sql = format!("UPDATE jobs SET {set} WHERE id = :id AND claim = :claim AND state = 'running'");
    let mut all: Vec<(&str, &dyn rusqlite::ToSql)> = vec![(":id", &lease.id.0), (":claim", &lease.claim)];
    all.extend_from_slice(values);
    Ok(connection.prepare_cached(&sql)?.execute(all.as_slice())? == 1)
}

pub(super) fn extend(connection: &Connection, now: i64, lease: &Lease) -> rusqlite::Result<Held> {
    under_lease(connection, lease, "due = :due", &[(":due", &(now + millis(LEASE)))])
}

pub(super) fn finish(
    connection: &Connection,
    now: i64,
    lease: &Lease,
    result: &JobResult,
    ttl: Duration,
    then: Option<&NewJob>,
) -> rusqlite::Result<Held> {
    // The webhook's body is not needed any more.
    let set = "state = 'done', due = :due, status = :status, result = :result, payload = ''";
    let due = now.saturating_add(millis(ttl));
    let values: [(&str, &dyn rusqlite::ToSql); 3] =
        [(":due", &due), (":status", &result.status), (":result", &result.body)];
    let held = under_lease(connection, lease, set, &values)?;
    if let Some(then) = then.filter(|_| held) {
        push(connection, now, then)?;
    }
    Ok(held)
}

pub(super) fn discard(connection: &Connection, lease: &Lease) -> rusqlite::Result<Held> {
    connection
        .prepare_cached("DELETE FROM jobs WHERE id = :id AND claim = :claim AND state = 'running'")?
        .execute(named_params! { ":id": lease.id.0, ":claim": lease.claim })
        .map(|deleted| deleted == 1)
}

pub(super) fn release(connection: &Connection, now: i64, lease: &Lease, delay: Duration) -> rusqlite::Result<Held> {
    under_lease(connection, lease, "state = 'queued', due = :due, runs = runs - 1", &[(":due", &(now + millis(delay)))])
}

pub(super) fn state(connection: &Connection, now: i64, id: &TaskId) -> rusqlite::Result<TaskState> {
    let known = connection
        .prepare_cached("SELECT status, result FROM jobs WHERE id = :id AND (state != 'done' OR due > :now)")?
        .query_row(named_params! { ":id": id.0, ":now": now }, |row| Ok((row.get("status")?, row.get("result")?)))
        .optional()?;
    Ok(match known {
        None => TaskState::Unknown,
        Some((Some(status), Some(body))) => TaskState::Finished(JobResult { status, body }),
        Some(_) => TaskState::Processing,
    })
}

/// A walk over the index: 6 ms for 100,000 jobs.
pub(super) fn backlog(connection: &Connection, now: i64, lane: Lane) -> rusqlite::Result<Backlog> {
    connection
        .prepare_cached("SELECT count(*) AS jobs, min(due) AS first FROM jobs WHERE state != 'done' AND lane = :lane")?
        .query_row(named_params! { ":lane": lane.as_str() }, |row| {
            let first = row.get::<_, Option<i64>>("first")?.unwrap_or(now);
            let waited = Duration::from_millis(u64::try_from(now.saturating_sub(first)).unwrap_or(0));
            Ok(Backlog { jobs: u64::try_from(row.get::<_, i64>("jobs")?).unwrap_or(0), waited })
        })
}

/// Writes the head of the file, as it is. That is one page, and no row that a sweep has to look at.
pub(super) fn ping(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", 0)
}

pub(super) fn sweep(connection: &Connection, now: i64) -> rusqlite::Result<More> {
    let deleted = connection
        .prepare_cached(
            "DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE state = 'done' AND due <= :now ORDER BY due LIMIT :count)",
        )?
        .execute(named_params! { ":now": now, ":count": SWEEP })?;
    // No due time is further away than a lease, unless the wall clock was set back: nobody waits for that.
    connection
        .prepare_cached("UPDATE jobs SET due = :now WHERE state != 'done' AND due > :now + :lease")?
        .execute(named_params! { ":now": now, ":lease": millis(LEASE) })?;
    Ok(deleted == SWEEP as usize)
}

pub(super) fn allow_injection(connection: &Connection, now: i64) -> rusqlite::Result<Option<Duration>> {
    let span = millis(INJECTION_SPAN);
    connection
        .prepare_cached("DELETE FROM injected WHERE at <= :end")?
        .execute(named_params! { ":end": now - span })?;
    // A wall clock that was set back would keep its places for longer than the span.
    connection
        .prepare_cached("UPDATE injected SET at = :now WHERE at > :now")?
        .execute(named_params! { ":now": now })?;
    let (sent, first): (u32, Option<i64>) = connection
        .prepare_cached("SELECT count(*), min(at) FROM injected")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if let Some(first) = first.filter(|_| sent >= INJECTIONS) {
        return Ok(Some(Duration::from_millis(u64::try_from(first + span - now).unwrap_or(0))));
    }
    connection.prepare_cached("INSERT INTO injected VALUES (:now)")?.execute(named_params! { ":now": now })?;
    Ok(None)
}
