use super::*;
use crate::queue::suite::{self, Bench, claim, id, new_job, push, result, suite};

#[path = "../../../../tests/gateway/support/redis.rs"]
mod server;

use self::server::RedisServer;

/// Moves all times that Redis keeps into the past.
const PASS: &str = "
    local span = tonumber(ARGV[1])
    for _, stream in ipairs({'{cognigy}:lookups', '{cognigy}:injections'}) do
        for _, entry in ipairs(redis.call('XRANGE', stream, '-', '+')) do
            redis.call('HSETNX', '{cognigy}:task:' .. entry[2][2], 'accepted', string.match(entry[1], '%d+'))
        end
        for _, held in ipairs(redis.pcall('XPENDING', stream, 'gateways', '-', '+', 1000)) do
            redis.call('XCLAIM', stream, 'gateways', held[2], 0, held[1], 'IDLE', held[3] + span, 'JUSTID')
        end
        for _, task in ipairs(redis.call('ZRANGE', stream .. ':waiting', 0, -1)) do
            redis.call('ZINCRBY', stream .. ':waiting', -span, task)
        end
    end
    for _, task in ipairs(redis.call('KEYS', '{cognigy}:task:*')) do
        local left = redis.call('PTTL', task)
        if left > 0 then redis.call('PEXPIRE', task, left - span) end
        if redis.call('HEXISTS', task, 'accepted') == 1 then redis.call('HINCRBY', task, 'accepted', -span) end
    end
    for n = 0, redis.call('LLEN', '{cognigy}:injected') - 1 do
        redis.call('LSET', '{cognigy}:injected', n, redis.call('LINDEX', '{cognigy}:injected', n) - span)
    end";

struct Shared {
    server: RedisServer,
    gateways: [Redis; 2],
}

impl Shared {
    fn new() -> Self {
        let server = RedisServer::start();
        let gateway = || {
            let redis = Redis::new(&server.url().parse().unwrap(), suite::TTL).unwrap();
            Redis { look: Duration::ZERO, ..redis }
        };
        Self { gateways: [gateway(), gateway()], server }
    }

    /// Asks Redis itself.
    fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        cmd(words[0]).arg(&words[1..]).query(&mut self.server.connect()).unwrap()
    }

    fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.ask(&["KEYS", "*"]);
        keys.sort();
        keys
    }
}

impl Bench for Shared {
    fn gateways(&self) -> [&dyn Store; 2] {
        [&self.gateways[0], &self.gateways[1]]
    }

    fn pass(&self, span: Duration) {
        cmd("EVAL").arg(PASS).arg(0).arg(millis(span)).exec(&mut self.server.connect()).unwrap();
    }
}

suite!(
    #[ignore = "needs redis-server"]
    Shared::new()
);

