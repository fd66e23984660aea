#!/usr/bin/env bash
# What a registry would get: the right files and no others, small, and it builds and its documentation's examples run outside of the
# repository. Cargo refuses a tree with changes that are not committed.
. "$(dirname "$0")/lib.sh"

limit=1000000 # bytes, compressed

need jq jq
read -r name version target < <(cargo metadata --locked --no-deps --format-version 1 |
    jq -r '"\(.packages[0].name) \(.packages[0].version) \(.target_directory)"')
files=$(cargo package --locked --list)

# A pattern of `include` also takes what git does not know, such as the databases that the gateway leaves where it was started.
unknown=$(grep -vxF -e .cargo_vcs_info.json -e Cargo.toml.orig -e "$(git ls-files)" <<<"$files") || true
unwanted=$(grep -E '^(\.ci|\.github|api|ci|fuzz|benches/peers|tests/loom)/|\.db' <<<"$files") || true
missing=$(grep -vxF -e "$files" <<<"$(printf '%s\n' README.md CHANGELOG.md CONTRIBUTING.md DESIGN.md LICENSE-APACHE LICENSE-MIT \
    Cargo.lock src/lib.rs tests/breaker.rs examples/cognigy_gateway/main.rs)") || true
printf '\nIn the package and not in git: %s\n' "${unknown:-nothing}"
printf 'In the package and not wanted there: %s\n' "${unwanted:-nothing}"
printf 'Missing from the package: %s\n' "${missing:-nothing}"
[ -z "$unknown$unwanted$missing" ]

run cargo package --locked --all-features
size=$(wc -c <"$target/package/$name-$version.crate")
printf '\n%d files, %d bytes compressed, at most %d\n' "$(wc -l <<<"$files")" "$size" "$limit"
[ "$size" -le "$limit" ]

run cargo test --locked --all-features --doc --target-dir "$target" \
    --manifest-path "$target/package/$name-$version/Cargo.toml"
