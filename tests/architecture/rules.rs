//! What only some files may name, and why those may. A file that stands in no list is of the core, so a new one begins strict.

/// Files, as their paths in `src/`, or directories, with the reason why they are excepted.
pub(crate) type But = &'static [(&'static str, &'static str)];

pub(crate) struct Rule {
    pub(crate) of: &'static str,
    /// Whole words, or several of them with what stands between.
    pub(crate) code: &'static [&'static str],
    /// Whether `layer.rs`, `service.rs` and `future.rs` of each module may too.
    pub(crate) shell: bool,
    pub(crate) but: But,
}

/// What decides. These stand in none of the lists below: time and randomness are arguments, and nothing is told or awaited.
pub(crate) const CORE: [&str; 29] = [
    "breaker/cause.rs",
    "breaker/change.rs",
    "breaker/log.rs",
    "breaker/machine.rs",
    "breaker/opening.rs",
    "breaker/phase.rs",
    "breaker/plan.rs",
    "breaker/probes.rs",
    "breaker/refusal.rs",
    "breaker/rules.rs",
    "breaker/window.rs",
    "breaker/word.rs",
    "outcome/http.rs",
    "outcome/http_date.rs",
    "outcome/mod.rs",
    "outcome/rejection.rs",
    "outcome/retry_after.rs",
    "replay/kept.rs",
    "retry/attempt.rs",
    "retry/backoff.rs",
    "retry/budget/account.rs",
    "retry/history.rs",
    "retry/protocol.rs",
    "retry/span.rs",
    "signature/mac.rs",
    "signature/replay/content.rs",
    "signature/scheme/",
    "signature/settings.rs",
    "signature/verify.rs",
];

pub(crate) const RULES: &[Rule] = &[
    Rule {
        of: "tower",
        code: &["tower::", "tower_layer", "tower_service"],
        shell: true,
        but: &[
            ("bearer/builder.rs", "the source of tokens is a service"),
            ("bearer/cache.rs", "the source of tokens is a service"),
            ("bearer/source.rs", "the source of tokens is a service"),
            ("breaker/body.rs", "layer, service and future that only hand on to the breaker's"),
            ("breaker/keyed.rs", "layer and service that only pick a circuit"),
            ("fallback.rs", "layer, service and future in one short file"),
            ("retry/mod.rs", "hands out what that trait needs"),
            ("retry/tower.rs", "tower's own trait for policies"),
        ],
    },
    Rule {
        of: "polling",
        code: &["task", "Pin", "pin_project", "async", "impl Future"],
        shell: true,
        but: &[
            ("bearer/cache.rs", "drives the fetch that all wait for"),
            ("bearer/source.rs", "the fetch"),
            ("bearer/waiters.rs", "who is woken"),
            ("breaker/body.rs", "a body is polled"),
            ("breaker/circuit.rs", "calls without tower"),
            ("breaker/core.rs", "the future of the next change"),
            ("breaker/keyed.rs", "layer and service"),
            ("breaker/probe.rs", "health checks, which are a future"),
            ("breaker/report.rs", "keeps a gauge, as a future"),
            ("breaker/subscription.rs", "waits for the next change"),
            ("fallback.rs", "layer, service and future in one short file"),
            ("replay/body.rs", "a body is polled"),
            ("replay/reading.rs", "says who is to be woken, and wakes nobody"),
            ("replay/shared.rs", "polls the body that all share"),
            ("retry/tower.rs", "tower's own trait for policies"),
            ("signature/axum.rs", "axum's trait is async"),
            ("signature/body.rs", "a body is polled"),
            ("signature/reading.rs", "reads the body"),
            ("signature/sign/body.rs", "a body is polled"),
            ("time/tokio.rs", "a timer is moved in its place"),
        ],
    },
    Rule {
        of: "tokio",
        code: &["tokio"],
        shell: false,
        but: &[("breaker/sync.rs", "the list of those who wait for a change"), ("time/", "the only room with timers")],
    },
    Rule {
        of: "timers",
        code: &["Sleep", "sleep", "sleep_until", "time::timeout", "timeout("],
        shell: false,
        but: &[
            ("breaker/half_open.rs", "a setting of half-open has that name"),
            ("breaker/probe.rs", "waits between two checks"),
            ("breaker/report.rs", "waits until time alone has changed the state"),
            ("breaker/service.rs", "the gated mode waits for the end of the open time"),
            ("breaker/written.rs", "a setting of half-open has that name"),
            ("retry/future.rs", "waits between attempts"),
            ("retry/tower.rs", "waits between attempts"),
            ("signature/future.rs", "the deadline of the body"),
            ("time/", "the only room that makes them"),
        ],
    },
    Rule {
        of: "the clocks",
        code: &["now()", "Instant", "SystemTime", "rustix"],
        shell: false,
        but: &[
            ("bearer/cache.rs", "the seam: reads its clock, and hands the time on"),
            ("bearer/waiters.rs", "the time of the news is when they come, on whatever thread"),
            ("breaker/circuits.rs", "when a key was last asked for"),
            ("breaker/core.rs", "the seam: reads its clock, and hands the time on"),
            ("breaker/future.rs", "what the date in a Retry-After is compared with"),
            ("retry/basis.rs", "deadlines are tokio's, as the timers that keep them"),
            ("retry/budget/mod.rs", "the seam: reads its clock, and hands the time on"),
            ("retry/deadline.rs", "tells how long is left"),
            ("retry/future.rs", "keeps until when the attempt may run"),
            ("retry/policy.rs", "deadlines are tokio's, as the timers that keep them"),
            ("retry/settings.rs", "what the date in a Retry-After is compared with"),
            ("signature/replay/memory.rs", "when a signature may be forgotten"),
            ("signature/signer.rs", "what is signed is dated"),
            ("signature/verifier.rs", "hands the time to the checks"),
            ("time/", "the only room that makes them"),
        ],
    },
    Rule {
        of: "locks and atomics",
        code: &[
            "AtomicBool",
            "AtomicPtr",
            "AtomicU32",
            "AtomicU64",
            "AtomicUsize",
            "Barrier",
            "Condvar",
            "LazyLock",
            "Mutex",
            "Notify",
            "OnceLock",
            "RefCell",
            "RwLock",
            "Semaphore",
            "fence",
            "mpsc",
            "oneshot",
            "watch",
        ],
        shell: false,
        but: &[
            ("bearer/cache.rs", "the seam of bearer"),
            ("bearer/waiters.rs", "the seam of bearer: who is woken"),
            ("breaker/bell.rs", "the seam: wakes who waits for a change"),
            ("breaker/limits.rs", "the seam: limits that change while calls are judged"),
            ("breaker/shards.rs", "the seam of circuits by key"),
            ("breaker/shared.rs", "the seam of the breaker"),
            ("breaker/stripes.rs", "the seam: counts without a lock"),
            ("breaker/sync.rs", "loom's or the standard library's"),
            ("breaker/threads.rs", "numbers the threads"),
            ("replay/shared.rs", "the seam of replay"),
            ("retry/budget/shared.rs", "the seam of the budget"),
            ("retry/budget/sync.rs", "loom's or the standard library's"),
            ("signature/credentials.rs", "a key that is drawn once for a process"),
            ("signature/keyring.rs", "secrets are swapped while requests are verified"),
            ("signature/replay/memory.rs", "what all requests remember"),
            ("time/system.rs", "looks once how coarse the clock is"),
            ("time/manual.rs", "all clones of a clock move"),
            ("time/portable.rs", "the first reading is where it begins"),
        ],
    },
    Rule {
        of: "threads",
        code: &["thread", "thread_local", "spawn"],
        shell: false,
        but: &[("breaker/permit.rs", "asks whether its thread panics"), ("breaker/threads.rs", "numbers the threads")],
    },
    Rule {
        of: "randomness",
        code: &["rand"],
        shell: false,
        but: &[
            ("bearer/builder.rs", "where it comes from, unless a test says so"),
            ("breaker/builder.rs", "where it comes from, unless a test says so"),
            ("retry/settings.rs", "where it comes from, unless a test says so"),
            ("signature/credentials.rs", "a key that is drawn once for a process"),
        ],
    },
    Rule {
        of: "logs and metrics",
        code: &["event", "metrics", "tracing"],
        shell: true,
        but: &[
            ("bearer/cache.rs", "tells of fetches"),
            ("breaker/core.rs", "tells of changes, when the lock is free"),
            ("breaker/report.rs", "the gauge"),
            ("retry/policy.rs", "tells of retries"),
            ("signature/axum.rs", "tells of a handler behind no layer"),
            ("signature/secret.rs", "warns of a short secret"),
            ("signature/tell.rs", "tells of all that is verified and refused"),
            ("trace.rs", "the events, or none"),
        ],
    },
];