#[tokio::test]
#[ignore = "needs redis-server"]
async fn nothing_stays_of_jobs_that_have_ended_but_their_results() {
    let shared = Shared::new();
    let [one, other] = shared.gateways();
    push(one, 0..30).await;
    for (n, job) in (100..).zip(one.claim(Lane::Lookups, 30).await.unwrap()) {
        let follows = NewJob { lane: Lane::Injections, ..new_job(n) };
        let ended = match n % 3 {
            0 => one.finish(&job.lease, result("r"), Some(follows)),
            1 => one.discard(&job.lease),
            _ => one.release(&job.lease, Duration::ZERO),
        };
        assert!(ended.await.unwrap());
    }
    for lane in [Lane::Lookups, Lane::Injections] {
        let jobs = other.claim(lane, 30).await.unwrap();
        assert_eq!(jobs.len(), 10);
        for job in jobs {
            assert!(other.discard(&job.lease).await.unwrap());
        }
    }
    shared.pass(suite::TTL);
    assert_eq!(shared.keys(), ["{cognigy}:injections", "{cognigy}:lookups"]);
    for stream in shared.keys() {
        assert_eq!(shared.ask::<u32>(&["XLEN", &stream]), 0);
        let (pending, ..): (u32, Option<String>, Option<String>, Option<()>) =
            shared.ask(&["XPENDING", &stream, "gateways"]);
        assert_eq!(pending, 0);
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn what_was_never_handed_out_is_due_since_it_was_queued() {
    let shared = Shared::new();
    let [store, _] = shared.gateways();
    let waited = async || store.backlog(Lane::Lookups).await.unwrap().waited;
    let (now, _): (u64, u64) = shared.ask(&["TIME"]);
    let task = id(0);
    for (entry, expected) in [(now - 100, 100), (now - 50, 50)] {
        let entry = format!("{entry}000-0");
        let _: String = shared.ask(&["XADD", "{cognigy}:lookups", &entry, "task", task.as_str()]);
        shared.ask::<()>(&["HSET", &format!("{{cognigy}}:task:{task}"), "payload", "p"]);
        // At first there is no group, then one that has got all there was.
        let waited = waited().await.as_secs();
        assert!((expected..expected + 10).contains(&waited), "{waited}");
        assert!(claim(store).await.is_some());
    }
    assert_eq!(waited().await, Duration::ZERO);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn an_entry_that_no_gateway_made_stops_no_job() {
    let shared = Shared::new();
    let [store, _] = shared.gateways();
    for words in [&["other", "field"][..], &["task", "no id"], &["task", "\u{fffd}", "and", "more"]] {
        shared.ask::<String>(&[&["XADD", "{cognigy}:lookups", "*"], words].concat());
    }
    push(store, [0]).await;
    let task = id(1).to_string();
    shared.ask::<String>(&["XADD", "{cognigy}:lookups", "*", "task", &task]);
    push(store, [2]).await;
    let jobs = store.claim(Lane::Lookups, 9).await.unwrap();
    assert_eq!(jobs.iter().map(|job| job.payload.as_str()).collect::<Vec<_>>(), ["event 0", "event 2"]);
    assert_eq!(shared.ask::<u32>(&["XLEN", "{cognigy}:lookups"]), 2);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_group_that_is_gone_is_made_anew_and_gets_what_is_queued() {
    let shared = Shared::new();
    let [one, other] = shared.gateways();
    push(one, [0, 1]).await;
    let lost = claim(one).await.unwrap();
    shared.ask::<u32>(&["XGROUP", "DESTROY", "{cognigy}:lookups", "gateways"]);
    assert!(!one.extend(&lost.lease).await.unwrap());
    assert_eq!(other.claim(Lane::Lookups, 9).await.unwrap().len(), 2);
    assert!(!one.finish(&lost.lease, result("late"), None).await.unwrap());
    shared.ask::<()>(&["FLUSHALL"]);
    assert!(claim(one).await.is_none());
    push(one, [2]).await;
    assert_eq!(claim(other).await.unwrap().payload, "event 2");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn gateways_that_are_gone_are_forgotten_once_their_jobs_are_done() {
    let shared = Shared::new();
    let [one, other] = shared.gateways();
    let known = || shared.ask::<Vec<redis::Value>>(&["XINFO", "CONSUMERS", "{cognigy}:lookups", "gateways"]).len();
    push(one, [0]).await;
    assert!(claim(one).await.is_some());
    let mut forget = FORGET.prepare_invoke();
    let forget = forget.key("{cognigy}:lookups").arg(-1);
    forget.invoke::<()>(&mut shared.server.connect()).unwrap();
    assert_eq!(known(), 1, "it holds a job");
    shared.pass(LEASE);
    let lease = claim(other).await.unwrap().lease;
    assert!(other.finish(&lease, result("r"), None).await.unwrap());
    one.sweep().await.unwrap();
    assert_eq!(known(), 2, "they were heard of a moment ago");
    forget.invoke::<()>(&mut shared.server.connect()).unwrap();
    assert_eq!(known(), 0);
    push(one, [1]).await;
    assert!(claim(one).await.is_some());
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn after_redis_was_away_leases_may_be_extended_before_they_are_claimed() {
    let mut shared = Shared::new();
    let [one, _] = shared.gateways();
    push(one, [0]).await;
    let job = claim(one).await.unwrap();
    shared.pass(LEASE);
    shared.server.down();
    for gateway in shared.gateways() {
        assert!(gateway.extend(&job.lease).await.is_err());
    }
    shared.server.up();
    let [one, other] = shared.gateways();
    assert!(claim(other).await.is_none());
    assert!(one.extend(&job.lease).await.unwrap());
    assert!(claim(other).await.is_none());
    shared.pass(LEASE);
    assert!(claim(other).await.is_some());
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn after_redis_took_no_writes_leases_may_be_extended_before_they_are_claimed() {
    let shared = Shared::new();
    let [one, other] = shared.gateways();
    push(one, [0]).await;
    let job = claim(one).await.unwrap();
    let need_replicas = |count| shared.ask::<()>(&["CONFIG", "SET", "min-replicas-to-write", count]);
    // Who could not extend its lease knows of it, and so does who could not claim it.
    for gateway in [one, other] {
        shared.pass(LEASE);
        need_replicas("1");
        if std::ptr::eq(gateway, one) {
            assert!(one.extend(&job.lease).await.is_err());
        } else {
            assert!(other.claim(Lane::Lookups, 1).await.is_err());
        }
        need_replicas("0");
        assert!(claim(gateway).await.is_none());
        assert!(one.extend(&job.lease).await.unwrap());
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_redis_without_memory_gives_out_the_jobs_of_a_gateway_that_died() {
    let shared = Shared::new();
    let [one, other] = shared.gateways();
    push(one, [0]).await;
    let job = claim(one).await.unwrap();
    let memory = |most| shared.ask::<()>(&["CONFIG", "SET", "maxmemory", most]);
    memory("1");
    assert!(one.extend(&job.lease).await.unwrap());
    assert!(claim(other).await.is_none());
    memory("0");
    shared.pass(LEASE);
    memory("1");
    assert!(other.push(new_job(1)).await.is_err());
    assert!(other.ping().await.is_err());
    assert!(other.claim(Lane::Injections, 1).await.is_err(), "a lane that was never used");
    assert_eq!(claim(other).await.unwrap().payload, "event 0");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_redis_that_hangs_is_not_available_until_it_goes_on() {
    let shared = Shared::new();
    let [one, other] = shared.gateways();
    push(one, [0]).await;
    shared.server.signal("STOP");
    assert!(one.ping().await.is_err());
    assert!(one.push(new_job(1)).await.is_err());
    assert!(other.state(&id(0)).await.is_err());
    shared.server.signal("CONT");
    assert!(one.ping().await.is_ok());
    assert_eq!(claim(other).await.unwrap().payload, "event 0");
}
