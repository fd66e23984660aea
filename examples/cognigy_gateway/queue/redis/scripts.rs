//! What Redis has to do in one step where a write depends on what was read.

use std::sync::LazyLock;

use redis::Script;

/// What puts due jobs of a sorted set (the second key) behind its stream; says what time it is.
pub(super) static DUE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        for _, task in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', now, 'LIMIT', 0, ARGV[1])) do
            redis.call('ZREM', KEYS[2], task)
            redis.call('XADD', KEYS[1], '*', 'task', task)
        end
        return now",
    )
});

/// A write under a lease: nothing is done unless the entry is still ours, and was not handed out since. The keys begin with
/// the stream and the task, the arguments with the entry, the consumer and the number of the delivery.
macro_rules! under_lease {
    ($($write:literal)*) => {
        LazyLock::new(|| {
            Script::new(concat!(
                "local held = redis.pcall('XPENDING', KEYS[1], 'gateways', ARGV[1], ARGV[1], 1, ARGV[2])
                if not held[1] or held[1][4] ~= tonumber(ARGV[3]) then return 0 end\n",
                $($write,)*
                "\nreturn 1",
            ))
        })
    };
}

pub(super) static EXTEND: LazyLock<Script> =
    under_lease!("redis.call('XCLAIM', KEYS[1], 'gateways', ARGV[2], 0, ARGV[1], 'JUSTID')");

/// The entry goes first: where memory has run out, Redis refuses a script at its first write, and never after one.
macro_rules! end_of_entry {
    ($write:literal) => {
        under_lease!(
            "redis.call('XACK', KEYS[1], 'gateways', ARGV[1])
            redis.call('XDEL', KEYS[1], ARGV[1])\n"
            $write
        )
    };
}

pub(super) static FINISH: LazyLock<Script> = end_of_entry!(
    "redis.call('DEL', KEYS[2])
    redis.call('HSET', KEYS[2], 'status', ARGV[4], 'body', ARGV[5])
    redis.call('PEXPIRE', KEYS[2], ARGV[6])
    if KEYS[3] then
        redis.call('HSET', KEYS[4], unpack(ARGV, 8))
        redis.call('XADD', KEYS[3], '*', 'task', ARGV[7])
    end"
);

pub(super) static DISCARD: LazyLock<Script> = end_of_entry!("redis.call('DEL', KEYS[2])");

/// The next entry is a new one, so what has to outlive this one goes to the task.
pub(super) static RELEASE: LazyLock<Script> = end_of_entry!(
    "local time = redis.call('TIME')
    redis.call('HSETNX', KEYS[2], 'accepted', string.match(ARGV[1], '%d+'))
    redis.call('HINCRBY', KEYS[2], 'runs', ARGV[3] - 1)
    redis.call('ZADD', KEYS[3], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[4], ARGV[5])"
);

/// Forgets gateways that are gone. One that holds an entry is kept, since its entries would be forgotten with it.
pub(super) static FORGET: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for _, consumer in ipairs(redis.pcall('XINFO', 'CONSUMERS', KEYS[1], 'gateways')) do
            if consumer[4] == 0 and consumer[6] > tonumber(ARGV[1]) then
                redis.call('XGROUP', 'DELCONSUMER', KEYS[1], 'gateways', consumer[2])
            end
        end",
    )
});

/// Counts a stream and the sorted set beside it, and says for how many milliseconds the first of these has been due: an entry
/// that was never handed out, one whose lease has ended, and a job that had to wait. Nothing is written.
pub(super) static BACKLOG: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local due = now
        local groups = redis.pcall('XINFO', 'GROUPS', KEYS[1])
        local from = groups[1] and '(' .. groups[1][8] or '-'
        local fresh = redis.call('XRANGE', KEYS[1], from, '+', 'COUNT', 1)[1]
        if fresh then due = math.min(due, tonumber(string.match(fresh[1], '%d+'))) end
        local held = groups[1] and redis.call('XPENDING', KEYS[1], 'gateways', 'IDLE', ARGV[1], '-', '+', 1)[1]
        if held then due = math.min(due, now - (held[3] - ARGV[1])) end
        local waits = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2]
        if waits then due = math.min(due, tonumber(waits)) end
        return {redis.call('XLEN', KEYS[1]) + redis.call('ZCARD', KEYS[2]), now - due}",
    )
});

/// Takes one of the requests of a window, which are a list of times, the newest first; or says how long none is left.
pub(super) static TAKE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time, most, window = redis.call('TIME'), tonumber(ARGV[1]), tonumber(ARGV[2])
        local now = time[1] * 1000 + math.floor(time[2] / 1000)
        local first = redis.call('LINDEX', KEYS[1], most - 1)
        if first and now - first < window then return math.min(window, window - (now - first)) end
        redis.call('LPUSH', KEYS[1], now)
        redis.call('LTRIM', KEYS[1], 0, most - 1)
        redis.call('PEXPIRE', KEYS[1], window)
        return 0",
    )
});