/// What the modules know of each other. Of the four that stand alone, none may know another.
pub(crate) const KNOWS: &[(&str, &[&str])] = &[
    ("bearer", &["config", "copy", "outcome", "replay", "time", "trace"]),
    ("breaker", &["config", "handle", "outcome", "time", "trace", "written"]),
    ("config", &[]),
    ("copy", &["outcome"]),
    ("fallback", &["outcome"]),
    ("guide", &[]),
    ("handle", &[]),
    // A circuit's rejection is never retried, whatever else is; `breaker/absent.rs` stands in where there is none.
    ("outcome", &["breaker", "time"]),
    ("replay", &[]),
    ("retry", &["config", "copy", "handle", "outcome", "replay", "time", "trace"]),
    ("signature", &["config", "outcome", "time", "trace"]),
    ("time", &[]),
    ("trace", &[]),
    ("written", &["config"]),
];

/// The module that a name of the crate's root comes from.
pub(crate) const ROOT: &[(&str, Option<&str>)] = &[("BoxError", None), ("ConfigError", Some("config"))];

/// Where features may be asked for. Elsewhere a feature that another crate turns on could change what the code does.
pub(crate) const FEATURES: But = &[
    ("breaker/mod.rs", "a module that needs metrics"),
    ("config.rs", "checks that only some modules need"),
    ("lib.rs", "the modules"),
    ("signature/mod.rs", "a module that needs axum"),
    ("signature/refusal.rs", "all that there are, for the counters"),
    ("signature/tell.rs", "the counters, or none"),
    ("time/", "parts that only some modules need"),
    ("trace.rs", "the events, or none"),
];

pub(crate) const MOST_LINES: usize = 320;

/// Longer than that, and why.
pub(crate) const LONG: But = &[("signature/scheme/mod.rs", "one type: how a signature is read, judged and written")];
